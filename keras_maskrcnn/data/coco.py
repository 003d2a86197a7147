"""Reads COCO json and image folders into plain NumPy examples, without TensorFlow."""

import dataclasses
import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from absl import logging
from pycocotools import mask as mask_api

from keras_maskrcnn.aliases import moved
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco_checks import (
    CROWD,
    NO_INSTANCE,
    UNREADABLE,
    has_area,
    list_errors,
    long_polygons,
    no_instances,
    raise_first,
    read_box,
)
from keras_maskrcnn.data.coco_reader import (
    read_annotations,
    read_categories,
    read_compact,
    read_images,
    without_collections,
)
from keras_maskrcnn.data.errors import DataError, check_on_error
from keras_maskrcnn.data.images import MAX_PIXELS
from keras_maskrcnn.data.pixels import read_sized, size_errors
from keras_maskrcnn.data.polygons import Masks
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import Crowds, OnError, Orientation, Path

MAX_PIXELS_IN_TILES = 2**32 - 1  # pycocotools counts pixels in 32 bits
_NO_BOXES = np.zeros([0, 4], np.float32)

# Kinds of errors with messages that show lists of numbers.
_SHOWS_NUMBERS = ("broken bbox", "broken polygon", "polygon outside the image", "broken json")


@dataclasses.dataclass(frozen=True, eq=False)
class CocoDataset:
    """I images and their N instances. The arrays hold the instances in the order of the images.

    `coco_json`, `coco_dict` and the readers of other formats make it. Label i (1..C) stands for
    `category_ids[i - 1]`, named `class_names[i - 1]`.

    Attributes:
        images: str. The folder of images.
        annotations: str or dict. The json file, or its content.
        class_names: tuple of C names.
        category_ids: tuple of C ids.
        image_ids: tuple of I ids, int or str.
        file_names: tuple of I paths relative to `images`.
        sizes: tuple of I times (height, width).
        mask_size: int M. Side of the mask crops that `load` returns.
        dropped: dict of reason to count: how many annotations, polygons or images were left out.
        examples: dict of reason to up to 3 ids of those annotations or images.
        skipped: dict of file name to count: how often an image could not be read, with
            on_error="skip" here or in `batches`. An image with an unreadable header is not in the
            data set.
        offsets: (I + 1,) int64. Image i has the instances offsets[i] to offsets[i + 1] - 1.
        boxes: (N, 4) float32 [x1, y1, x2, y2] in pixels of the original image.
        labels: (N,) int32 in 1..C.
        annotation_ids: N ids. The annotation of each instance.
        counts: sequence of N bytes. Each mask as COCO's compressed run lengths. Polygons are
            converted when an item is read. Empty without `has_masks`.
        has_masks: whether `load` returns masks. If False, instances have boxes only.
        ignored: tuple of I times (r, 4) float32, as `boxes`. Regions of each image in which nothing
            is background. Empty if no image has one.
        channels: int. Bands of the images that `load_image` returns.
        image_dtype: str. Their dtype: "uint8", "uint16" or "float32".
        pixel_max: float. The value of their pixels that is white: 255 in a batch.
        orientation: "ignore" or "apply". What `load_image` does with the orientation tag (EXIF) of
            files. Sizes, boxes and masks are about the pixels that it returns.
    """

    images: str
    annotations: str | dict[str, Any]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_ids: tuple[int | str, ...]
    file_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    mask_size: int
    dropped: dict[str, int]
    examples: dict[str, list[Any]] = dataclasses.field(repr=False)
    offsets: np.ndarray = dataclasses.field(repr=False)
    boxes: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)
    annotation_ids: tuple[Any, ...] = dataclasses.field(repr=False)
    counts: Sequence[bytes] = dataclasses.field(repr=False)
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    has_masks: bool = True
    ignored: tuple[np.ndarray, ...] = dataclasses.field(default=(), repr=False)
    channels: int = 3
    image_dtype: str = "uint8"
    pixel_max: float = 255.0
    orientation: Orientation = "ignore"

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        """Number of classes C, without background."""
        return len(self.category_ids)

    @property
    def has_ignored(self) -> bool:
        """Whether `load` returns ignored regions."""
        return len(self.ignored) > 0

    @property
    def num_instances(self) -> np.ndarray:
        """(I,) int64. Instances in each image."""
        return np.diff(self.offsets)

    @property
    def max_instances(self) -> int:
        """Largest number of instances in one image, at least 1."""
        return max(1, int(self.num_instances.max()))

    def report(self) -> str:
        """Lists what was dropped: one line per reason with up to 3 ids. Empty if nothing was."""
        lines = []
        for reason, count in self.dropped.items():
            ids = ", ".join(repr(i) for i in self.examples[reason])
            more = ", ..." if count > len(self.examples[reason]) else ""
            lines.append(f"dropped {count}: {reason} (ids {ids}{more})")
        return "\n".join(lines)

    def content(self) -> dict[str, Any]:
        """Makes the content of a COCO json from everything that was kept.

        Entries stay as they were read, with two changes. Dropped polygons are left out of their
        annotations. A missing or impossible area is filled in. If the orientation of images is
        applied, `info` says so, and `coco_json` reads it there.

        Returns:
            dict with the lists `images`, `annotations` and `categories`, and all else of the json.
        """
        content = self.annotations
        if isinstance(content, str):
            content = read_json(content)
        sizes = np.repeat(np.array(self.sizes), self.num_instances, axis=0).tolist()
        counts = self.counts if self.has_masks else [None] * len(self.labels)
        instances = zip(self.annotation_ids, sizes, counts, strict=True)
        encoded = {i: {"size": size, "counts": counts} for i, size, counts in instances}
        image_ids, annotations = set(self.image_ids), []
        for annotation in content["annotations"]:
            if annotation["id"] in encoded:
                _, _, width, height = annotation["bbox"]
                annotation = {**annotation, "iscrowd": 0}
                if self.has_masks:
                    width, height = int(mask_api.area(encoded[annotation["id"]])), 1
                if not has_area(annotation):
                    annotation["area"] = width * height
                if self.has_masks and isinstance(annotation["segmentation"], list):
                    annotation["segmentation"] = long_polygons(annotation["segmentation"])
                annotations.append(annotation)
            elif self.has_ignored and annotation.get("iscrowd"):
                annotations.append(annotation)
        images = [image for image in content["images"] if image["id"] in image_ids]
        annotations = [entry for entry in annotations if entry["image_id"] in image_ids]
        content = with_orientation(content, self.orientation)
        return {**content, "images": images, "annotations": annotations}

    def load_image(self, index: int) -> np.ndarray:
        """Reads one image.

        Args:
            index: int in [0, len(dataset)).

        Returns:
            (H, W, channels) of `image_dtype`; by default (H, W, 3) uint8 RGB.

        Raises:
            DataError: if the file cannot be read, or has another size than in `sizes`, other bands
                or another dtype.
        """
        path = os.path.join(self.images, self.file_names[index])
        return read_sized(path, self.sizes[index], Reading.of(self))

    def load(self, index: int) -> dict[str, np.ndarray]:
        """Reads one image with its n instances.

        Args:
            index: int in [0, len(dataset)).

        Returns:
            dict of NumPy arrays; n may be 0:

                - image: (H, W, channels) of `image_dtype`, see `load_image`.
                - boxes: (n, 4) float32 [x1, y1, x2, y2] in pixels of this image.
                - labels: (n,) int32 in 1..C.
                - masks: (n, M, M) uint8. The instance's box is divided into M x M cells. A value is
                  the share of the cell that the mask covers, times 255. Absent without `has_masks`.
                - ignored: (r, 4) float32, as boxes. Absent without `has_ignored`.

        Raises:
            DataError: if the image cannot be read, or does not have the size in the json.
        """
        return {"image": self.load_image(index), **self.load_targets(index)}

    def load_targets(self, index: int) -> dict[str, np.ndarray]:
        """Returns all of `load` except the image, without reading the image.

        Args:
            index: int in [0, len(dataset)).
        """
        first, last = self.offsets[index], self.offsets[index + 1]
        targets = {"boxes": self.boxes[first:last], "labels": self.labels[first:last]}
        if self.has_ignored:
            targets["ignored"] = self.ignored[index]
        if not self.has_masks:
            return targets
        masks = np.zeros((last - first, self.mask_size, self.mask_size), np.uint8)
        for slot in range(last - first):
            box, counts = self.boxes[first + slot], self.counts[first + slot]
            masks[slot] = rle.crop(counts, box, self.sizes[index], self.mask_size)
        return {**targets, "masks": masks}


def coco_json(images: Path, annotations: Path, **options: Any) -> CocoDataset:
    """Reads a COCO json with polygons or run lengths (compressed or not), and with any ids.

    Contradictions raise an error. Annotations that training cannot use are dropped, counted and
    logged once: crowds, boxes without area, polygons of fewer than 3 points, and masks outside
    their box.

    Args:
        images: folder that `file_name` is relative to.
        annotations: json file.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`. It may have no instance.

    Raises:
        DataError: if the json, an annotation or an image cannot be used.
    """
    annotations = os.fspath(annotations)
    # With "objects" the data set keeps the changed content in memory: the file still has crowds.
    if options.get("crowds", "drop") == "objects":
        return coco_dict(images, read_json(annotations), source=annotations, **options)
    try:
        with without_collections():
            content = read_compact(annotations)
            dataset = coco_dict(images, content, source=annotations, **options)
    except DataError as error:
        if error.kind not in _SHOWS_NUMBERS:
            raise
        content = None
        # Read again in full, because the message shows the numbers as the file has them.
        dataset = coco_dict(images, read_json(annotations), source=annotations, **options)
    return dataclasses.replace(dataset, annotations=annotations)


def coco_dict(
    images: Path,
    content: dict[str, Any],
    *,
    source: str = "annotations",
    dropped: Mapping[str, Sequence[Any]] | None = None,
    category_ids: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    masks: bool | None = True,
    crowds: Crowds = "drop",
    mask_size: int = 112,
    keep_empty: bool = True,
    check_images: bool = True,
    on_error: OnError = "raise",
    channels: int = 3,
    image_dtype: str = "uint8",
    pixel_max: float | None = None,
    orientation: Orientation | None = None,
) -> CocoDataset:
    """Reads the content of a COCO json, as `coco_json` does.

    Args:
        images: folder that `file_name` is relative to.
        content: dict of lists `images`, `annotations` and `categories`.
        source: str. The name of the content in error messages.
        dropped: dict of reason to ids. Entries that the reader of another format has already left
            out. They are counted and reported with the others.
        category_ids: the category ids of labels 1, 2, ..., for instance those of a trained model.
            By default all categories of the json, in ascending order.
        class_names: the names that these categories had in training, for instance
            `model.config.class_names`. None or empty: any names. If the json has another name for
            the same id, that is an error. Capital letters, and "_" or "-" for a space, do not
            count. A category that the json lacks gets its name from here.
        masks: whether every instance needs a mask. If False, only boxes are read and outlines may
            be missing; this is enough for a Faster R-CNN or an RPN. None: True if any annotation
            has an outline, otherwise False.
        crowds: how to read annotations with iscrowd=1. "drop" leaves them out; their pixels then
            count as background, as in detectron2 and torchvision. "ignore" makes their boxes
            regions in which nothing is background. "objects" reads them as single objects, because
            some tools set iscrowd=1 for every mask.
        mask_size: int M. Masks are loaded as M x M crops of their boxes.
        keep_empty: whether to keep images without instances.
        check_images: whether to compare every image's header with the json now. If False, an image
            is first checked when it is loaded, and may be of any size: see `tiled`.
        on_error: what to do if the header of an image cannot be used. "raise" raises the error.
            "skip" leaves the image out with its annotations, logs it, and counts it in `skipped`.
        channels: int in 1..32. Bands of the images: 3 for RGB, 1 for gray. See docs/channels.md.
        image_dtype: "uint8", "uint16" or "float32": the dtype of the pixels, as in
            `data.read_pixels`.
        pixel_max: float. The value of a pixel that is white, such as 4095 for 12 bits in uint16.
            By default 255, 65535 or 1. `**model.config.reading()` passes the last three.
        orientation: what happens to the orientation tag (EXIF) of image files. "ignore": pixels
            are as stored. "apply": they are turned upright; sizes, boxes and masks are then about
            the upright image. None: what `info.orientation` of the json says, or else "ignore", as
            pycocotools' users read images. Other readers have the default of their tool, see
            docs/data_formats.md.

    Returns:
        `CocoDataset`. It may have no instance.

    Raises:
        DataError: if the content, an annotation or an image cannot be used, or if a class had
            another name in training.
        ValueError: if an option has another value than above.
    """
    _check_options(mask_size, on_error)
    raise_first(list_errors(content, source))
    orientation = orientation_of_json(content) if orientation is None else orientation
    reading = Reading(channels, image_dtype, pixel_max, orientation)
    images = os.fspath(images)
    content = with_crowds(content, crowds)
    annotations = content["annotations"]
    masks = any(a.get("segmentation") for a in annotations) if masks is None else masks
    names, ids = read_categories(content, source, category_ids, class_names)
    image_ids, file_names, sizes = read_images(
        content, images, source, MAX_PIXELS if check_images else MAX_PIXELS_IN_TILES
    )
    skipped = _unreadable(images, file_names, sizes, on_error, reading) if check_images else set()
    drops = _Drops(dropped)
    image_of, boxes, labels, outlines = read_annotations(
        content, source, image_ids, sizes, ids, drops.add, masks
    )
    for i in np.flatnonzero(np.isin(image_of, list(skipped))):
        drops.add(UNREADABLE, annotations[i]["id"])
        image_of[i] = -1
    ignored = _crowds(annotations, source, image_ids, sizes) if crowds == "ignore" else {}
    if crowds == "ignore":
        drops.forget(CROWD)
    num_instances = np.bincount(image_of[image_of >= 0], minlength=len(image_ids))
    kept = [i for i in range(len(image_ids)) if i not in skipped]
    if not keep_empty:
        kept = _with_instances(kept, num_instances, image_ids, drops, source)
    instances = np.argsort(image_of, kind="stable")  # by image, then in the json's order
    instances = instances[np.count_nonzero(image_of < 0) :]
    outlines = [outlines[i] for i in instances]
    dataset = CocoDataset(
        images=images,
        annotations=content,
        class_names=names,
        category_ids=ids,
        image_ids=tuple(image_ids[i] for i in kept),
        file_names=tuple(file_names[i] for i in kept),
        sizes=tuple(sizes[i] for i in kept),
        mask_size=mask_size,
        dropped=drops.counts,
        examples=drops.examples,
        offsets=np.cumsum(np.concatenate([[0], num_instances[kept]])),
        boxes=boxes[instances].astype(np.float32),
        labels=labels[instances],
        annotation_ids=tuple(annotations[i]["id"] for i in instances),
        counts=Masks(outlines, np.array(sizes)[image_of[instances]]) if masks else [],
        skipped={file_names[i]: 1 for i in sorted(skipped)},
        has_masks=masks,
        ignored=tuple(ignored.get(i, _NO_BOXES) for i in kept) if ignored else (),
        **reading.fields(),
    )
    if drops.counts:
        logging.warning("%s: %s", source, dataset.report())
    return dataset


def _crowds(annotations, source, image_ids, sizes):
    """Returns a dict of the index of each image that has crowds to their boxes, (r, 4) float32."""
    places = {identity: i for i, identity in enumerate(image_ids)}
    boxes: dict[int, list[Any]] = {}
    for annotation in annotations:
        if annotation.get("iscrowd"):
            image = places[annotation["image_id"]]
            height, width = sizes[image]
            where = f"{source}: annotation {annotation['id']!r}"
            box = read_box(annotation["bbox"], height, width, where)
            boxes.setdefault(image, []).append(box)
    return {image: np.array(of_image, np.float32) for image, of_image in boxes.items()}


def _check_options(mask_size, on_error):
    if mask_size < 1:
        raise ValueError(f"mask_size must be positive. Received: mask_size={mask_size}.")
    check_on_error(on_error)


class _Drops:
    """Counts dropped entries by reason, and keeps the first ids.

    Args:
        earlier: dict of reason to ids of entries that were dropped before, or None.
    """

    def __init__(self, earlier=None):
        self.counts, self.examples = {}, {}
        for reason, identities in (earlier or {}).items():
            for identity in identities:
                self.add(reason, identity)

    def add(self, reason, identity):
        self.counts[reason] = self.counts.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < 3:
            examples.append(identity)

    def forget(self, reason):
        self.counts.pop(reason, None)
        self.examples.pop(reason, None)


def _unreadable(folder, file_names, sizes, on_error, reading):
    """Returns the indices of images with unusable headers. Raises, unless on_error="skip"."""
    skipped = set()
    for i, error in size_errors(folder, file_names, sizes, reading):
        if on_error == "raise":
            raise error
        skipped.add(i)
        if len(skipped) <= 10:  # `CocoDataset.skipped` names all of them
            logging.warning("skipped unreadable image %d: %s", len(skipped), error)
    if len(skipped) == len(file_names):
        raise DataError(f"{folder}: none of {len(file_names)} images can be read.")
    return skipped


def _with_instances(images, num_instances, image_ids, drops, source):
    """Returns the images that have instances, and counts the others as dropped."""
    for i in images:
        if not num_instances[i]:
            drops.add(NO_INSTANCE, image_ids[i])
    kept = [i for i in images if num_instances[i]]
    if not kept:
        raise DataError(f"{source}: no image has instances. Received: keep_empty=False.")
    return kept


def with_crowds(content: dict[str, Any], crowds: str) -> dict[str, Any]:
    """Returns the content of a COCO json as `coco_dict` reads it with this value of `crowds`."""
    if crowds not in get_args(Crowds):
        choices = ", ".join(map(repr, get_args(Crowds)))
        raise ValueError(f"crowds must be one of {choices}. Received: crowds={crowds!r}.")
    if crowds != "objects":
        return content
    return {
        **content,
        "annotations": [
            {**entry, "iscrowd": 0} if entry.get("iscrowd") == 1 else entry
            for entry in content["annotations"]
        ],
    }


def orientation_of_json(content: dict[str, Any]) -> Orientation:
    """Returns the orientation that a json says its images are read with; "ignore" by default."""
    info = content.get("info")
    applied = isinstance(info, dict) and info.get("orientation") == "apply"
    return "apply" if applied else "ignore"


def with_orientation(content: dict[str, Any], orientation: str) -> dict[str, Any]:
    """Returns the content of a json that says how the orientation tags of its images are read."""
    if orientation == orientation_of_json(content):
        return content
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    return {**content, "info": {**info, "orientation": orientation}}


def require_data_set(dataset: Any, *names: str) -> None:
    """Raises a TypeError if something else was passed for a data set, such as a path or batches.

    Args:
        dataset: what was passed.
        *names: attributes that it must have.
    """
    if not all(hasattr(dataset, name) for name in names):
        raise TypeError(
            "dataset must be a data set, such as data.coco_json(images, annotations) and the other "
            f"readers return. Received: dataset={reprlib.repr(dataset)}."
        )


def require_instances(dataset: Any, source: str | None = None) -> None:
    """Raises a DataError if a data set has no instance at all. The message says what was dropped.

    Args:
        dataset: `CocoDataset` or a similar object.
        source: str. The name of the data set in the message. By default its json
            file, or else its folder of images.
    """
    if np.any(getattr(dataset, "num_instances", 1)):  # similar objects may not count instances
        return
    source = source_of(dataset) if source is None else source
    raise no_instances(source, getattr(dataset, "dropped", {}), has_masks(dataset))


def has_masks(dataset: Any) -> bool:
    """Whether a data set has masks. An object without the attribute `has_masks` counts as True."""
    return getattr(dataset, "has_masks", True)


def has_ignored(dataset: Any) -> bool:
    """Whether a data set has ignored regions. Without the attribute `has_ignored` it has none."""
    return getattr(dataset, "has_ignored", False)


def source_of(dataset: Any) -> str:
    """Returns the name of a data set in messages: its json file, or else its folder of images."""
    source = getattr(dataset, "annotations", None)
    return source if isinstance(source, str) else getattr(dataset, "images", "the data set")


_MOVED = {
    "class_names": ("compare_names", "plain_name"),
    "coco_checks": (
        "FEW_POINTS",
        "MIN_BOX_SIDE",
        "NO_AREA",
        "NO_MASK",
        "NO_POLYGON",
        "read_segmentation",
    ),
}
__getattr__ = moved(
    __name__,
    {name: f"keras_maskrcnn.data.{new}:{name}" for new, names in _MOVED.items() for name in names},
)
