"""Reads image files like the COCO tools: the stored pixels, as 8-bit RGB.

The EXIF orientation tag is ignored, because annotations of those tools refer to the stored pixels.
With orientation="apply" pixels are turned upright instead.
"""

import contextlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from keras_maskrcnn.data import bands, npy
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.orientation import check_orientation, upright, upright_size
from keras_maskrcnn.data.pillow_files import (
    FORMATS as FORMATS,
)
from keras_maskrcnn.data.pillow_files import (
    MAX_PIXELS,
    has_16_bits,
    load_as_stored,
    may_be_turned,
    open_image,
    orientation_of,
    stored_size,
)
from keras_maskrcnn.logger import logger
from keras_maskrcnn.typing import Orientation, Path, Size

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".npy"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".avif"),
)

# Properties that are no errors, but make an image look different from what the user expects.
TURNED = "orientation tag that is ignored"
TOLD = "orientation tag, and the json has the stored sides"
APPLIED = "orientation tag that is applied"
DARK = "16 bits in a part of their range"
REMARKS = {
    TURNED: "have an orientation tag (EXIF). The tag is ignored and the stored pixels are used, so"
    " outlines that were drawn on the turned picture miss their objects. Pass orientation='apply'"
    " (--orientation=apply), or store images upright.",
    TOLD: "have an orientation tag (EXIF) that swaps the sides. The annotations have the stored"
    " sides, so the stored pixels are used. Other programs may show these images turned.",
    APPLIED: "have an orientation tag (EXIF). Pixels are turned upright (orientation='apply'), so"
    " outlines that were drawn on the stored pixels would miss their objects.",
    DARK: "have 16 bits, but values in the lowest quarter of the range only, as 12-bit cameras"
    " write them. Only the high byte is read, so the pixels come out nearly black. Read all bits"
    " (image_dtype=uint16 with pixel_max=4095), or scale the values up to 65535.",
}
DARK_BELOW = 64  # of 256, for the high byte of 16 bits
_WITH_LOSS = ("jpeg", "tiff_jpeg", "webp")  # lossy compressions of a TIFF


def read_image(
    path: Path, content: bytes | None = None, *, orientation: Orientation = "ignore"
) -> np.ndarray:
    """Reads the stored pixels of an image file, in any of `FORMATS` and any color mode, as RGB.

    A .npy file is read too, with 1, 3 or 4 bands. 16 bits are cut to the high byte. Transparency is
    dropped and not blended. Of an animation, or of a TIFF with several pages, the first image is
    read.

    Args:
        path: str. The file. With `content` it is only the name in error messages.
        content: bytes of the file, if it is not to be read from `path`.
        orientation: what happens to the orientation tag (EXIF) of the file. "ignore": the pixels
            are as stored. "apply": they are turned upright.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: if the file is missing or broken, has another format, or exceeds `MAX_PIXELS`.
            `data.pixels.read_pixels` reads other bands and dtypes.
        ValueError: if `orientation` is not as above.
    """
    return read_with_remarks(path, content, orientation=orientation)[0]


def from_pillow(image: Image.Image, *, orientation: Orientation = "ignore") -> np.ndarray:
    """Converts a PIL image to 8-bit RGB as `read_image` does. The given image is not changed.

    Args:
        image: PIL.Image.Image. It should not be rotated after opening: then its pixels are as
            stored.
        orientation: as in `read_image`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: if its pixels have 32 bits, or its file is broken.
    """
    check_orientation(orientation)
    tag = orientation_of(image) if orientation == "apply" else 1
    try:
        return upright(_load(image.copy()), tag)
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        line = f"the PIL image cannot be used. Received: {error}."
        raise DataError(line, "unreadable image") from error


def tag_remarks(tag: int, size: Size, sides_tell: bool, orientation: str) -> list[str]:
    """Returns the remark about an orientation tag, in a list; an empty list for tag 1.

    Args:
        tag: int in 1..8.
        size: (height, width) of the stored pixels.
        sides_tell, orientation: as in `read_with_remarks`.
    """
    if tag == 1:
        return []
    if orientation == "apply":
        return [APPLIED]
    return [TURNED if may_be_turned(tag, size, sides_tell) else TOLD]


def read_with_remarks(
    path: Path,
    content: bytes | None = None,
    *,
    sides_tell: bool = False,
    orientation: Orientation = "ignore",
) -> tuple[np.ndarray, list[str]]:
    """Reads an image file as `read_image` does, and lists remarks about possible mistakes.

    Args:
        path, content: as in `read_image`.
        sides_tell: whether the annotations contain the image's sides, which must equal the stored
            ones. Then nobody drew on a picture that was turned by 90 degrees, unless it is square.
            A picture that was turned by 180 degrees or mirrored is still possible.
        orientation: as in `read_image`.

    Returns:
        The image, (H, W, 3) uint8, and a list of the `REMARKS` that are true of it.
    """
    check_orientation(orientation)
    if npy.is_npy(path, content):
        pixels = npy.read_array(path, content)
        sixteen = pixels.dtype.itemsize == 2
        pixels = bands.fit(pixels, str(path), 3, "uint8", colors=pixels.shape[2:] != (2,))
        return pixels, [DARK] if sixteen and pixels.max() < DARK_BELOW else []
    with open_image(path, content) as image:
        tag = orientation_of(image)
        remarks = tag_remarks(tag, stored_size(image), sides_tell, orientation)
        sixteen = has_16_bits(image)
        try:
            pixels = _load(image)
        except Exception as error:  # Pillow's decoders raise nearly everything on broken files
            line = f"{path}: image cannot be decoded. Received: {error}."
            raise DataError(line, "unreadable image") from error
    if sixteen and pixels.max() < DARK_BELOW:
        remarks.append(DARK)
    return upright(pixels, tag if orientation == "apply" else 1), remarks


def log_remarks(names_of: Mapping[str, Sequence[str]]) -> None:
    """Logs one warning per kind of remark, except `TOLD`: only the doctor shows this one.

    Args:
        names_of: dict of a key of `REMARKS` to the names of the images that it is true of.
    """
    for remark, names in names_of.items():
        if remark == TOLD:
            continue
        logger().warning("%s", remark_line(remark, names))


def remark_line(remark: str, names: Sequence[str]) -> str:
    """Returns one line about the images that a remark is true of: "2 images have ..."."""
    count = f"{len(names)} image{'s' if len(names) > 1 else ''}"
    some = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
    text = REMARKS[remark]
    return f"{count} {text if len(names) > 1 else text.replace('have', 'has', 1)} ({some})"


def _load(image):
    """Decodes an opened image to (H, W, 3) uint8."""
    if image.mode in ("I", "F"):
        kind = "floats" if image.mode == "F" else "signed integers, or integers of 32 bits"
        raise ValueError(f"pixels that are {kind}; only unsigned 8 or 16 bits are supported")
    white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0
    image = load_as_stored(image)
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.uint16) >> 8
        pixels = pixels.astype(np.uint8)
        # For TIFFs in which white is 0, Pillow inverts 8 bits, but not 16.
        return np.repeat((~pixels if white_is_zero else pixels)[..., None], 3, axis=-1)
    image.info.pop("transparency", None)  # otherwise Pillow drops it with a warning
    return np.array(image.convert("RGB"))


def without_copies(names: Iterable[str]) -> list[str]:
    """Leaves out each "a.npy" for which there is another file "a": a decoded copy of an image.

    Ultralytics writes such copies beside the images, in another order of colors.

    Args:
        names: paths, in any order.

    Returns:
        list of str, in the same order.
    """
    names = list(names)
    others = {os.path.splitext(name)[0] for name in names if not npy.is_npy(name)}
    return [n for n in names if not (npy.is_npy(n) and os.path.splitext(n)[0] in others)]


def read_size(path: Path, content: bytes | None = None) -> tuple[int, int]:
    """Reads (height, width) of the stored pixels from the header of an image file.

    Args:
        path, content: as in `read_image`.

    Raises:
        DataError: as in `read_image`, except for broken pixels.
    """
    return read_header(path, content)[0]


def read_header(
    path: Path,
    content: bytes | None = None,
    *,
    sides_tell: bool = False,
    orientation: Orientation = "ignore",
) -> tuple[Size, list[str]]:
    """Reads (height, width) of an image file, and the remarks that follow from its header.

    Args:
        path, content, sides_tell, orientation: as in `read_with_remarks`.

    Raises:
        DataError: as in `read_image`, except for broken pixels.
    """
    if npy.is_npy(path, content):
        (height, width, found), stored = npy.read_shape(path, content)
        bands.check_bands(found, str(path), 3, colors=found != 2)
        bands.check_dtype(stored, str(path), "uint8")
        return (height, width), []
    with open_image(path, content) as image:
        size, tag = stored_size(image), orientation_of(image)
    remarks = tag_remarks(tag, size, sides_tell, orientation)
    return upright_size(size, tag) if orientation == "apply" else size, remarks


def read_index(path: Path, size: Size) -> np.ndarray:
    """Reads a PNG or TIFF in which pixels are numbers of instances or classes.

    Gray levels of up to 32 bits and palette indices are the numbers. A color is the number
    R + 256 G + 65536 B, as in COCO's panoptic ids. Transparency is ignored.

    Args:
        path: str.
        size: the required (height, width).

    Returns:
        (H, W) int64.

    Raises:
        DataError: as in `read_image`; also for another size, for a format other than PNG and TIFF,
            and for a lossy TIFF.
    """
    with open_image(path) as image:
        loss = image.format == "TIFF" and image.info.get("compression") in _WITH_LOSS
        if image.format not in ("PNG", "TIFF") or loss:
            kind = f"{image.format} with loss" if loss else image.format
            raise DataError(f"{path}: a mask must be a PNG or a TIFF. Received: format={kind!r}.")
        require_mask_size(path, stored_size(image), size)
        if image.mode.startswith("RGB") and has_16_bits(image):  # Pillow reads the high byte only
            raise DataError(f"{path}: a mask in color must have 8 bits. Received: 16 bits.")
        if image.mode == "F":
            raise DataError(f"{path}: a mask must have whole numbers. Received: floats.")
        try:
            pixels = np.asarray(load_as_stored(image)).astype(np.int64)
        except Exception as error:  # as in read_image
            raise DataError(f"{path}: image cannot be decoded. Received: {error}.") from error
        if pixels.min() < 0:
            line = f"{path}: a mask must have no number below 0. Received: {pixels.min()}."
            raise DataError(line)
        if image.mode.startswith("RGB"):
            return pixels[..., :3] @ [1, 256, 65536]
        return pixels if pixels.ndim == 2 else pixels[..., 0]


def decode_mask(png: bytes) -> np.ndarray:
    """Decodes the PNG of one mask from bytes that are part of another file.

    Returns:
        (H, W) bool, True where the PNG is not 0; with a third axis if the PNG has channels.

    Raises:
        ValueError: if it is no PNG, or exceeds `MAX_PIXELS`. Callers name the file.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"over {MAX_PIXELS} pixels")
            return np.asarray(image) > 0
    except Exception as error:  # as in read_image
        raise ValueError(str(error)) from error


def require_mask_size(path: Path, actual: Size, size: Size) -> None:
    """Raises DataError for a mask that does not have the (height, width) of its image."""
    if tuple(actual) != tuple(size):
        raise DataError(
            f"{path}: a mask must have the size of its image, width={size[1]}, height={size[0]}."
            f" Received: width={actual[1]}, height={actual[0]}."
        )


def read_sized(path: Path, size: Size) -> np.ndarray:
    """Reads an image file as `read_image` does, and requires the (height, width) of the json.

    Raises:
        DataError: as in `read_image`, and if the size differs.
    """
    image = read_image(path)
    require_size(path, image.shape[:2], size)
    return image


def require_size(path: Path, actual: Size, expected: Size) -> None:
    """Raises DataError for an image that does not have the (height, width) of the json."""
    if tuple(actual) != tuple(expected):
        raise size_error(path, actual, expected)


def size_error(path: Path, actual: Size, expected: Size) -> DataError:
    """Makes the error for an image that does not have the (height, width) of the json."""
    tag, stored = 1, None
    with contextlib.suppress(DataError), open_image(path) as image:  # a .npy file has no tag
        tag, stored = orientation_of(image), tuple(stored_size(image))
    hint = ""
    if tuple(actual) == tuple(reversed(expected)) and tag in (5, 6, 7, 8):
        hint = f" Its EXIF orientation tag ({tag}) swaps the sides."
        if tuple(actual) == stored:
            hint += " The tag is ignored and the stored pixels are used, as in the COCO tools: pass"
            hint += " orientation='apply' (--orientation=apply), or store the image upright."
        else:
            hint += " It was applied: pass orientation='ignore' (--orientation=ignore)."
    return DataError(
        f"{path}: the json says width={expected[1]}, height={expected[0]}."
        f" Received: width={actual[1]}, height={actual[0]}.{hint}",
        "size mismatch",
    )
