"""Writes the tiles of big images as image files, with the COCO json about them."""

import collections
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_maskrcnn.data import png
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.tiled_set import TiledDataset
from keras_maskrcnn.files import replacing
from keras_maskrcnn.typing import Path

# Options of Pillow. For 60 images of nuclei, level 3 of PNG took 1.5 s, and the default 6 took
# 3.9 s. The files are 3 % larger.
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 3},
    "jpg": {"format": "JPEG", "quality": 95},
}
"""Suffixes of tiles, and how Pillow writes them. PNG keeps the pixels; JPEG is smaller."""


def write_tiles(
    dataset: TiledDataset,
    folder: Path,
    suffix: str = "png",
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> dict[str, Any]:
    """Writes every tile as an image file, and returns the content of a COCO json about them.

    A tile of "a/scan.tif" that begins in row 896 and column 0 is "a/scan_896_0.png". If two big
    images differ in their suffixes only, the name keeps it: "a/scan.tif_896_0.png".

    Args:
        dataset: `TiledDataset`.
        folder: the folder to write into. Files of the same names are replaced.
        suffix: one of `FORMATS`. Tiles that a JPEG cannot hold become PNGs: 16 bits, and 4 bands.
            Tiles that a PNG cannot hold become .npy files: floats, and other numbers of bands.
        progress: function that takes a list of indices and yields them, for instance to show a
            progress bar.

    Returns:
        dict, as `dataset.annotations`, with the names of the files.

    Raises:
        DataError: if a big image cannot be read.
    """
    suffix = suffix_for(Reading.of(dataset), suffix)
    names = _names(dataset, suffix)
    for i in progress(range(len(dataset))):
        path = os.path.join(folder, names[i])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with replacing(path, sync=False) as new:  # to wait for the disk takes longer than the rest
            write_pixels(dataset.load_image(i), new, suffix)
    dataset.open_sources.close()
    content: Any = dataset.annotations
    entries = zip(content["images"], names, strict=True)
    return {**content, "images": [{**entry, "file_name": name} for entry, name in entries]}


def suffix_for(reading: Reading, suffix: str) -> str:
    """Returns the suffix of files that can hold images that are read in this way.

    Args:
        reading: `data.bands.Reading` of the images.
        suffix: one of `FORMATS`, which is wanted.
    """
    channels, dtype = reading.channels, reading.image_dtype
    if FORMATS[suffix]["format"] == "JPEG" and channels in (1, 3) and dtype == "uint8":
        return suffix
    return "png" if png.fits(channels, dtype) else "npy"


def write_pixels(pixels: np.ndarray, path: Path, suffix: str) -> None:
    """Writes an image file.

    Args:
        pixels: (H, W, C).
        path: the file.
        suffix: the result of `suffix_for`.
    """
    if suffix == "npy" or pixels.dtype == np.uint16:
        with open(path, "wb") as file:
            if suffix == "npy":
                np.save(file, pixels)
            else:
                file.write(png.encode(pixels, FORMATS[suffix]["compress_level"]))
        return
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        path, **FORMATS[suffix]
    )


def _names(dataset, suffix):
    """Returns the file name of each tile."""
    stems = {source: os.path.splitext(source)[0] for source in dataset.sources}
    shared = collections.Counter(stem.lower() for stem in stems.values())
    corners = zip(dataset.sources, dataset.windows[:, :2].tolist(), strict=True)
    return [
        f"{source if shared[stems[source].lower()] > 1 else stems[source]}_{top}_{left}.{suffix}"
        for source, (top, left) in corners
    ]
