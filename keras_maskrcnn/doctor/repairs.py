"""Makes a copy of a COCO json in which problems are repaired if possible."""

import collections
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.coco import with_orientation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.doctor.coco_form import to_coco_form
from keras_maskrcnn.doctor.examination import reexamine
from keras_maskrcnn.doctor.findings import WARNING, Examination, printable
from keras_maskrcnn.doctor.lenient_reading import DROPPED_REASONS, image_of_annotation
from keras_maskrcnn.doctor.likely_mistakes import ROUNDING
from keras_maskrcnn.doctor.mask_agreement import disagree, is_area, mask_extents, xywh
from keras_maskrcnn.ops import rle


def repair(found: Examination) -> tuple[dict[str, Any], list[str]]:
    """Makes a repaired copy of the json. It reads without errors, and reading drops only crowds.

    First, values in an unusual form are converted to COCO's form if they can mean one thing only
    (`coco_form`). Images that cannot be used are removed with their annotations. An annotation
    without a usable mask is removed. Otherwise its box, area and id are corrected, and polygons of
    too few points are removed. If training needs only boxes, annotations are removed if they have
    neither a usable box nor a usable mask.

    Args:
        found: `Examination`.

    Returns:
        content: dict. The content of a COCO json.
        actions: list of str, one line per change.

    Raises:
        DataError: if no image, no category or no instance is left.
    """
    content, in_form = to_coco_form(found)
    if in_form:
        found = reexamine(found, content)
    categories, without_categories = _usable_categories(found)
    images, without_images = _usable_images(found)
    if not images or not categories:
        raise DataError(
            f"{found.annotations}: too little can be used for a repaired copy."
            f" Received: {len(images)} images, {len(categories)} categories."
        )
    annotations, repaired = _repair_annotations(found)
    if all(annotation.get("iscrowd") for annotation in annotations):
        dropped = collections.Counter(
            DROPPED_REASONS.get(problem.kind, problem.kind)
            for problem in found.problems
            if problem.annotation is not None and problem.severity != WARNING
        )
        error = coco_checks.no_instances(found.annotations, dropped, found.masks)
        raise DataError(f"too little can be used for a repaired copy: {error}")
    actions = [f"{key}: now a list of objects only" for key in found.cut]
    actions += in_form + without_categories + without_images + repaired
    content = {"images": images, "annotations": annotations, "categories": categories}
    content = with_orientation({**found.content, **content}, found.reading.orientation)
    return content, [printable(action) for action in actions]


def _usable_categories(found):
    """Returns the categories that can be used, and a line for each one that is removed."""
    categories, actions = [], []
    names: dict[int, str] = {}
    for category in found.content["categories"]:
        try:
            coco_checks.read_category(category, names, found.annotations)
            categories.append(category)
        except DataError:
            actions.append(f"category {category.get('id')!r}: removed")
    return categories, actions


def _usable_images(found):
    """Returns the images that can be used, and a line for each one that is removed."""
    images, bad, actions = [], found.bad_images(), []
    annotations = found.content["annotations"]
    counts = collections.Counter(image_of_annotation(a, found.image_of) for a in annotations)
    for i, image in enumerate(found.content["images"]):
        if i in bad:
            actions.append(f"image {image.get('id')!r}: removed, with {counts[i]} annotations")
        else:
            images.append(image)
    return images, actions


def _repair_annotations(found):
    """Returns the repaired annotations of usable images, and a line for each change."""
    bad, annotations, actions = found.bad_images(), [], []
    seen: set[int | str] = set()
    usable = {identity: i for identity, i in found.image_of.items() if i not in bad}
    ids = [annotation.get("id") for annotation in found.content["annotations"]]
    next_id = max((i for i in ids if type(i) is int), default=0) + 1
    for annotation in found.content["annotations"]:
        if image_of_annotation(annotation, found.image_of) in bad:
            continue
        repaired, done = _repair_annotation(found, annotation, usable)
        if repaired is not None:
            try:
                coco_checks.check_identity(repaired, seen, found.annotations, "annotation")
            except DataError:
                repaired["id"], next_id = next_id, next_id + 1
                done.append(f"id is now {repaired['id']}")
            seen.add(repaired["id"])
            annotations.append(repaired)
        actions += [f"annotation {annotation.get('id')!r}: {action}" for action in done]
    return annotations, actions


def _repair_annotation(found, annotation, image_of):
    """Returns a repaired copy, or None if the annotation is removed, and a list of changes."""
    repaired, done = dict(annotation), []
    if repaired.get("bbox") is None:
        repaired["bbox"] = [0, 0, 0, 0]  # the mask's extent replaces it below
    if any(coco_checks.reference_errors(repaired, "", image_of, found.label_of, found.masks)):
        return None, ["removed"]
    height, width = size = found.sizes[image_of[repaired["image_id"]]]
    counts, short = None, 0
    try:
        if repaired.get("segmentation") is not None:
            counts, short = coco_checks.read_segmentation(
                repaired["segmentation"], height, width, ""
            )
    except DataError:
        if not found.masks:
            repaired["segmentation"] = []
            done.append("segmentation removed, because it cannot be read")
    mask = {"size": size, "counts": counts}
    covered = 0 if counts is None else int(mask_api.area(mask))
    extent = mask_extents([mask]) if covered else np.zeros([1, 4])
    if repaired.get("iscrowd"):
        if annotation.get("bbox") is None:
            if not covered:
                return None, ["removed, because it has no usable mask"]
            repaired["bbox"] = xywh(extent[0])
            done.append("bbox is now the mask's extent")
        return repaired, done
    if found.masks and not covered:
        return None, ["removed, because it has no usable mask"]
    if short:
        repaired["segmentation"] = coco_checks.long_polygons(repaired["segmentation"])
        done.append(f"{short} polygons of fewer than 3 points removed")
    try:
        box = np.array([coco_checks.read_box(repaired["bbox"], height, width, "")], np.float64)
    except DataError:
        box = np.zeros([1, 4])
    fits = (box[0, 2:] - box[0, :2]).min() >= coco_checks.MIN_BOX_SIDE
    if fits and found.masks and counts is not None:
        fits = not disagree(box, extent)[0] and rle.touches(counts, box[0], height, width)
    if not fits and not covered:
        return None, ["removed, because it has no usable box"]
    if not fits:
        repaired["bbox"] = xywh(extent[0])
        done.append("bbox is now the mask's extent")
    else:
        x, y, width, height = repaired["bbox"]
        if np.abs(box[0] - [x, y, x + width, y + height]).max() > ROUNDING:
            repaired["bbox"] = xywh(box[0])
            done.append("bbox is now clipped to the image")
    covered = covered or repaired["bbox"][2] * repaired["bbox"][3]
    if repaired.get("area") is not None and not is_area(repaired["area"], covered):
        repaired["area"] = covered
        done.append(f"area is now that of the {'mask' if found.masks else 'mask or box'}")
    return repaired, done
