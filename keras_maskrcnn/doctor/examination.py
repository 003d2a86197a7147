"""Examines a COCO json and its images. Unlike `coco_json`, it goes on after the first error."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import (
    MAX_PIXELS_IN_TILES,
    CocoDataset,
    orientation_of_json,
    source_of,
)
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import MAX_PIXELS
from keras_maskrcnn.doctor import lenient_reading, likely_mistakes, pixel_ranges, statistics
from keras_maskrcnn.doctor.findings import ERROR, SEVERITIES, Examination
from keras_maskrcnn.typing import Crowds, Orientation, Path

# Errors in an image's entry. All other errors of images are about the file.
_OF_ENTRIES = {
    "image without id",
    "duplicate image id",
    "broken file name",
    "path outside the folder",
    "broken image size",
}


def examine(
    images: Path | CocoDataset,
    annotations: Path | None = None,
    *,
    max_instances: int | None = None,
    anchors: Mapping[str, Any] | None = None,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
    masks: bool | None = True,
    crowds: Crowds = "drop",
    tiles: Mapping[str, Any] | None = None,
    channels: int = 3,
    image_dtype: str = "uint8",
    pixel_max: float | None = None,
    orientation: Orientation | None = None,
    sample: int | None = None,
) -> tuple[Examination, dict[str, Any]]:
    """Examines a COCO json, and decodes its images.

    Memory depends on the size of the json and not on the number of pixels: decoded images are not
    kept.

    Args:
        images: folder that `file_name` is relative to; or a data set, such as `data.from_instances`
            makes. Then `annotations`, `channels`, `image_dtype` and `pixel_max` are those of the
            data set, and masks=True means as many as it has.
        annotations: json file.
        max_instances: int. Slots for the instances of an image in a batch; None: as many as needed.
        anchors: dict of the keyword arguments of `anchor_overlaps`, or None to skip that table.
        progress: function that takes a list of images and yields them, for instance to show a
            progress bar.
        masks, crowds: as in `coco_dict`: whether training needs masks, and how to read crowds. With
            masks=None, boxes are enough if no annotation has an outline; a warning says so.
        tiles: dict of `tile`, `overlap` and other arguments of `cut_into_tiles`, for big images
            that training reads in tiles. Then images may be of any size, and only their headers are
            read. None for whole images.
        channels, image_dtype, pixel_max, orientation: how images are read, as in `coco_dict`.
            Unless they are 8-bit RGB, the values of their bands are measured too.
        sample: int. Number of images to decode, for large data sets. They are chosen at random, and
            each call chooses the same ones. Of the others only the header is read, which tells the
            size. None decodes all images.

    Returns:
        The `Examination`, and a report of it as a dict that can be written as json.
    """
    if max_instances is not None and max_instances < 1:
        raise ValueError(f"max_instances must be positive. Received: {max_instances=}.")
    if sample is not None and sample < 1:
        raise ValueError(f"sample must be positive. Received: {sample=}.")
    reading = Reading(channels, image_dtype, pixel_max)
    load_image, content = None, None
    if isinstance(images, CocoDataset):
        dataset, masks, reading = images, masks and images.has_masks, Reading.of(images)
        images, annotations, content = dataset.images, source_of(dataset), dataset.annotations
        orientation = reading.orientation
        if isinstance(content, dict):
            load_image = _loader(dataset)
        else:
            content = None
    if annotations is None:
        raise TypeError("examine needs a json file, or a data set. Received: annotations=None.")
    source, folder = os.fspath(annotations), os.fspath(images)
    content, cut, problems = lenient_reading.read_content(source, crowds, content)
    orientation = orientation_of_json(content) if orientation is None else orientation
    reading = dataclasses.replace(reading, orientation=orientation)
    alone = (masks is None or load_image is not None) and not lenient_reading.has_outlines(content)
    masks = not alone if masks is None else masks
    found = _read_lists(folder, source, content, cut, masks, crowds, problems, tiles is not None)
    found = dataclasses.replace(found, reading=reading, load_image=load_image)
    of_images, measured, decoded = lenient_reading.decode_images(found, progress, sample)
    pixels = pixel_ranges.summarize(reading, list(measured.values()))
    problems = [likely_mistakes.boxes_alone(source)] if alone else []
    problems += found.problems + of_images
    problems += pixel_ranges.warnings(found, pixels, measured, of_images)
    problems += lenient_reading.no_instances(found, problems)

    counts = np.bincount(found.image_index, minlength=len(found.sizes))
    classes = statistics.count_classes(found)
    sizes = statistics.measure_sizes(found, anchors, tiles)
    problems += likely_mistakes.boxes_outside(found)
    if masks:
        problems += likely_mistakes.boxes_unlike_masks(found)
        problems += likely_mistakes.areas_unlike_masks(found)
        problems += likely_mistakes.repeated_instances(found)
    problems += likely_mistakes.images_without_instances(found, counts)
    problems += likely_mistakes.images_over_slots(found, counts, max_instances)
    problems += likely_mistakes.rare_classes(found, classes)
    problems += likely_mistakes.unfit_anchors(found, sizes)
    problems.sort(key=lambda p: (SEVERITIES.index(p.severity), p.kind))  # stable
    report = {
        "images": found.images,
        "annotations": found.annotations,
        "counts": {key: len(content[key]) for key in ("images", "annotations", "categories")},
        "decoded_images": decoded,
        "instances_per_image": statistics.summarize_counts(counts, max_instances),
        "classes": classes,
        "sizes": sizes,
        "tiles": statistics.count_tiles(found, problems, tiles),
        "pixels": pixels,
        **statistics.count_problems(problems, content),
    }
    return dataclasses.replace(found, problems=problems), report


def reexamine(found: Examination, content: dict[str, Any]) -> Examination:
    """Examines another content about the same images, without decoding the image files again.

    Args:
        found: `Examination`.
        content: dict, like `found.content`, with images in the same order.
    """
    of_files = [
        problem
        for problem in found.problems
        if problem.image is not None
        and problem.annotation is None
        and problem.severity == ERROR
        and problem.kind not in _OF_ENTRIES
    ]
    again = _read_lists(
        found.images,
        found.annotations,
        content,
        found.cut,
        found.masks,
        found.crowds,
        [],
        found.in_tiles,
    )
    problems = again.problems + of_files
    same = {"reading": found.reading, "load_image": found.load_image}
    return dataclasses.replace(again, problems=problems, **same)


def _loader(dataset):
    """Returns a function of an index in a data set's content that reads the image."""
    places = {identity: i for i, identity in enumerate(dataset.image_ids)}
    ids = [image["id"] for image in dataset.annotations["images"]]

    def load(index):
        if ids[index] not in places:
            raise DataError(f"image {ids[index]!r}: the data set was made without this image.")
        return dataset.load_image(places[ids[index]])

    return load


def _read_lists(folder, source, content, cut, masks, crowds, problems, in_tiles):
    """Reads the three lists of a json, and adds their problems to those of the json as a whole."""
    categories, entries = content["categories"], content["images"]
    # If the json itself cannot be read, missing categories are no further error.
    names, of_categories = lenient_reading.read_categories(categories, source, needed=not problems)
    label_of = {identity: label for label, identity in enumerate(names, start=1)}
    file_names, sizes, image_of, of_images = lenient_reading.read_images(
        entries, source, folder, MAX_PIXELS_IN_TILES if in_tiles else MAX_PIXELS
    )
    instances, of_annotations = lenient_reading.read_annotations(
        content, source, image_of, sizes, label_of, masks
    )
    return Examination(
        images=folder,
        annotations=source,
        masks=masks,
        crowds=crowds,
        in_tiles=in_tiles,
        content=content,
        cut=cut,
        problems=[*problems, *of_categories, *of_images, *of_annotations],
        file_names=file_names,
        sizes=sizes,
        image_of=image_of,
        label_of=label_of,
        class_names=list(names.values()),
        **instances,
    )
