"""A server and bad requests, for tests/examples/test_serve.py and benchmarks/serving_load.py."""

import contextlib
import io
import json
import pathlib
import struct
import subprocess
import sys
import zlib

import numpy as np
from PIL import Image

SERVER = pathlib.Path(__file__).parents[1] / "examples" / "serve" / "reference_server.py"


@contextlib.contextmanager
def reference_server(base_path):
    """Runs the reference server in a separate process.

    Args:
        base_path: path. A folder with a folder per version.

    Yields:
        (subprocess.Popen, dict of its printed output: version, warmed_up, port, rest_api_port).
    """
    command = [sys.executable, SERVER, "--model_base_path", base_path, "--port=0"]
    command += ["--rest_api_port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def encoded(height, width, kind="PNG", mode="RGB", seed=0):
    """Returns noise as the bytes of an image file."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind)
    return file.getvalue()


def broken_images():
    """Returns a dict of name to bytes that are no image, or only part of one."""
    return {
        "zero bytes": b"",
        "text": b"this is no image",
        "truncated JPEG": encoded(70, 100, "JPEG")[:500],
        "500 megapixels, PNG": _huge_png(),
        "500 megapixels, JPEG": _huge_jpeg(),
    }


def odd_images():
    """Returns a dict of name to bytes of images that a server must refuse or answer correctly."""
    frames = [Image.fromarray(np.full((70, 100), grey, np.uint8)) for grey in (50, 200)]
    animation = io.BytesIO()
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    return {
        "1 x 1": encoded(1, 1),
        "20000 x 10": encoded(10, 20000),
        "CMYK": encoded(70, 100, "JPEG", "CMYK"),
        "animated GIF": animation.getvalue(),
    }


def wrong_requests():
    """Returns a dict of name to (signature, inputs) with inputs that do not fit the signature."""
    image = encoded(70, 100)
    return {
        "wrong input name": ("serve_image_bytes", {"image": [image]}),
        "no input": ("serve_image_bytes", {}),
        "an input too many": ("serve_image_bytes", {"image_bytes": [image], "more": [1]}),
        "wrong dtype": ("serve_image_bytes", {"image_bytes": [1.5]}),
        "wrong rank": ("serve_image_bytes", {"image_bytes": [[image]]}),
        "wrong channels": ("serving_default", {"images": np.zeros([1, 64, 96, 4], np.uint8)}),
        "wrong signature": ("serve", {"image_bytes": [image]}),
    }


def _huge_png():
    """Returns a PNG with 25000 x 20000 pixels in its header, but only one line of data."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 25000, 20000, 8, 2, 0, 0, 0)
    line = zlib.compress(bytes(1 + 3 * 25000))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", line) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _huge_jpeg():
    """Returns a JPEG of 100 x 70 pixels with 25000 x 20000 in its header."""
    image = encoded(70, 100, "JPEG")
    size = image.index(b"\xff\xc0") + 5  # marker, length, precision
    return image[:size] + struct.pack(">HH", 20000, 25000) + image[size + 4 :]
