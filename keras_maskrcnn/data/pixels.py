"""Reads the stored pixels of image files with any number of bands, in uint8, uint16 or float32.

`data.images` reads 8-bit RGB. This module reads everything else, with the same checks: gray as one
band, 16 bits whole, TIFFs of several bands or of floats, and .npy files.
"""

import collections
import concurrent.futures
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_maskrcnn.data import bands, images, npy, pillow_files
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.orientation import upright, upright_size
from keras_maskrcnn.typing import Orientation, Path, Size

RGB = Reading()
_GRAY = ("1", "L", "F", "I")
_16_BITS = {  # the layouts of Pillow for 16 bits of PNG, and those that give high and low bytes
    "RGB;16B": ("RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
    "LA;16B": ("RGBA",),  # four bytes per pixel, as they are
}


def read_pixels(
    path: Path,
    content: bytes | None = None,
    *,
    channels: int = 3,
    dtype: str = "uint8",
    orientation: Orientation = "ignore",
) -> np.ndarray:
    """Reads the stored pixels of an image file.

    With the default arguments this is `data.images.read_image`, which also takes TIFFs that only
    tifffile knows. Otherwise a file must have as many bands as `channels`, with these exceptions.
    Gray is repeated for 3 channels. Colors become gray for 1 channel, with Pillow's weights. Alpha
    is dropped for 1 and 3 channels. Palettes and CMYK count as RGB.

    Args:
        path: str. A file in a format of `data.images`, or .npy with (H, W) or (H, W, C). TIFFs of
            over 4 bands, of floats in several bands, or of 16-bit colors need the extra `tiff`.
            A TIFF with `channels` gray pages has a band in each page.
        content: bytes of the file, if it is not to be read from `path`.
        channels: int in 1..32.
        dtype: "uint8": 8 bits, or the high byte of 16. "uint16": 16 bits; 8 bits are refused,
            because nothing says which value is white. "float32": the values of integers and floats.
        orientation: what happens to the orientation tag (EXIF) of the file. "ignore": the pixels
            are as stored. "apply": they are turned upright.

    Returns:
        (H, W, channels) of this dtype.

    Raises:
        ImportError: if a TIFF needs the extra `tiff`. The message names it.
        DataError: if the file is missing, broken or too large, has other bands, a dtype that does
            not fit, or a number that is NaN or infinite.
        ValueError: if `channels`, `dtype` or `orientation` is not as above.
    """
    reading = Reading(channels, dtype, orientation=orientation)
    return read_with_remarks(path, content, reading)[0]


def read_with_remarks(
    path: Path, content: bytes | None = None, reading: Reading = RGB, *, sides_tell: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Reads an image file as `read_pixels` does, and lists remarks about possible mistakes.

    Args:
        path, content: as in `read_pixels`.
        reading: `data.bands.Reading`.
        sides_tell: as in `data.images.read_with_remarks`.

    Returns:
        (H, W, channels), and a list of the `data.images.REMARKS` that are true of the image.
    """
    told: dict[str, Any] = {"sides_tell": sides_tell, "orientation": reading.orientation}
    refused = None
    if reading.is_rgb:
        try:
            return images.read_with_remarks(path, content, **told)
        except pillow_files.OtherTiff as error:
            refused = error
    try:
        size, tag, pixels, colors = _read(path, content, reading.channels)
        deep = pixels.dtype == np.uint16
        pixels = bands.fit(pixels, str(path), **reading.of_files(), colors=colors)
    except (DataError, ImportError):
        if refused is not None:
            raise refused from None
        raise
    remarks = images.tag_remarks(tag, size, **told)
    pixels = upright(pixels, tag) if reading.orientation == "apply" else pixels
    if deep and reading.image_dtype == "uint8" and pixels.max() < images.DARK_BELOW:
        remarks.append(images.DARK)
    return pixels, remarks


def read_sized(path: Path, size: Size, reading: Reading = RGB) -> np.ndarray:
    """Reads an image file as `read_pixels` does, and requires the (height, width) of the json.

    Raises:
        DataError: as in `read_pixels`, and if the size differs.
    """
    pixels, _ = read_with_remarks(path, None, reading)
    images.require_size(path, pixels.shape[:2], size)
    return pixels


def read_header(
    path: Path,
    content: bytes | None = None,
    reading: Reading = RGB,
    *,
    sides_tell: bool = False,
) -> tuple[Size, list[str]]:
    """Reads (height, width) of an image file, and the remarks that follow from its header.

    Args:
        path, content, reading, sides_tell: as in `read_with_remarks`.

    Raises:
        DataError: as in `read_pixels`, as far as the header tells. It does not tell how many pages
            a TIFF has.
    """
    told: dict[str, Any] = {"sides_tell": sides_tell, "orientation": reading.orientation}
    if reading.is_rgb:
        try:
            return images.read_header(path, content, **told)
        except pillow_files.OtherTiff as error:
            try:
                return _other_tiff_header(path, content, reading, told)
            except DataError:
                raise error from None
    channels, dtype = reading.channels, reading.image_dtype
    if npy.is_npy(path, content):
        (height, width, found), stored = npy.read_shape(path, content)
        bands.check_bands(found, str(path), channels, colors=found != 2)
        bands.check_dtype(stored, str(path), dtype)
        return (height, width), []
    try:
        image = pillow_files.open_image(path, content)
    except pillow_files.OtherTiff:
        return _other_tiff_header(path, content, reading, told)
    with image:
        size = pillow_files.stored_size(image)
        if image.format != "TIFF":
            found, stored = kind_of(image)
            bands.check_bands(found, str(path), channels, colors=True)
            bands.check_dtype(stored, str(path), dtype)
        return _turned_header(size, pillow_files.orientation_of(image), told)


def _turned_header(size, tag, told):
    """Returns what `read_header` does, of the size and the tag of the stored pixels."""
    applied = upright_size(size, tag) if told["orientation"] == "apply" else size
    return applied, images.tag_remarks(tag, size, **told)


def size_errors(
    folder: Path, file_names: Sequence[str], sizes: Sequence[Size], reading: Reading = RGB
) -> Iterator[tuple[int, DataError]]:
    """Compares the header of every image with the json and with `reading`, and logs remarks.

    Args:
        folder: str. Folder that the file names are relative to.
        file_names: sequence of str.
        sizes: sequence of (height, width).
        reading: `data.bands.Reading`.

    Yields:
        (index, DataError) for each image that cannot be opened, or has another size or other bands.
    """

    def check(file_name, size):
        path = os.path.join(folder, file_name)
        try:
            actual, remarks = read_header(path, None, reading, sides_tell=True)
            images.require_size(path, actual, size)
            return None, remarks
        except DataError as error:
            return error, ()

    def check_block(start):  # one task per image would cost as much as reading its header
        block = slice(start, start + 256)
        return list(map(check, file_names[block], sizes[block]))

    names_of = collections.defaultdict(list)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        blocks = pool.map(check_block, range(0, len(file_names), 256))
        for i, (error, remarks) in enumerate(itertools.chain.from_iterable(blocks)):
            if error is not None:
                yield i, error
            for remark in remarks:
                names_of[remark].append(file_names[i])
    images.log_remarks(names_of)


def from_pillow(
    image: Image.Image,
    *,
    channels: int = 3,
    dtype: str = "uint8",
    orientation: Orientation = "ignore",
) -> np.ndarray:
    """Converts a PIL image as `read_pixels` does its file. The given image is not changed.

    Args:
        image: PIL.Image.Image, see `data.images.from_pillow`. Pillow holds colors of 8 bits only.
        channels, dtype, orientation: as in `read_pixels`.

    Returns:
        (H, W, channels) of this dtype.

    Raises:
        DataError: if it has other bands or another dtype, or its file is broken.
    """
    if Reading(channels, dtype, orientation=orientation).is_rgb:
        return images.from_pillow(image, orientation=orientation)
    tag = pillow_files.orientation_of(image) if orientation == "apply" else 1
    try:
        pixels = _decode(image.copy())
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        line = f"the PIL image cannot be used. Received: {error}."
        raise DataError(line, "unreadable image") from error
    return upright(bands.fit(pixels, "the PIL image", channels, dtype), tag)


def _read(path, content, channels):
    """Reads a file: ((height, width), orientation tag, pixels as stored, whether they are colors).

    Its bands have no meaning beyond their number if they are no colors.
    """
    if npy.is_npy(path, content):
        pixels = npy.read_array(path, content)
        return pixels.shape[:2], 1, pixels, pixels.ndim == 2 or pixels.shape[2] != 2
    try:
        image = pillow_files.open_image(path, content)
    except pillow_files.OtherTiff:
        return _read_tiff(path, content, channels, pillow_files.tag_of_file(path, content))
    with image:
        tag = pillow_files.orientation_of(image)
        raw = pillow_files.raw_mode(image)
        try:
            if image.format == "TIFF" and _needs_tifffile(image, channels):
                pixels = None
            elif image.format == "PNG" and raw in _16_BITS:
                pixels = _decode_16_bits(path, content, raw)
            else:
                pixels = _decode(image)
        except Exception as error:  # Pillow's decoders raise nearly everything on broken files
            line = f"{path}: image cannot be decoded. Received: {error}."
            raise DataError(line, "unreadable image") from error
    if pixels is None:
        return _read_tiff(path, content, channels, tag)
    return pixels.shape[:2], tag, pixels, True


def _read_tiff(path, content, channels, tag):
    """Does the same as `_read` with tifffile."""
    # Imported here: the sources of large images, which it uses, read small ones with this module.
    from keras_maskrcnn.data import tiff_bands

    pixels, colors = tiff_bands.read_tiff(path, content, channels)
    return pixels.shape[:2], tag, pixels, colors


def _other_tiff_header(path, content, reading, told):
    """Returns what `read_header` does, for a TIFF that Pillow does not read."""
    try:
        found = pillow_files.tiff_fields(path, content)
        size, samples = (int(found["height"]), int(found["width"])), int(found.get("samples", 1))
        kind = "?uif"[np.ravel(found.get("sample_format", 1))[0]]
        stored = np.dtype(f"{kind}{np.ravel(found['bits'])[0] // 8}")
    except Exception as error:  # Pillow raises nearly everything on broken headers
        line = f"{path}: the header of this TIFF cannot be read. Received: {error!r}."
        raise DataError(line, "unreadable image") from error
    npy.check_numbers(path, (*size, samples))
    if samples > 1:
        colors = found.get("photometric") == 2
        bands.check_bands(samples, str(path), reading.channels, colors=colors)
    bands.check_dtype(stored, str(path), reading.image_dtype)
    return _turned_header(size, pillow_files.tag_of_file(path, content), told)


def _needs_tifffile(image, channels):
    """Whether Pillow would lose bands or bits of a TIFF that it opens."""
    samples = image.tag_v2.get(277, 1)
    if samples != len(image.getbands()) or (samples > 1 and pillow_files.has_16_bits(image)):
        return True
    return samples == 1 and channels > 1 and getattr(image, "n_frames", 1) > 1


def kind_of(image: Any) -> tuple[int, Any]:
    """Returns the number of bands and the dtype of an image that Pillow has opened."""
    raw = pillow_files.raw_mode(image)
    if image.format == "PNG" and raw in _16_BITS:
        return {"RGB;16B": 3, "RGBA;16B": 4, "LA;16B": 2}[raw], np.uint16
    if image.mode.startswith("I;16"):
        return 1, np.uint16
    if image.mode in _GRAY:
        return 1, {"F": np.float32, "I": np.int32}.get(image.mode, np.uint8)
    return {"LA": 2, "RGBA": 4}.get(image.mode, 3), np.uint8


def _decode(image):
    """Decodes an opened image to (H, W) or (H, W, K), in stored order; colors with 8 bits."""
    white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0
    image = pillow_files.load_as_stored(image)
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.uint16)
        return ~pixels if white_is_zero else pixels  # Pillow inverts 8 bits, but not 16
    image.info.pop("transparency", None)  # otherwise Pillow drops it with a warning
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in (*_GRAY, "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    return np.array(image)


def _decode_16_bits(path, content, raw):
    """Decodes a PNG with 16 bits per band, of which Pillow keeps the high byte only.

    Pillow is asked for the high bytes and then for the low ones. The filters of PNG work on the
    bytes of whole pixels, and each of these layouts has the right number of them.
    """
    planes = []
    for layout in _16_BITS[raw]:
        with pillow_files.open_image(path, content) as image:
            decoder, extents, offset, _ = image.tile[0]
            image.tile = [(decoder, extents, offset, layout)]
            planes.append(np.array(image).astype(np.uint16))
    if len(planes) == 1:
        planes = [planes[0][..., ::2], planes[0][..., 1::2]]
    return (planes[0] << 8) | planes[1]
