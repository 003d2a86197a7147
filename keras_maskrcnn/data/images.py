"""Reads image files as the COCO tools do: the stored pixels, as 8-bit RGB.

The EXIF orientation tag is ignored, because annotations made with those tools are drawn on the
stored pixels.
"""

import concurrent.futures
import io
import os

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
MAX_PIXELS = 178_956_970  # where Pillow, by default, starts to suspect a decompression bomb


class DataError(ValueError):
    """Input that cannot be used, in one line that names the file, the annotation and the field.

    Attributes:
        kind: str. One or more words by which like errors are counted; empty if none count them.
    """

    def __init__(self, message, kind=""):
        super().__init__(message)
        self.kind = kind


def read_image(path, content=None) -> np.ndarray:
    """Reads an image file of any `FORMATS` and color mode as 8-bit RGB, stored pixels as they are.

    16 bits are cut to the high byte, transparency is dropped and not blended, the EXIF orientation
    is ignored; of an animation the first frame counts.

    Args:
        path: str. The file; with `content` only what error messages call it.
        content: bytes of the file, where it is not read from `path`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: if the file is missing, broken, of another format, or above `MAX_PIXELS`.
    """
    with _open_image(path, content) as image:
        try:
            image.load()
            if image.mode.startswith("I;16"):
                pixels = np.asarray(image).astype(np.uint16) >> 8
                return np.repeat(pixels.astype(np.uint8)[..., None], 3, axis=-1)
            if image.mode in ("I", "F"):
                raise ValueError(f"pixels of 32 bits, mode {image.mode}")
            image.info.pop("transparency", None)  # Pillow warns when it drops it itself
            return np.array(image.convert("RGB"))
        except Exception as error:  # Pillow's decoders raise nearly everything on broken files
            line = f"{path}: image cannot be decoded. Received: {error}."
            raise DataError(line, "unreadable image") from error


def _open_image(path, content=None):
    """Opens an image file and reads no more than its header."""
    try:
        image = Image.open(path if content is None else io.BytesIO(content), formats=FORMATS)
    except FileNotFoundError as error:
        raise DataError(f"{path}: image file does not exist.", "missing image") from error
    except Image.UnidentifiedImageError as error:
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
    return image


def read_size(path, content=None) -> tuple[int, int]:
    """Reads (height, width) from the header of an image file, given as in `read_image`.

    Raises:
        DataError: as `read_image`, but for broken pixels.
    """
    with _open_image(path, content) as image:
        return image.height, image.width


def read_index(path, size) -> np.ndarray:
    """Reads a PNG whose pixels are numbers of instances or classes.

    Grey levels of 8 or 16 bits and palette indices are taken as they are, colors as
    R + 256 G + 65536 B, which is COCO's panoptic id. Transparency is ignored.

    Args:
        path: str.
        size: (height, width) that it must have.

    Returns:
        (H, W) int64.

    Raises:
        DataError: as `read_image`, and for another size, or a format other than PNG.
    """
    with _open_image(path) as image:
        if image.format != "PNG":
            raise DataError(f"{path}: a mask must be a PNG. Received: format={image.format!r}.")
        if (image.height, image.width) != tuple(size):
            raise DataError(
                f"{path}: the image has width={size[1]}, height={size[0]}, and so must its masks."
                f" Received: width={image.width}, height={image.height}."
            )
        if image.mode.startswith("RGB") and "16" in str(image.tile[0][3]):  # Pillow cuts them
            raise DataError(f"{path}: a mask in color must have 8 bits. Received: 16 bits.")
        try:
            pixels = np.asarray(image).astype(np.int64)
        except Exception as error:  # as in read_image
            raise DataError(f"{path}: image cannot be decoded. Received: {error}.") from error
        if image.mode.startswith("RGB"):
            return pixels[..., :3] @ [1, 256, 65536]
        return pixels if pixels.ndim == 2 else pixels[..., 0]


def read_sized(path, size) -> np.ndarray:
    """Reads an image file as `read_image` does, and requires the (height, width) of the json.

    Raises:
        DataError: as `read_image`, and if the size differs.
    """
    image = read_image(path)
    if image.shape[:2] != tuple(size):
        raise size_error(path, image.shape[:2], size)
    return image


def size_error(path, actual, expected):
    """Makes the error for an image that has not the (height, width) of the json."""
    with _open_image(path) as image:
        orientation = image.getexif().get(0x0112, 1)
    hint = ""
    if tuple(actual) == tuple(reversed(expected)) and orientation in (5, 6, 7, 8):
        hint = (
            f" Its EXIF orientation tag ({orientation}) swaps the sides; as in the COCO tools, the"
            " stored pixels count and the tag is ignored, so store the image upright."
        )
    return DataError(
        f"{path}: the json says width={expected[1]}, height={expected[0]}."
        f" Received: width={actual[1]}, height={actual[0]}.{hint}",
        "size mismatch",
    )


def check_sizes(folder, file_names, sizes):
    """Compares the size in every image's header with the json's.

    Args:
        folder: str. What the file names are relative to.
        file_names: sequence of str.
        sizes: sequence of (height, width).

    Raises:
        DataError: as `read_image`, and if a size differs.
    """

    def check(file_name, size):
        path = os.path.join(folder, file_name)
        actual = read_size(path)
        if actual != size:
            raise size_error(path, actual, size)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for _ in pool.map(check, file_names, sizes):
            pass
