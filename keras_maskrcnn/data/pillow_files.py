"""Opens image files with Pillow, and refuses those that lie about themselves."""

import contextlib
import io
import reprlib
from typing import Any

import numpy as np
import PIL
from PIL import Image, TiffImagePlugin, features

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.typing import Path, Size

# How files begin, from this byte on, that some builds of Pillow cannot read. Before 11.3 none knew
# AVIF, and asking about an unknown feature would log a warning.
_OPTIONAL: dict[str, tuple[bool, int, tuple[bytes, ...]]] = {
    "JPEG2000": (
        bool(features.check("jpg_2000")),
        0,
        (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ),
    "AVIF": (
        "avif" in features.modules and bool(features.check("avif")),
        4,
        (b"ftypavif", b"ftypavis"),
    ),
}
FORMATS = (
    *("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"),
    *(name for name, (readable, _, _) in _OPTIONAL.items() if readable),
)
MAX_PIXELS = 178_956_970  # Pillow's default limit against decompression bombs
_TILE_PIXELS = 2**24  # limit for a tile of a TIFF; real tiles have thousands of pixels
_ORIENTATION = 0x0112  # the tag in EXIF
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of TIFF and BigTIFF
_TIFF_TAGS = {
    "width": 256,
    "height": 257,
    "bits": 258,
    "samples": 277,
    "sample_format": 339,
    "compression": 259,
    "photometric": 262,
}
# Pillow rotates TIFFs, and no other format, by their tag when it loads them. This undoes it.
_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


class OtherTiff(DataError):
    """A file is a TIFF, but of a kind that Pillow does not read, or a broken one."""


def load_as_stored(image: Any) -> Any:
    """Decodes an opened image, and returns an image with the stored pixels."""
    if image.format == "JPEG2000" and image.mode.startswith("I;16"):
        bits = _bits_of_jpeg2000(image.fp)  # Pillow multiplies gray of fewer bits, to fill 16
        image.load()
        return Image.fromarray(np.asarray(image).astype(np.uint16) >> (16 - bits))
    turn_back = _TURN_BACK.get(orientation_of(image)) if image.format == "TIFF" else None
    if turn_back is None:
        image.load()
        return image
    image.filename = ""  # else Pillow maps the file into memory, with the sides swapped
    image.load()
    return image.transpose(turn_back)


def has_16_bits(image: Any) -> bool:
    """Whether an opened image has 16 bits per channel. Pillow decodes the high byte of colors."""
    return image.mode.startswith("I;16") or "16" in raw_mode(image)


def raw_mode(image: Any) -> str:
    """Returns the layout of an opened image's pixels for Pillow's decoder, as "RGB;16B"."""
    tile = getattr(image, "tile", ())  # an image without a file has none
    kinds = tile[0][3] if tile else ""
    kinds = kinds[0] if isinstance(kinds, tuple) and kinds else kinds
    return str(kinds) if isinstance(kinds, str | list | tuple) else ""


def orientation_of(image: Image.Image) -> int:
    """Returns the orientation tag of an opened image, 2 to 8; 1 if it is upright or untagged."""
    try:
        # Not image.getexif(): it decodes all pixels of a PNG to find a tag after them.
        tag = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # for broken EXIF, Pillow's parsers raise nearly everything
        return 1
    return tag if tag in _TURN_BACK else 1


def tag_of_file(path: Path, content: bytes | None = None) -> int:
    """Returns the orientation tag of an image file of any size, 1 if it has none.

    Args:
        path, content: as in `data.images.read_image`.
    """
    try:
        with _opened(path, content) as file:
            if file.read(4) in TIFF_STARTS:  # of which Pillow does not open all kinds
                tag = _first_directory(file)[_ORIENTATION]
                return tag if tag in _TURN_BACK else 1
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                return orientation_of(image)
    except Exception:  # it is no file, has no tag, or is broken, which reading its pixels tells
        return 1


def may_be_turned(tag: int, size: Size, sides_tell: bool) -> bool:
    """Whether annotations may have been drawn on a turned picture and not on the stored one.

    Args:
        tag: int. The orientation, 1 to 8.
        size: (height, width) of the stored pixels.
        sides_tell: whether the annotations contain the image's sides, which equal the stored ones.
    """
    return tag != 1 and (tag < 5 or size[0] == size[1] or not sides_tell)


def stored_size(image: Any) -> Size:
    """Returns (height, width) of the stored pixels of an opened image."""
    if image.format == "TIFF":  # here Pillow gives the sides after turning
        return image.tag_v2[257], image.tag_v2[256]
    return image.height, image.width


def open_image(path: Path, content: bytes | None = None) -> Any:
    """Opens an image file and reads only its header.

    Args:
        path, content: as in `data.images.read_image`.

    Returns:
        PIL.Image.Image. Close it.

    Raises:
        OtherTiff: if it is a TIFF of a kind that Pillow does not read.
        DataError: if the file is missing or broken, has another format, or exceeds `MAX_PIXELS`.
    """
    try:
        image = Image.open(path if content is None else io.BytesIO(content), formats=FORMATS)
    except FileNotFoundError as error:
        raise DataError(f"{path}: image file does not exist.", "missing image") from error
    except Image.UnidentifiedImageError as error:
        kind = _tiff_kind(path, content)
        if kind:
            line = f"{path}: a TIFF of this kind is not read; only gray or RGB is, of 8 bits or of"
            line += f" unsigned 16 bits; channels= and image_dtype= read more. Received: {kind}."
            raise OtherTiff(line, "unreadable image") from error
        missing = _not_in_this_pillow(path, content)
        if missing:
            line = f"{path}: reading {missing} needs a Pillow with {missing} (11.3 or later)."
            line += f" Received: Pillow {PIL.__version__} without it."
            raise DataError(line, "unreadable image") from error
        formats = ", ".join(FORMATS)
        line = f"{path}: not an image, or in none of the formats {formats}."
        raise DataError(line, "unreadable image") from error
    except Exception as error:
        bomb = isinstance(error, Image.DecompressionBombError)
        line = f"{path}: image cannot be opened. Received: {error}."
        raise DataError(line, "image too large" if bomb else "unreadable image") from error
    if image.width * image.height > MAX_PIXELS:
        size = f"width={image.width}, height={image.height}"
        image.close()
        line = f"{path}: image has over {MAX_PIXELS} pixels. Received: {size}."
        raise DataError(line, "image too large")
    if image.format == "TIFF" and not _is_bounded(image):
        image.close()
        line = f"{path}: a TIFF with more or larger parts than its size needs is refused. Received:"
        raise DataError(f"{line} width={image.width}, height={image.height}.", "image too large")
    return image


def _is_bounded(image):
    """Whether decoding a TIFF takes time and memory in proportion to its size.

    Its header may ask for more.
    """
    pixels = image.width * image.height
    width, height = (image.tag_v2.get(tag, 1) for tag in (322, 323))
    if not isinstance(width, int) or not isinstance(height, int):
        return False
    if width * height > max(pixels, _TILE_PIXELS):  # libtiff allocates a whole tile
        return False
    # At most four channels, in rows or in tiles of at least 16 x 16.
    return len(image.tile) <= 4 * (image.height + pixels // 256 + 1)


def _tiff_kind(path, content=None):
    """Returns the properties of a TIFF that Pillow cannot read; empty if the file is no TIFF."""
    with contextlib.suppress(OSError), _opened(path, content) as file:
        if not file.read(4).startswith(TIFF_STARTS):
            return ""
    try:
        found = tiff_fields(path, content)
    except Exception:  # a broken one
        return "a broken header"
    return ", ".join(f"{name}={reprlib.repr(value)}" for name, value in found.items())


def tiff_fields(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Reads the header of a TIFF's first page.

    Args:
        path, content: as in `open_image`.

    Returns:
        dict of the name of a property to its value. A property that the file lacks is left out.

    Raises:
        Exception: any, if the header is broken.
    """
    with _opened(path, content) as file:
        directory = _first_directory(file)
        return {name: directory[tag] for name, tag in _TIFF_TAGS.items() if tag in directory}


def _first_directory(file):
    """Reads the tags of a TIFF's first page."""
    file.seek(0)
    header = file.read(8)
    header += file.read(8) if b"+" in header[:4] else b""
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    file.seek(directory.next)
    directory.load(file)
    return directory


def _not_in_this_pillow(path, content):
    """Returns the format of a file that this Pillow was built without; None for all others."""
    with contextlib.suppress(OSError), _opened(path, content) as file:
        start = file.read(16)
        for name, (readable, offset, signatures) in _OPTIONAL.items():
            if not readable and start[offset:].startswith(signatures):
                return name
    return None


def _bits_of_jpeg2000(file):
    """Reads how many bits a value of the first channel has, from the marker SIZ (ISO 15444-1)."""
    file.seek(0)
    _, found, siz = file.read().partition(b"\xff\x4f\xff\x51")
    return (siz[38] & 127) + 1 if found else 16


def _opened(path, content):
    """Opens a file, or its content, for reading."""
    return open(path, "rb") if content is None else io.BytesIO(content)
