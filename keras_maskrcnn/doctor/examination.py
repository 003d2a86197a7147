"""Finds all that is wrong with a COCO json and its images.

`coco_json` stops at the first error; this goes on. Both call the same checks, those of
data/coco_checks.py and data/images.py, so that there is an error here if and only if reading would
raise there.
"""

import collections
import concurrent.futures
import dataclasses
import os
import reprlib

import numpy as np
from pycocotools import mask as mask_api

from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.coco import with_crowds
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import (
    read_with_remarks,
    remark_line,
    require_size,
)
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.doctor.anchors import anchor_overlaps
from keras_maskrcnn.doctor.fit import disagree, is_area, mask_extents, xywh

ERROR, DROPPED, WARNING = SEVERITIES = ("error", "dropped", "warning")

DROPPED_KINDS = {
    coco_checks.CROWD: "crowd",
    coco_checks.NO_AREA: "box without area",
    coco_checks.NO_POLYGON: "no polygon",
    coco_checks.NO_MASK: "no mask in the box",
    coco_checks.FEW_POINTS: "polygon of few points",
}
DROPPED_REASONS = {kind: reason for reason, kind in DROPPED_KINDS.items()}
ROUNDING = 1.0  # pixels that a box may stick out of its image: tools round, or count from 1
SAME_INSTANCE_IOU = 0.95  # of boxes and of masks; annotators don't repeat themselves that exactly
NEIGHBORS = 500  # of an instance, that it is compared to
RARE_CLASS = 10  # instances; with less, a class is hardly learned or scored
# Share of instances with an anchor of IoU 0.5. Every instance trains its best anchor, however bad,
# so less than all will do.
GOOD_ANCHOR_RECALL = 0.5
# Errors of an image's entry; all others are of its file.
_OF_ENTRIES = {
    "image without id",
    "duplicate image id",
    "broken file name",
    "path outside the folder",
    "broken image size",
}
SIZE_BINS = (0, 8, 16, 32, 64, 128, 256, 512)  # pixels, the lower ends


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong, in one line.

    Attributes:
        kind: str. By which like problems are counted.
        severity: "error", training would fail; "dropped", `coco_json` leaves it out; "warning".
        line: str.
        image, annotation: int, index in the json's list; None if it is about none.
    """

    kind: str
    severity: str
    line: str
    image: int | None = None
    annotation: int | None = None


@dataclasses.dataclass(eq=False)
class Examination:
    """What `examine` found.

    Attributes:
        images, annotations: str. The folder and the json file.
        content: dict. The json's content, of its three lists only the objects.
        cut: names of the lists that hold something else, or are none.
        problems: list of Problem, by severity, then by kind, then in the json's order.
        file_names: of each image of the json, its path on this system, or what is there instead.
        sizes: (height, width) of each image of the json, None where that is no size.
        image_of, label_of: dict of image id to index, and of category id to label.
        class_names: list of str, label 1 first.
        entries: (N,) int. Index in the json of each annotation that training would use.
        image_index: (N,) int. The image of each.
        boxes: (N, 4) float64 [x1, y1, x2, y2] in pixels of the image, clipped to it.
        labels: (N,) int.
        counts: N bytes. COCO's compressed run lengths; None each without `masks`.
        masks, crowds: as of `examine`.
    """

    images: str
    annotations: str
    masks: bool = True
    crowds: str = "drop"
    content: dict = dataclasses.field(default_factory=dict)
    cut: list = dataclasses.field(default_factory=list)
    problems: list = dataclasses.field(default_factory=list)
    file_names: list = dataclasses.field(default_factory=list)
    sizes: list = dataclasses.field(default_factory=list)
    image_of: dict = dataclasses.field(default_factory=dict)
    label_of: dict = dataclasses.field(default_factory=dict)
    class_names: list = dataclasses.field(default_factory=list)
    entries: np.ndarray | None = None
    image_index: np.ndarray | None = None
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    counts: list = dataclasses.field(default_factory=list)

    def add(self, kind, severity, line, image=None, annotation=None):
        """Notes a problem; its line becomes printable, whatever the json's strings hold."""
        self.problems.append(Problem(kind, severity, printable(line), image, annotation))

    def add_error(self, error, image=None, annotation=None):
        """Notes a `DataError`."""
        self.add(error.kind, ERROR, str(error), image, annotation)

    def bad_images(self) -> set[int]:
        """Indices of the images that themselves, or whose files, cannot be used."""
        errors = (p for p in self.problems if p.severity == ERROR and p.annotation is None)
        return {problem.image for problem in errors}


def printable(text, length=400):
    """Returns one line of at most `length` characters, without what controls a terminal."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: length + 1])
    return text if len(text) <= length else text[: length - 3] + "..."


def examine(
    images,
    annotations,
    *,
    max_instances=None,
    anchors=None,
    progress=iter,
    masks=True,
    crowds="drop",
):
    """Examines a COCO json and decodes all of its images.

    Memory grows with the json and not with the pixels: an image is let go once it is decoded.

    Args:
        images: folder that `file_name` is relative to.
        annotations: json file.
        max_instances: int. Slots for the instances of an image in a batch; None: as many as needed.
        anchors: dict of the keyword arguments of `anchor_overlaps`, or None for no such table.
        progress: function of a list of images that yields them, for instance with a progress bar.
        masks, crowds: as of `coco_dict`: whether training needs masks, and what crowds are.

    Returns:
        The `Examination`, and a report of it: a dict that json can write.
    """
    if max_instances is not None and max_instances < 1:
        raise ValueError(f"max_instances must be positive. Received: {max_instances=}.")
    found = Examination(os.fspath(images), os.fspath(annotations), masks, crowds)
    content = {"images": [], "annotations": [], "categories": []}
    try:
        content = read_json(found.annotations)
    except DataError as error:
        found.add_error(error)
    else:
        for error in coco_checks.list_errors(content, found.annotations):
            found.add_error(error)
    found.content = dict(content) if isinstance(content, dict) else {}
    for key in ("images", "annotations", "categories"):
        entries = found.content.get(key)
        listed = entries if isinstance(entries, list) else []
        found.content[key] = [entry for entry in listed if isinstance(entry, dict)]
        if len(found.content[key]) < len(listed) or listed is not entries:
            found.cut.append(key)
    found.content = with_crowds(found.content, crowds)
    _examine_categories(found)
    _examine_images(found)
    _decode_images(found, progress)
    _examine_annotations(found)
    _require_instances(found)
    _compare_boxes(found)
    if masks:
        _compare_masks(found)
    report = {
        "images": found.images,
        "annotations": found.annotations,
        "counts": {key: len(found.content[key]) for key in ("images", "annotations", "categories")},
        "instances_per_image": _count_instances(found, max_instances),
        "classes": _count_classes(found),
        "sizes": _measure_sizes(found, anchors),
    }
    found.problems.sort(key=lambda p: (SEVERITIES.index(p.severity), p.kind))  # stable
    return found, {**report, **_report_problems(found)}


def reexamine(found, content):
    """Examines another content about the same images, whose files are not decoded again.

    Args:
        found: `Examination`.
        content: dict, as its `content`, with images in the same order.
    """
    again = dataclasses.replace(
        found, content=content, problems=[], file_names=[], sizes=[], image_of={}
    )
    _examine_categories(again)
    _examine_images(again)
    again.problems += [
        problem
        for problem in found.problems
        if problem.image is not None
        and problem.annotation is None
        and problem.severity == ERROR
        and problem.kind not in _OF_ENTRIES
    ]
    _examine_annotations(again)
    return again


def _examine_categories(found):
    names = {}
    for category in found.content["categories"]:
        try:
            coco_checks.read_category(category, names, found.annotations)
        except DataError as error:
            found.add_error(error)
    ids = ()
    if found.content["categories"] or not found.problems:  # else the json itself is the error
        try:
            ids = coco_checks.order_categories(names, None, found.annotations)
        except DataError as error:
            found.add_error(error)
    found.label_of = {identity: i + 1 for i, identity in enumerate(ids)}
    found.class_names = [names[identity] for identity in ids]
    first = {}
    for identity in ids:
        other = first.setdefault(names[identity], identity)
        if other != identity:
            line = f"categories {other} and {identity} are both named {names[identity]!r}."
            found.add("two categories of one name", WARNING, f"{found.annotations}: {line}")


def _examine_images(found):
    first = {}
    for i, image in enumerate(found.content["images"]):
        where = f"{found.annotations}: image {image.get('id')!r}"
        try:
            identity = coco_checks.check_identity(image, found.image_of, found.annotations, "image")
            found.image_of[identity] = i
        except DataError as error:
            found.add_error(error, image=i)
        image = coco_checks.with_local_path(image, found.images)
        found.file_names.append(image.get("file_name"))
        errors = list(coco_checks.image_errors(image, where))
        for error in errors:
            found.add_error(error, image=i)
        has_size = all(error.kind != "broken image size" for error in errors)
        found.sizes.append((image["height"], image["width"]) if has_size else None)
        if isinstance(image.get("file_name"), str):
            other = first.setdefault(os.path.normpath(image["file_name"]), i)
            if other != i:
                line = f"{where}: image {found.content['images'][other].get('id')!r} has this file."
                line += f" Received: file_name={image['file_name']!r}."
                found.add("two images of one file", WARNING, line, image=i)


def _decode_images(found, progress):
    """Reads every image whose file name can be used."""

    def check(i):
        path, size = os.path.join(found.images, names[i]), found.sizes[i]
        try:
            image, remarks = read_with_remarks(path, sides_tell=size is not None)
            if size is not None:
                require_size(path, image.shape[:2], size)
        except DataError as error:
            return error, []
        return None, remarks

    kinds = ("broken file name", "path outside the folder")
    unnamed = {problem.image for problem in found.problems if problem.kind in kinds}
    indices = [i for i in range(len(found.sizes)) if i not in unnamed]
    names = found.file_names
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, (error, remarks) in zip(progress(indices), pool.map(check, indices), strict=True):
            if error is not None:
                found.add_error(error, image=i)
            for remark in remarks:
                line = f"{found.annotations}: {remark_line(remark, [names[i]])}"
                found.add(remark, WARNING, line, image=i)


def _examine_annotations(found):
    """Reads every annotation as `coco_json` does."""
    seen, instances, unchecked = set(), [], {}
    for i, annotation in enumerate(found.content["annotations"]):
        where = f"{found.annotations}: annotation {annotation.get('id')!r}"
        image = image_of_annotation(found, annotation)
        try:
            seen.add(coco_checks.check_identity(annotation, seen, found.annotations, "annotation"))
        except DataError as error:
            found.add_error(error, image, i)
        if image is not None and found.sizes[image] is None:
            unchecked[image] = unchecked.get(image, 0) + 1
        else:
            try:
                instance, reasons = coco_checks.read_annotation(
                    annotation, where, found.image_of, found.sizes, found.label_of, found.masks
                )
                if instance is not None:
                    instances.append((i, *instance))
                for reason in reasons:
                    line = f"{where}: left out: {reason}."
                    found.add(DROPPED_KINDS[reason], DROPPED, line, image, i)
                continue
            except DataError:
                pass
        for error in _annotation_errors(found, annotation, where, image):
            found.add_error(error, image, i)
    for image, count in unchecked.items():
        identity = found.content["images"][image]["id"]
        line = f"image {identity!r}: without its size {count} annotations are not checked."
        found.add("annotation not checked", WARNING, f"{found.annotations}: {line}", image)
    instances.sort(key=lambda instance: instance[1])  # stable: by image, then in the json's order
    found.entries, found.image_index, found.labels = (
        np.array([instance[k] for instance in instances], int) for k in (0, 1, 3)
    )
    found.boxes = np.array([instance[2] for instance in instances], float).reshape(-1, 4)
    found.counts = [instance[4] for instance in instances]


def _require_instances(found):
    """Notes an error if there is nothing to train on, and if not because of other errors."""
    if len(found.entries) or any(problem.severity == ERROR for problem in found.problems):
        return
    dropped = collections.Counter(
        DROPPED_REASONS[problem.kind] for problem in found.problems if problem.severity == DROPPED
    )
    found.add_error(coco_checks.no_instances(found.annotations, dropped, found.masks))


def image_of_annotation(found, annotation):
    """Returns the index of an annotation's image, None if there is no such image."""
    identity = annotation.get("image_id")
    return None if isinstance(identity, list | dict) else found.image_of.get(identity)


def _annotation_errors(found, annotation, where, image):
    """All errors of an annotation, where `coco_checks.read_annotation` raises the first of them."""
    known = found.image_of, found.label_of
    errors = list(coco_checks.reference_errors(annotation, where, *known, found.masks))
    if image is not None and found.sizes[image] is not None:
        readers = {"bbox": coco_checks.read_box, "segmentation": coco_checks.read_segmentation}
        for key, read in list(readers.items())[: 2 if found.masks else 1]:
            try:
                if annotation.get(key) is not None:
                    read(annotation[key], *found.sizes[image], where)
            except DataError as error:
                errors.append(error)
    return errors


# What is no error, but probably a mistake


def _warn(found, kind, instance, text):
    """Notes a warning about an instance, an index of `found.entries`."""
    entry = int(found.entries[instance])
    where = f"{found.annotations}: annotation {found.content['annotations'][entry].get('id')!r}"
    found.add(kind, WARNING, f"{where}: {text}", int(found.image_index[instance]), entry)


def _compare_boxes(found):
    """Notes boxes that stick out of their image."""
    annotations = found.content["annotations"]
    boxes = np.array([annotations[i]["bbox"] for i in found.entries], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    for i in np.flatnonzero(np.abs(boxes - found.boxes).max(axis=1, initial=0) > ROUNDING):
        height, width = found.sizes[found.image_index[i]]
        text = f"bbox reaches out of the image of width={width}, height={height}."
        text += f" Received: bbox={annotations[found.entries[i]]['bbox']}."
        _warn(found, "box outside the image", i, text)


def _compare_masks(found):
    """Notes boxes and areas that are not their mask's, and instances that are there twice."""
    images, starts = np.unique(found.image_index, return_index=True)
    ends = np.append(starts, len(found.entries))[1:]
    for image, first, end in zip(images, starts, ends, strict=True):
        size = found.sizes[image]
        masks = [{"size": size, "counts": counts} for counts in found.counts[first:end]]
        extents, boxes = mask_extents(masks), found.boxes[first:end]
        for i in np.flatnonzero(disagree(boxes, extents)):
            annotation = found.content["annotations"][found.entries[first + i]]
            text = "bbox is not the extent of the mask, [x, y, width, height] ="
            text += f" {xywh(extents[i])}. Received: bbox={annotation['bbox']}."
            _warn(found, "box and mask disagree", first + i, text)
        for i, mask in enumerate(masks):
            area = found.content["annotations"][found.entries[first + i]].get("area")
            covered = int(mask_api.area(mask))
            if area is not None and not is_area(area, covered):
                text = f"area is not the mask's, {covered}. Received: area={area!r}."
                _warn(found, "area and mask disagree", first + i, text)
        for i, j in _repeated(boxes, found.labels[first:end], masks):
            other = found.content["annotations"][found.entries[first + i]].get("id")
            text = f"annotation {other!r} is the same instance: class, box and mask are alike."
            _warn(found, "same instance twice", first + j, text)


def _repeated(boxes, labels, masks):
    """Yields pairs i < j of like instances, for each j at most one.

    Like boxes begin at like x, so each is compared to those behind it in the order of x, as long as
    they may be like it. The cost is bounded: a box has at most `NEIGHBORS` of them, and 3 masks.
    """
    order = np.lexsort([boxes[:, 1], boxes[:, 0], labels])
    boxes, labels = boxes[order], labels[order]
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides.prod(axis=1)
    reach = boxes[:, 0] + sides[:, 0] * (1 / SAME_INSTANCE_IOU - 1)  # where a like box may begin
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


# Numbers of the whole set


def _count_instances(found, limit):
    """Instances of each image, against the slots of a batch."""
    counts = np.bincount(found.image_index, minlength=len(found.sizes))
    for i in np.flatnonzero(counts == 0):
        line = f"image {found.content['images'][i].get('id')!r} has no instances to train on."
        found.add("image without instances", WARNING, f"{found.annotations}: {line}", int(i))
    over = np.flatnonzero(counts > (limit or np.inf))
    for i in over:
        line = f"image {found.content['images'][i]['id']!r} has {counts[i]} instances for {limit}"
        line = f"{found.annotations}: {line} slots. Received: max_instances={limit}."
        found.add("more instances than slots", WARNING, line, int(i))
    if not len(counts):
        return None
    return {
        "min": int(counts.min()),
        "median": float(np.median(counts)),
        "p95": float(np.percentile(counts, 95)),
        "max": int(counts.max()),
        "total": int(counts.sum()),
        "slots": limit,
        "images_over": len(over),
        "instances_without_slot": int((counts[over] - (limit or 0)).sum()),
    }


def _count_classes(found):
    """Instances and images of each class."""
    instances = np.bincount(found.labels, minlength=len(found.class_names) + 1)
    pairs = np.unique(np.stack([found.labels, found.image_index]), axis=1)
    images = np.bincount(pairs[0], minlength=len(instances))
    classes = []
    for identity, label in found.label_of.items():
        name, count = found.class_names[label - 1], int(instances[label])
        classes.append(
            {"id": identity, "name": name, "instances": count, "images": int(images[label])}
        )
        if count < RARE_CLASS:
            kind = "rare class" if count else "category without instances"
            line = f"category {identity} ({name!r}) has {count} instances."
            found.add(kind, WARNING, f"{found.annotations}: {line}")
    return classes


def _measure_sizes(found, anchors):
    """Anchor recall by object size after resizing; None without anchors or instances."""
    if anchors is None or not len(found.entries):
        return None
    sizes = [found.sizes[i] for i in found.image_index]
    resized, overlaps = anchor_overlaps(found.boxes, sizes, **anchors)
    sides = np.sqrt((resized[:, 2:] - resized[:, :2]).prod(axis=1))
    bins = np.searchsorted(SIZE_BINS, sides, side="right") - 1

    def row(low, high, chosen):
        best = overlaps[chosen]
        return {
            "from": low,
            "to": high,
            "instances": len(best),
            "recall_0.7": float((best >= 0.7).mean()),
            "recall_0.5": float((best >= 0.5).mean()),
            "mean_iou": float(best.mean()),
        }

    ends = [*SIZE_BINS[1:], None]
    rows = [row(SIZE_BINS[i], ends[i], bins == i) for i in np.unique(bins)]
    total = row(0, None, np.ones(len(bins), bool))
    if total["recall_0.5"] < GOOD_ANCHOR_RECALL:
        line = f"{found.annotations}: {total['recall_0.5']:.0%} of the instances have an anchor of"
        line += " IoU 0.5: other anchor sizes, or another image size, may fit better."
        found.add("anchors do not fit", WARNING, line)
    return {"bins": rows, "all": total}


def _report_problems(found):
    """The problems with ids in place of indices, and how many there are of each kind."""
    problems, kinds = [], {}
    for problem in found.problems:
        entry = {"kind": problem.kind, "severity": problem.severity, "line": problem.line}
        kind = kinds.setdefault(problem.kind, {**entry, "count": 0, "examples": []})
        identity = None
        if problem.image is not None:
            image = found.content["images"][problem.image]
            identity = entry["image_id"] = _plain(image.get("id"))
            entry["file_name"] = _plain(image.get("file_name"))
        if problem.annotation is not None:
            annotation = found.content["annotations"][problem.annotation]
            identity = entry["annotation_id"] = _plain(annotation.get("id"))
        problems.append(entry)
        kind["count"] += 1
        if identity is not None and len(kind["examples"]) < 3:
            kind["examples"].append(identity)
    severities = {s: sum(p.severity == s for p in found.problems) for s in SEVERITIES}
    return {"severities": severities, "kinds": list(kinds.values()), "problems": problems}


def _plain(value):
    """Returns what can be an id or a name as it is, anything else as a short text."""
    return value if isinstance(value, int | str | None) else reprlib.repr(value)
