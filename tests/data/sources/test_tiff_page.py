"""data/sources/tiff_page.py: headers that lie are refused before memory is taken."""

import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.data.sources.tiff_page import PartCache

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS, COUNTS = 273, 277, 278, 279
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
DEFLATE = 8


def tiff(data=b"", **changed):
    """Makes a gray TIFF of 8 x 8 in one strip, with other numbers in its header.

    Args:
        data: bytes of the strip; the offset in the header is theirs.
        changed: tags, as "t256": a number, a list of numbers, or None for no such tag.
    """
    tags = {WIDTH: 8, LENGTH: 8, BITS: 8, COMPRESSION: 1, PHOTOMETRIC: 1, SAMPLES: 1, ROWS: 8}
    tags |= {OFFSETS: 8, COUNTS: len(data)}
    tags |= {int(name[1:]): value for name, value in changed.items()}
    entries, body = b"", b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    tags = {tag: value for tag, value in sorted(tags.items()) if value is not None}
    after = len(body) + 2 + 12 * len(tags) + 4
    lists = b""
    for tag, value in tags.items():
        if isinstance(value, list):
            entries += struct.pack("<HHII", tag, 4, len(value), after + len(lists))
            lists += struct.pack(f"<{len(value)}I", *value)
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    return body + struct.pack("<H", len(tags)) + entries + bytes(4) + lists


def tiled(data=b"", **changed):
    """The same in one tile of 16 x 16."""
    tags = {"t322": 16, "t323": 16, "t324": 8, "t325": len(data), "t273": None, "t278": None}
    return tiff(data, **{**tags, "t279": None, **changed})


def error_of(path, content):
    """The error of a file, when it is opened or read whole, and the memory until then."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught, open_source(path) as source:
            source.read(0, 0, source.height, source.width)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))
    assert peak < 20e6, peak
    return str(caught.value).removeprefix(str(path))


def test_the_header_of_these_tests_is_right(tmp_path):
    contents = {8: tiff(bytes(range(64)))}
    contents[16] = tiled(zlib.compress(bytes(range(256))), t259=DEFLATE)
    for width, content in contents.items():
        (tmp_path / "a.tif").write_bytes(content)
        with open_source(tmp_path / "a.tif") as source:
            assert source.read(1, 0, 1, 2).tolist() == [[[width] * 3, [width + 1] * 3]]


BOMB = zlib.compress(bytes(200_000_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(bytes(64), t256=2**31, t257=2**31), ": a TIFF of this size needs 268435456 parts."),
        (tiff(bytes(64), t256=2**32 - 1), ": strip 0 has too few bytes for its 34359738360"),
        (tiff(bytes(64), t256=0), ": a TIFF without pixels"),
        (tiff(bytes(64), t278=0), ": a TIFF with empty parts"),
        (tiff(bytes(64), t278=4), ": a TIFF of this size needs 2 parts. Received: 1 off"),
        (tiff(bytes(64), t279=10**9), ": the file is cut off: 1 of 1 strips are not in it"),
        (
            tiff(bytes(64), t273=10**9),
            ": the file is cut off: .*strip 0 is 64 bytes at offset 1000",
        ),
        (
            tiff(bytes(40)),
            ": strip 0 has too few bytes for its 64 bytes of pixels. Received: 40 bytes",
        ),
        (tiff(b"", t273=None), ": "),
        (tiff(bytes(64), t258=0), ": a TIFF of this kind is not read"),
        (tiff(bytes(64), t277=2**31), ": "),
        (tiff(bytes(64), t262=77), ": a TIFF of this kind is not read"),
        (tiff(bytes(64), t259=7), ": strip 0, 64 bytes at offset 8: cannot be decoded"),
        (tiff(bytes(64), t259=9999), ": a TIFF of this kind is not read"),
        (tiff(bytes(64), t259=DEFLATE), ": strip 0, 64 bytes at offset 8: cannot be decoded"),
        (tiff(bytes(64), t256=60_000, t257=60_000, t278=60_000, t259=DEFLATE), ": .* is refused"),
        (tiled(bytes(256), t322=2**31), ": .*larger parts than its size needs is refused"),
        (tiled(bytes(256), t322=0), ": "),
        (tiled(bytes(256), t322=2**31, t323=2**31), ": .* is refused"),
        (tiled(bytes(100)), ": tile 0 has too few bytes for its 256 bytes of pixels"),
        (tiled(bytes(256), t257=10**6), ": a TIFF of this size needs 62500 parts. Received: 1 off"),
        (tiled(bytes(3_000_000), t259=DEFLATE), ": .*tile 0 of 3000000 bytes for 256 bytes of pix"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, content, message):
    assert re.match(message, error_of(tmp_path / "a.tif", content))


@pytest.mark.parametrize("part", [tiff, tiled])
def test_a_bomb_is_decoded_to_the_size_of_its_part_only(tmp_path, part):
    (tmp_path / "a.tif").write_bytes(part(BOMB, t259=DEFLATE))
    tracemalloc.start()
    try:
        with open_source(tmp_path / "a.tif") as source:
            assert not source.read(0, 0, 8, 8).any()
    except DataError as error:
        assert "cannot be decoded" in str(error)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize(("kind", "code"), [("JPEG", 7), ("JPEG2000", 34712), ("WEBP", 50001)])
def test_an_image_inside_a_tile_that_is_larger_is_refused(tmp_path, kind, code):
    Image.new("L" if kind != "WEBP" else "RGB", (300, 300)).save(tmp_path / "inner", kind)
    inner = (tmp_path / "inner").read_bytes()
    content = tiled(inner, t259=code, t262=1, t325=len(inner))
    assert "it holds an image of width=300, height=300" in error_of(tmp_path / "a.tif", content)


def test_a_loop_of_pages_ends(tmp_path):
    content = bytearray(tiff(bytes(64)))
    content[-4:] = struct.pack("<I", 72)  # the next page is the first
    (tmp_path / "a.tif").write_bytes(content)
    with open_source(tmp_path / "a.tif") as source:
        assert source.levels == ((8, 8),)


def test_every_file_that_is_cut_off_is_refused(pixels, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels, photometric="rgb", tile=(64, 64), compression="deflate", subifds=1)
        writer.write(pixels[::2, ::2], photometric="rgb", tile=(64, 64), subfiletype=1)
    content = (tmp_path / "a.tif").read_bytes()
    for length in [1, 4, 7, 8, 9, 50, 200, 400, 1000, len(content) // 2, len(content) - 1]:
        error_of(tmp_path / "b.tif", content[:length])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about metadata
def test_noise_in_a_file_is_an_error_or_pixels(pixels, tmp_path):
    """Never another error, and never much memory."""
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="rgb", tile=(64, 64), compression="lzw"
    )
    content = (tmp_path / "a.tif").read_bytes()
    random, refused = np.random.default_rng(0), 0
    for _ in range(150):
        noisy = bytearray(content)
        for place in random.integers(0, 400, 3):
            noisy[place] = random.integers(256)
        (tmp_path / "b.tif").write_bytes(noisy)
        try:
            with open_source(tmp_path / "b.tif") as source:
                source.read(0, 0, min(source.height, 500), min(source.width, 500))
        except DataError as error:
            assert str(error).startswith(str(tmp_path / "b.tif"))
            refused += 1
    assert refused > 20


def test_the_cache_forgets_what_was_used_longest_ago():
    cache = PartCache()
    parts = [np.zeros(2**25, np.uint8) for _ in range(5)]
    for i in range(4):
        cache.add(i, parts[i])
    assert cache.get(0) is parts[0]
    cache.add(4, parts[4])
    assert cache.get(1) is None and cache.get(0) is parts[0] and cache.get(4) is parts[4]
    cache.add(5, np.zeros(2**28, np.uint8))
    assert cache.get(4) is None and cache.get(5) is not None
    cache.clear()
    assert cache.get(5) is None
