"""Writes a data set as image files with a COCO json."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.tile_writing import suffix_for, write_pixels
from keras_maskrcnn.files import replacing
from keras_maskrcnn.typing import Path


def write_coco(
    dataset: CocoDataset,
    folder: Path,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> None:
    """Writes `folder/images/000000.png`, ... and `folder/annotations.json`, without loss.

    The commands, other tools and the TFDS builder `coco_instances` read such a folder. What the
    data set dropped is not written; see `CocoDataset.content`.

    Args:
        dataset: `CocoDataset`, such as `from_instances` returns.
        folder: the folder to write into. Files of the same names are replaced.
        progress: function that takes a list of indices and yields them, for instance to show a
            progress bar.

    Raises:
        DataError: if an image cannot be read.
    """
    suffix, images = suffix_for(Reading.of(dataset), "png"), os.path.join(folder, "images")
    os.makedirs(images, exist_ok=True)
    names = {}
    for i in progress(range(len(dataset))):
        names[dataset.image_ids[i]] = name = f"{i:06d}.{suffix}"
        with replacing(os.path.join(images, name), sync=False) as new:
            write_pixels(dataset.load_image(i), new, suffix)
    content = dataset.content()
    entries = [{**image, "file_name": names[image["id"]]} for image in content["images"]]
    with replacing(os.path.join(folder, "annotations.json")) as new, open(new, "w") as file:
        json.dump({**content, "images": entries}, file)
