"""Shared by tests/examples/test_serve.py and benchmarks/serving_load.py: a server, bad requests."""

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
    """Runs the reference server in a process of its own.

    Args:
        base_path: path. A folder of version folders.

    Yields:
        (subprocess.Popen, dict of what it printed: version, warmed_up, port, rest_api_port).
    """
    command = [sys.executable, SERVER, "--model_base_path", base_path, "--port=0"]
    command += ["--rest_api_port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def encoded(height, width, kind="PNG", mode="RGB", seed=0):
    """Noise as the bytes of an image file."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind)
    return file.getvalue()


def broken_images():
    """dict of names to bytes that are no image, or not all of one."""
    return {
        "zero bytes": b"",
        "text": b"this is no image",
        "truncated JPEG": encoded(70, 100, "JPEG")[:500],
        "500 megapixels, PNG": _huge_png(),
        "500 megapixels, JPEG": _huge_jpeg(),
    }


def odd_images():
    """dict of names to bytes of images that a server may refuse, or must answer rightly."""
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
    """dict of names to (signature, inputs) that fit no signature."""
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
    """A PNG whose header promises 25000 x 20000 pixels, and that holds one line of them."""

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
    """A JPEG of 100 x 70 pixels whose header promises 25000 x 20000."""
    image = encoded(70, 100, "JPEG")
    size = image.index(b"\xff\xc0") + 5  # marker, length, precision
    return image[:size] + struct.pack(">HH", 20000, 25000) + image[size + 4 :]
