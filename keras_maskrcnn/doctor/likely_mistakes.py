"""Finds probable mistakes that are no errors.

Each function returns the warnings of one kind.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from keras_maskrcnn.doctor.findings import WARNING, Examination, Problem
from keras_maskrcnn.doctor.mask_agreement import disagree, is_area, mask_extents, xywh

ROUNDING = 1.0  # pixels by which a box may leave its image, because tools round, or count from 1
SAME_INSTANCE_IOU = 0.95  # of boxes and of masks; annotators do not draw that exactly twice
NEIGHBORS = 500  # limit of other instances that an instance is compared with
RARE_CLASS = 10  # instances; with fewer, a class can hardly be learned or scored
BOXES_ALONE = "boxes without masks"
# Share of instances that should have an anchor with an IoU of at least 0.5. It need not be all,
# because every instance trains its best anchor, even a bad one.
GOOD_ANCHOR_RECALL = 0.5


def boxes_alone(source: str) -> Problem:
    """Returns the warning about a data set of which no annotation has a mask."""
    line = "no annotation has a mask, so only a Faster R-CNN can train on it"
    line = f"{source}: {line} (--preset=faster_rcnn_..., task='boxes', masks=False)."
    return Problem(BOXES_ALONE, WARNING, line)


def boxes_outside(found: Examination) -> list[Problem]:
    """Warns of boxes that reach beyond their image."""
    annotations, problems = found.content["annotations"], []
    boxes = np.array([annotations[i]["bbox"] for i in found.entries], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    for i in np.flatnonzero(np.abs(boxes - found.boxes).max(axis=1, initial=0) > ROUNDING):
        height, width = found.sizes[found.image_index[i]]
        text = f"bbox reaches beyond the image, width={width}, height={height}."
        text += f" Received: bbox={annotations[found.entries[i]]['bbox']}."
        problems.append(_warning(found, "box outside the image", i, text))
    return problems


def boxes_unlike_masks(found: Examination) -> list[Problem]:
    """Warns of boxes that are not the extent of their mask."""
    problems = []
    for first, masks in _masks_by_image(found):
        extents = mask_extents(masks)
        for i in np.flatnonzero(disagree(found.boxes[first : first + len(masks)], extents)):
            annotation = found.content["annotations"][found.entries[first + i]]
            text = "bbox is not the extent of the mask, [x, y, width, height] ="
            text += f" {xywh(extents[i])}. Received: bbox={annotation['bbox']}."
            problems.append(_warning(found, "box and mask disagree", first + i, text))
    return problems


def areas_unlike_masks(found: Examination) -> list[Problem]:
    """Warns of areas that are not the area of their mask."""
    problems = []
    for first, masks in _masks_by_image(found):
        for i, mask in enumerate(masks, start=first):
            area = found.content["annotations"][found.entries[i]].get("area")
            covered = int(mask_api.area(mask))
            if area is not None and not is_area(area, covered):
                text = f"area is not the area of the mask, {covered}. Received: area={area!r}."
                problems.append(_warning(found, "area and mask disagree", i, text))
    return problems


def repeated_instances(found: Examination) -> list[Problem]:
    """Warns of instances that occur twice."""
    problems = []
    for first, masks in _masks_by_image(found):
        of_image = slice(first, first + len(masks))
        for i, j in _repeated(found.boxes[of_image], found.labels[of_image], masks):
            other = found.content["annotations"][found.entries[first + i]].get("id")
            text = f"annotation {other!r} is the same instance: class, box and mask agree."
            problems.append(_warning(found, "same instance twice", first + j, text))
    return problems


def images_without_instances(found: Examination, counts: np.ndarray) -> list[Problem]:
    """Warns of images without instances; `counts` has the number of instances of each image."""
    problems = []
    for i in np.flatnonzero(counts == 0).tolist():
        line = f"image {found.content['images'][i].get('id')!r} has no instances to train on."
        line = f"{found.annotations}: {line}"
        problems.append(Problem("image without instances", WARNING, line, i))
    return problems


def images_over_slots(found: Examination, counts: np.ndarray, slots: int | None) -> list[Problem]:
    """Warns of images with more instances than `slots`; None means no limit."""
    problems = []
    for i in np.flatnonzero(counts > (slots or np.inf)).tolist():
        line = f"image {found.content['images'][i]['id']!r} has {counts[i]} instances for {slots}"
        line = f"{found.annotations}: {line} slots. Received: max_instances={slots}."
        problems.append(Problem("more instances than slots", WARNING, line, i))
    return problems


def rare_classes(found: Examination, classes: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Warns of classes with few instances; `classes` is the report's table."""
    problems = []
    for row in classes:
        if row["instances"] < RARE_CLASS:
            kind = "rare class" if row["instances"] else "category without instances"
            line = f"category {row['id']} ({row['name']!r}) has {row['instances']} instances."
            problems.append(Problem(kind, WARNING, f"{found.annotations}: {line}"))
    return problems


def unfit_anchors(found: Examination, sizes: Mapping[str, Any] | None) -> list[Problem]:
    """Warns if few instances have a good anchor; `sizes` is the report's table, or None."""
    if sizes is None or sizes["all"]["recall_0.5"] >= GOOD_ANCHOR_RECALL:
        return []
    line = f"{found.annotations}: only {sizes['all']['recall_0.5']:.0%} of the instances have an"
    line += " anchor with IoU >= 0.5. Other anchor sizes, or another image size, may fit better."
    return [Problem("anchors do not fit", WARNING, line)]


def _warning(found, kind, instance, text):
    """Makes a warning about an instance; `instance` is an index of `found.entries`."""
    entry = int(found.entries[instance])
    where = f"{found.annotations}: annotation {found.content['annotations'][entry].get('id')!r}"
    return Problem(kind, WARNING, f"{where}: {text}", int(found.image_index[instance]), entry)


def _masks_by_image(found):
    """Yields the index of the first instance and the masks of all, per image with instances."""
    images, starts = np.unique(found.image_index, return_index=True)
    ends = np.append(starts, len(found.entries))[1:]
    for image, first, end in zip(images, starts, ends, strict=True):
        yield first, [{"size": found.sizes[image], "counts": c} for c in found.counts[first:end]]


def _repeated(boxes, labels, masks):
    """Yields pairs i < j of nearly equal instances, at most one pair per j.

    Nearly equal boxes begin at nearly the same x. So each box is compared with the boxes after it
    in the order of x, as long as their x is near enough. The cost is limited: at most `NEIGHBORS`
    boxes and 3 masks are compared per box.
    """
    order = np.lexsort([boxes[:, 1], boxes[:, 0], labels])
    boxes, labels = boxes[order], labels[order]
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides.prod(axis=1)
    reach = boxes[:, 0] + sides[:, 0] * (1 / SAME_INSTANCE_IOU - 1)  # largest x of a similar box
    active, left = np.arange(len(boxes)), np.full(len(boxes), 3)  # comparisons of masks
    for distance in range(1, NEIGHBORS + 1):
        active = active[active + distance < len(boxes)]
        near = labels[active] == labels[active + distance]
        active = active[near & (boxes[active + distance, 0] <= reach[active])]
        if not len(active):
            return
        these = active[left[np.maximum(order[active], order[active + distance])] > 0]
        others = these + distance
        low = np.maximum(boxes[these, :2], boxes[others, :2])
        high = np.minimum(boxes[these, 2:], boxes[others, 2:])
        inside = np.maximum(high - low, 0).prod(axis=1)
        alike = inside >= SAME_INSTANCE_IOU * (areas[these] + areas[others] - inside)
        for pair in zip(order[these[alike]].tolist(), order[others[alike]].tolist(), strict=True):
            i, j = sorted(pair)
            if not left[j]:
                continue
            left[j] -= 1
            if mask_api.iou([masks[i]], [masks[j]], [0])[0, 0] >= SAME_INSTANCE_IOU:
                left[j] = 0
                yield i, j
