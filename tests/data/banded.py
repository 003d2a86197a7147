"""Writes small data sets whose images have any number of bands and any dtype."""

import json

import imagecodecs
import numpy as np
import tifffile

WHITES = {"uint8": 255, "uint16": 4095, "float32": 2.0}
SIZES = [(20, 30), (24, 18), (16, 32)]


def write_set(folder, channels, dtype, suffix):
    """Writes three images with two rectangles each, and folder/a.json.

    Args:
        folder: pathlib.Path, which exists.
        channels: int.
        dtype: str. Values are in 0..WHITES[dtype].
        suffix: ".npy", ".tif" or ".png".

    Returns:
        list of (H, W, channels) arrays.
    """
    rng, pixels, images, annotations = np.random.default_rng(channels), [], [], []
    for i, (height, width) in enumerate(SIZES):
        image = rng.random((height, width, channels)) * WHITES[dtype]
        image = image.astype(dtype)
        name = f"{i}{suffix}"
        squeezed = image[..., 0] if channels == 1 else image
        if suffix == ".npy":
            np.save(folder / name, squeezed)
        elif suffix == ".png":
            (folder / name).write_bytes(imagecodecs.png_encode(squeezed))
        else:
            planar = {"planarconfig": "contig"} if channels > 1 else {}
            tifffile.imwrite(folder / name, squeezed, photometric="minisblack", **planar)
        pixels.append(image)
        images.append({"id": i + 1, "file_name": name, "height": height, "width": width})
        for x in (2, 9):
            outline = [x, 3, x + 6, 3, x + 6, 12, x, 12]
            entry = {"id": len(annotations) + 1, "image_id": i + 1, "category_id": 4}
            annotations.append({**entry, "bbox": [x, 3, 6, 9], "segmentation": [outline]})
    categories = [{"id": 4, "name": "field"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "a.json").write_text(json.dumps(content))
    return pixels


def reading(channels, dtype):
    """Returns the keyword arguments of readers for these sets, as `config.reading()` does."""
    return {"channels": channels, "image_dtype": dtype, "pixel_max": WHITES[dtype]}
