"""Reads COCO json and image folders into plain NumPy examples. Knows no TensorFlow."""

import dataclasses
import json
import os
import reprlib

import numpy as np
from absl import logging
from pycocotools import mask as mask_api

from keras_maskrcnn.data.images import DataError, check_sizes, read_image, size_error
from keras_maskrcnn.ops import rle

MIN_BOX_SIDE = 1e-3  # pixels; below, a box has no area to learn from

CROWD = "annotation with iscrowd=1"
NO_AREA = f"annotation whose box, clipped to the image, has a side below {MIN_BOX_SIDE} pixels"
NO_POLYGON = "annotation without a polygon of at least 3 points"
NO_MASK = "annotation without a mask pixel inside its box"
FEW_POINTS = "polygon of fewer than 3 points, in an annotation that has others"
NO_INSTANCE = "image without instances (keep_empty=False)"


@dataclasses.dataclass(frozen=True, eq=False)
class CocoDataset:
    """Images and their instances; instances lie one after the other, ordered by image.

    Made by `coco_json` and `coco_dict`. Label i (1..C) stands for `category_ids[i - 1]`, named
    `class_names[i - 1]`.

    Attributes:
        images: str. The folder of images.
        annotations: str or dict. The json file, or its content.
        class_names, category_ids: C each.
        image_ids, file_names, sizes: one per image; a size is (height, width).
        mask_size: int M. Side of the mask crops that `load` returns.
        dropped: reason -> how many annotations, polygons or images were left out for it.
        examples: reason -> up to 3 ids of those annotations or images.
        offsets: (I + 1,) int64. Image i has the instances offsets[i] to offsets[i + 1].
        boxes: (N, 4) float32 [x1, y1, x2, y2] in pixels of the original image.
        labels: (N,) int32 in 1..C.
        counts: N bytes. COCO's compressed run lengths of each mask.
    """

    images: str
    annotations: str | dict
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_ids: tuple
    file_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    mask_size: int
    dropped: dict[str, int]
    examples: dict[str, list] = dataclasses.field(repr=False)
    offsets: np.ndarray = dataclasses.field(repr=False)
    boxes: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)
    counts: list[bytes] = dataclasses.field(repr=False)

    def __len__(self):
        """Number of images."""
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        """Number of classes C, without background."""
        return len(self.category_ids)

    @property
    def num_instances(self) -> np.ndarray:
        """(I,) int64. Instances in each image."""
        return np.diff(self.offsets)

    @property
    def max_instances(self) -> int:
        """Most instances in one image, at least 1."""
        return max(1, int(self.num_instances.max()))

    def report(self) -> str:
        """Says what was dropped, one line per reason with up to 3 ids; empty if nothing was."""
        lines = []
        for reason, count in self.dropped.items():
            ids = ", ".join(repr(i) for i in self.examples[reason])
            more = ", ..." if count > len(self.examples[reason]) else ""
            lines.append(f"dropped {count}: {reason} (ids {ids}{more})")
        return "\n".join(lines)

    def load_image(self, index) -> np.ndarray:
        """Reads one image as (H, W, 3) uint8 RGB."""
        path = os.path.join(self.images, self.file_names[index])
        image = read_image(path)
        if image.shape[:2] != self.sizes[index]:
            raise size_error(path, image.shape[:2], self.sizes[index])
        return image

    def load(self, index) -> dict[str, np.ndarray]:
        """Reads one image with its n instances.

        Returns:
            image: (H, W, 3) uint8 RGB.
            boxes: (n, 4) float32 [x1, y1, x2, y2] in pixels of this image.
            labels: (n,) int32 in 1..C.
            masks: (n, M, M) uint8, the covered share of each cell of the instance's box times 255.
        """
        return {"image": self.load_image(index), **self.load_targets(index)}

    def load_targets(self, index) -> dict[str, np.ndarray]:
        """Makes the boxes, labels and masks of `load`, without reading the image."""
        first, last = self.offsets[index], self.offsets[index + 1]
        masks = np.zeros((last - first, self.mask_size, self.mask_size), np.uint8)
        for slot in range(last - first):
            box, counts = self.boxes[first + slot], self.counts[first + slot]
            masks[slot] = rle.crop(counts, box, self.sizes[index], self.mask_size)
        return {"boxes": self.boxes[first:last], "labels": self.labels[first:last], "masks": masks}


def coco_json(images, annotations, **options) -> CocoDataset:
    """Reads a COCO json: polygons, run lengths (compressed or not), any ids.

    What contradicts itself is an error. What is merely of no use for training (crowds, boxes
    without area, polygons of less than 3 points, masks outside their box) is dropped, counted,
    and logged once.

    Args:
        images: folder that `file_name` is relative to.
        annotations: json file.
        options: as of `coco_dict`.

    Raises:
        DataError: if the json, an annotation or an image cannot be used.
    """
    annotations = os.fspath(annotations)
    dataset = coco_dict(images, read_json(annotations), source=annotations, **options)
    return dataclasses.replace(dataset, annotations=annotations)


def coco_dict(
    images,
    content,
    *,
    source="annotations",
    category_ids=None,
    mask_size=112,
    keep_empty=True,
    check_images=True,
) -> CocoDataset:
    """Reads the content of a COCO json, as `coco_json` does.

    Args:
        images: folder that `file_name` is relative to.
        content: dict of lists `images`, `annotations` and `categories`.
        source: str. What error messages call the content.
        category_ids: the categories of labels 1, 2, ..., for instance a trained model's. By default
            all of the json's, in ascending order.
        mask_size: int M. Masks are loaded as M x M crops of their boxes.
        keep_empty: whether images without instances stay.
        check_images: whether to compare every image's header with the json now, and not only
            when the image is loaded.

    Raises:
        DataError: if the content, an annotation or an image cannot be used.
    """
    if mask_size < 1:
        raise ValueError(f"mask_size must be positive. Received: mask_size={mask_size}.")
    images = os.fspath(images)
    _check_lists(content, source)
    names, ids = _read_categories(content, source, category_ids)
    image_ids, file_names, sizes = _read_images(content, source)
    if check_images:
        check_sizes(images, file_names, sizes)

    dropped, examples = {}, {}

    def drop(reason, identity):
        dropped[reason] = dropped.get(reason, 0) + 1
        if len(examples.setdefault(reason, [])) < 3:
            examples[reason].append(identity)

    per_image = _read_annotations(content, source, image_ids, sizes, ids, drop)
    kept = []
    for i, found in enumerate(per_image):
        if found or keep_empty:
            kept.append(i)
        else:
            drop(NO_INSTANCE, image_ids[i])
    if not kept:
        raise DataError(f"{source}: no image has instances. Received: keep_empty=False.")
    instances = [instance for i in kept for instance in per_image[i]]
    dataset = CocoDataset(
        images=images,
        annotations=content,
        class_names=names,
        category_ids=ids,
        image_ids=tuple(image_ids[i] for i in kept),
        file_names=tuple(file_names[i] for i in kept),
        sizes=tuple(sizes[i] for i in kept),
        mask_size=mask_size,
        dropped=dropped,
        examples=examples,
        offsets=np.cumsum([0] + [len(per_image[i]) for i in kept]),
        boxes=np.array([box for box, _, _ in instances], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in instances], np.int32),
        counts=[counts for _, _, counts in instances],
    )
    if dropped:
        logging.warning("%s: %s", source, dataset.report())
    return dataset


def read_json(path):
    """Reads a json file of any content.

    Raises:
        DataError: if there is none, or it is broken.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as json. Received: {error}.") from error


def _check_lists(content, source):
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise DataError(
                f"{source}: a COCO json is an object with a list of objects {key!r}."
                f" Received: {reprlib.repr(content if entries is None else entries)}."
            )


def _read_categories(content, path, category_ids):
    """Returns the names and the ids of the classes, in the order of the labels."""
    names = {}
    for category in content["categories"]:
        identity = category.get("id")
        if not _is_integer(identity) or identity in names:
            raise DataError(
                f"{path}: every category needs an integer id of its own. Received: id={identity!r}."
            )
        names[identity] = str(category.get("name", identity))
    ids = tuple(sorted(names) if category_ids is None else category_ids)
    if not ids or len(set(ids)) < len(ids):
        raise DataError(f"{path}: category ids must be distinct, at least one. Received: {ids}.")
    return tuple(names.get(identity, str(identity)) for identity in ids), ids


def _read_images(content, path):
    """Returns ids, file names and (height, width) of all images, in the json's order."""
    ids, file_names, sizes = {}, [], []
    for image in content["images"]:
        where = f"{path}: image {_identity(image, path, 'image')!r}"
        if image["id"] in ids:
            raise DataError(f"{where}: two images have this id.")
        name, size = image.get("file_name"), (image.get("height"), image.get("width"))
        if not isinstance(name, str) or not name or "\0" in name:
            raise DataError(f"{where}: file_name must be a path. Received: file_name={name!r}.")
        if os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == os.pardir:
            raise DataError(
                f"{where}: file_name must lie inside the folder of images."
                f" Received: file_name={name!r}."
            )
        if not all(_is_integer(side) and side > 0 for side in size):
            raise DataError(
                f"{where}: height and width must be positive integers."
                f" Received: height={size[0]!r}, width={size[1]!r}."
            )
        ids[image["id"]] = len(ids)
        file_names.append(name)
        sizes.append((int(size[0]), int(size[1])))
    if not ids:
        raise DataError(f"{path}: there are no images. Received: images=[].")
    return tuple(ids), file_names, sizes


def _read_annotations(content, path, image_ids, sizes, category_ids, drop):
    """Returns for every image a list of (box, label, counts), and calls `drop` for the rest."""
    image_of = {image_id: i for i, image_id in enumerate(image_ids)}
    label_of = {category_id: i + 1 for i, category_id in enumerate(category_ids)}
    per_image, seen = [[] for _ in image_ids], set()
    for annotation in content["annotations"]:
        identity = _identity(annotation, path, "annotation")
        where = f"{path}: annotation {identity!r}"
        if identity in seen:
            raise DataError(f"{where}: two annotations have this id.")
        seen.add(identity)
        for key in ("image_id", "category_id", "bbox", "segmentation"):
            if annotation.get(key) is None:
                raise DataError(f"{where}: {key} is missing.")
        for key, known in (("image_id", image_of), ("category_id", label_of)):
            if isinstance(annotation[key], list | dict) or annotation[key] not in known:
                raise DataError(f"{where}: unknown {key}. Received: {key}={annotation[key]!r}.")
        if annotation.get("iscrowd") not in (0, 1, None):
            value = reprlib.repr(annotation["iscrowd"])
            raise DataError(f"{where}: iscrowd must be 0 or 1. Received: iscrowd={value}.")
        image = image_of[annotation["image_id"]]
        if annotation.get("iscrowd"):
            drop(CROWD, identity)
            continue
        box = read_box(annotation["bbox"], *sizes[image], where)
        if box[2] - box[0] < MIN_BOX_SIDE or box[3] - box[1] < MIN_BOX_SIDE:
            drop(NO_AREA, identity)
            continue
        counts, short = read_segmentation(annotation["segmentation"], *sizes[image], where)
        if counts is None:
            drop(NO_POLYGON, identity)
            continue
        for _ in range(short):
            drop(FEW_POINTS, identity)
        if not rle.touches(counts, box, *sizes[image]):
            drop(NO_MASK, identity)
            continue
        per_image[image].append((box, label_of[annotation["category_id"]], counts))
    return per_image


def read_box(bbox, height, width, where):
    """Turns COCO's [x, y, width, height] into [x1, y1, x2, y2] inside the image."""
    numbers = _numbers(bbox)
    if numbers is None or len(numbers) != 4:
        raise DataError(
            f"{where}: bbox must be 4 finite numbers [x, y, width, height]."
            f" Received: bbox={reprlib.repr(bbox)}."
        )
    x, y, w, h = numbers.tolist()
    right, bottom = float(width), float(height)
    x1, x2 = (min(max(v, 0.0), right) for v in (x, x + w))
    y1, y2 = (min(max(v, 0.0), bottom) for v in (y, y + h))
    return x1, y1, x2, y2


def read_segmentation(segmentation, height, width, where):
    """Returns compressed run lengths, or None if empty, and how many polygons were too short."""

    def error(expected):
        received = reprlib.repr(segmentation)
        return DataError(f"{where}: {expected}. Received: segmentation={received}.")

    if isinstance(segmentation, list):
        polygons = [_numbers(polygon) for polygon in segmentation]
        if any(polygon is None or len(polygon) % 2 for polygon in polygons):
            raise error("segmentation must be polygons [x1, y1, x2, y2, ...] of finite numbers")
        # pycocotools walks along every edge: 1e18 would take all memory before it fails.
        reach = max(height, width)
        if any(p.size and (p.min() < -reach or p.max() > 2 * reach) for p in polygons):
            raise error("polygon far outside the image")
        long = [polygon.tolist() for polygon in polygons if len(polygon) >= 6]
        if not long:
            return None, 0
        merged = mask_api.merge(mask_api.frPyObjects(long, height, width))
        return merged["counts"], len(polygons) - len(long)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise error("segmentation must be a list of polygons, or an object of size and counts")
    if segmentation["size"] != [height, width]:
        raise error(f"segmentation must have the image's size {[height, width]}")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = counts.encode("utf-8", "surrogatepass")
        runs = rle.run_lengths(counts)
    else:
        runs = _numbers(counts)
    # pycocotools reads memory that is not its own when the lengths do not add up.
    area = height * width
    whole = runs is not None and runs.dtype.kind in "iu"
    if not whole or runs.min() < 0 or runs.max() > area or runs.sum() != area:
        raise error("counts must be run lengths that cover the image exactly")
    if isinstance(counts, list):
        counts = mask_api.frPyObjects(segmentation, height, width)["counts"]
    return counts, 0


def _numbers(value):
    """Returns a list of finite numbers as a (n,) array, anything else as None."""
    try:
        array = np.array(value)
    except ValueError:  # ragged
        return None
    numeric = isinstance(value, list) and array.ndim == 1 and array.dtype.kind in "iuf"
    return array if numeric and np.isfinite(array).all() else None


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _identity(entry, path, kind):
    """Returns the id of an image or annotation."""
    identity = entry.get("id")
    if not _is_integer(identity) and not isinstance(identity, str):
        raise DataError(
            f"{path}: every {kind} needs an id, an integer or a string. Received: id={identity!r}."
        )
    return identity
