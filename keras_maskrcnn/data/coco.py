"""Reads COCO json and image folders into plain NumPy examples. Knows no TensorFlow."""

import array
import contextlib
import dataclasses
import gc
import json
import os
import re
import reprlib
import unicodedata
from collections.abc import Sequence

import numpy as np
from absl import logging
from pycocotools import mask as mask_api

from keras_maskrcnn.data.images import MAX_PIXELS, DataError, read_sized, size_errors
from keras_maskrcnn.data.polygons import Masks, compact, draw, surely_touch
from keras_maskrcnn.data.text import decode, local_path
from keras_maskrcnn.ops import rle

_AT_ONCE = 16_384  # annotations that are checked together
MIN_BOX_SIDE = 1e-3  # pixels; below, a box has no area to learn from

CROWD = "annotation with iscrowd=1"
NO_AREA = f"annotation whose box, clipped to the image, has a side below {MIN_BOX_SIDE} pixels"
NO_POLYGON = "annotation without a polygon of at least 3 points"
NO_MASK = "annotation without a mask pixel inside its box"
FEW_POINTS = "polygon of fewer than 3 points, in an annotation that has others"
NO_INSTANCE = "image without instances (keep_empty=False)"
UNREADABLE = "annotation of an image that cannot be read (on_error='skip')"


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
        skipped: file name -> how often an image could not be read, with on_error="skip" here or in
            `batches`. Images whose headers cannot be read are not in the data set.
        offsets: (I + 1,) int64. Image i has the instances offsets[i] to offsets[i + 1].
        boxes: (N, 4) float32 [x1, y1, x2, y2] in pixels of the original image.
        labels: (N,) int32 in 1..C.
        annotation_ids: N, the ids of the annotations that the instances come from.
        counts: sequence of N bytes. COCO's compressed run lengths of each mask, made from polygons
            when they are asked for; none without `has_masks`.
        has_masks: whether `load` returns masks. Otherwise instances are boxes, of whatever outline.
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
    annotation_ids: tuple = dataclasses.field(repr=False)
    counts: Sequence[bytes] = dataclasses.field(repr=False)
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    has_masks: bool = True

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

    def content(self) -> dict:
        """Makes the content of a COCO json of what was kept, with the entries as they were read.

        Polygons that were dropped are left out of their annotations; an area that is missing, or
        that no object can have, is filled in.
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
        images = [image for image in content["images"] if image["id"] in image_ids]
        return {**content, "images": images, "annotations": annotations}

    def load_image(self, index) -> np.ndarray:
        """Reads one image as (H, W, 3) uint8 RGB."""
        return read_sized(os.path.join(self.images, self.file_names[index]), self.sizes[index])

    def load(self, index) -> dict[str, np.ndarray]:
        """Reads one image with its n instances.

        Returns:
            image: (H, W, 3) uint8 RGB.
            boxes: (n, 4) float32 [x1, y1, x2, y2] in pixels of this image.
            labels: (n,) int32 in 1..C.
            masks: (n, M, M) uint8, the covered share of each cell of the instance's box times 255;
                if the data set has masks.
        """
        return {"image": self.load_image(index), **self.load_targets(index)}

    def load_targets(self, index) -> dict[str, np.ndarray]:
        """Makes the boxes, labels and masks of `load`, without reading the image."""
        first, last = self.offsets[index], self.offsets[index + 1]
        targets = {"boxes": self.boxes[first:last], "labels": self.labels[first:last]}
        if not self.has_masks:
            return targets
        masks = np.zeros((last - first, self.mask_size, self.mask_size), np.uint8)
        for slot in range(last - first):
            box, counts = self.boxes[first + slot], self.counts[first + slot]
            masks[slot] = rle.crop(counts, box, self.sizes[index], self.mask_size)
        return {**targets, "masks": masks}


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
    if options.get("crowds", "drop") == "objects":  # its content, unlike the file's, has no crowds
        return coco_dict(images, read_json(annotations), source=annotations, **options)
    try:
        with _without_collections():
            content = read_json(annotations, _shrink)
            dataset = coco_dict(images, content, source=annotations, **options)
    except DataError as error:
        if error.kind not in _SHOWS_NUMBERS:
            raise
        content = None
        # Again, for the line of the error shows numbers as they are in the file.
        dataset = coco_dict(images, read_json(annotations), source=annotations, **options)
    return dataclasses.replace(dataset, annotations=annotations)


def coco_dict(
    images,
    content,
    *,
    source="annotations",
    dropped=None,
    category_ids=None,
    class_names=None,
    masks=True,
    crowds="drop",
    mask_size=112,
    keep_empty=True,
    check_images=True,
    on_error="raise",
) -> CocoDataset:
    """Reads the content of a COCO json, as `coco_json` does.

    Args:
        images: folder that `file_name` is relative to.
        content: dict of lists `images`, `annotations` and `categories`.
        source: str. What error messages call the content.
        dropped: dict of reason to ids. What a reader of another format has left out of the content
            already: it is counted and reported with the rest.
        category_ids: the categories of labels 1, 2, ..., for instance a trained model's. By default
            all of the json's, in ascending order.
        class_names: the names that these categories had in training, for instance
            `model.config.class_names`; None or empty for any. Another name of the same id is an
            error, see `compare_names`; a category that the json lacks gets its name from here.
        masks: whether every instance needs a mask. If False, only boxes are read, which is all that
            a Faster R-CNN or an RPN learns from, and outlines may be missing. None: masks, unless
            no annotation has an outline.
        crowds: what annotations with iscrowd=1 are: "drop" leaves them out, "objects" reads them
            as single objects, for tools that write every mask like that.
        mask_size: int M. Masks are loaded as M x M crops of their boxes.
        keep_empty: whether images without instances stay.
        check_images: whether to compare every image's header with the json now, and not only
            when the image is loaded.
        on_error: what becomes of an image whose header cannot be used: "raise", or "skip": it is
            left out with its annotations, logged, counted and named in `skipped`.

    Raises:
        DataError: if the content, an annotation or an image cannot be used, or a class has
            another name than in training.
    """
    if mask_size < 1:
        raise ValueError(f"mask_size must be positive. Received: mask_size={mask_size}.")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip'. Received: on_error={on_error!r}.")
    images = os.fspath(images)
    _raise_first(list_errors(content, source))
    content = with_crowds(content, crowds)
    if masks is None:
        masks = any(annotation.get("segmentation") for annotation in content["annotations"])
    names, ids = _read_categories(content, source, category_ids, class_names)
    image_ids, file_names, sizes = _read_images(content, images, source)
    skipped = set()
    for i, error in size_errors(images, file_names, sizes) if check_images else ():
        if on_error == "raise":
            raise error
        skipped.add(i)
        if len(skipped) <= 10:  # all are named in `skipped`
            logging.warning("skipped, image %d of such: %s", len(skipped), error)
    if len(skipped) == len(image_ids):
        raise DataError(f"{images}: none of {len(image_ids)} images can be read.")

    counted, examples = {}, {}

    def drop(reason, identity):
        counted[reason] = counted.get(reason, 0) + 1
        if len(examples.setdefault(reason, [])) < 3:
            examples[reason].append(identity)

    for reason, identities in (dropped or {}).items():
        for identity in identities:
            drop(reason, identity)

    image_of, boxes, labels, outlines = _read_annotations(
        content, source, image_ids, sizes, ids, drop, masks
    )
    for i in np.flatnonzero(np.isin(image_of, list(skipped))):
        drop(UNREADABLE, content["annotations"][i]["id"])
        image_of[i] = -1
    num_instances = np.bincount(image_of[image_of >= 0], minlength=len(image_ids))
    kept = []
    for i, count in enumerate(num_instances):
        if i in skipped:
            continue
        if count or keep_empty:
            kept.append(i)
        else:
            drop(NO_INSTANCE, image_ids[i])
    if not kept:
        raise DataError(f"{source}: no image has instances. Received: keep_empty=False.")
    instances = np.argsort(image_of, kind="stable")  # by image, then in the json's order
    instances = instances[np.count_nonzero(image_of < 0) :]
    annotations = content["annotations"]
    dataset = CocoDataset(
        images=images,
        annotations=content,
        class_names=names,
        category_ids=ids,
        image_ids=tuple(image_ids[i] for i in kept),
        file_names=tuple(file_names[i] for i in kept),
        sizes=tuple(sizes[i] for i in kept),
        mask_size=mask_size,
        dropped=counted,
        examples=examples,
        offsets=np.cumsum(np.concatenate([[0], num_instances[kept]])),
        boxes=boxes[instances].astype(np.float32),
        labels=labels[instances],
        annotation_ids=tuple(annotations[i]["id"] for i in instances),
        counts=Masks([outlines[i] for i in instances], np.array(sizes)[image_of[instances]])
        if masks
        else [],
        skipped={file_names[i]: 1 for i in sorted(skipped)},
        has_masks=masks,
    )
    if counted:
        logging.warning("%s: %s", source, dataset.report())
    return dataset


def with_crowds(content, crowds):
    """Returns the content of a COCO json as `coco_dict` reads it with this value of `crowds`."""
    if crowds not in ("drop", "objects"):
        raise ValueError(f"crowds must be 'drop' or 'objects'. Received: crowds={crowds!r}.")
    if crowds == "drop":
        return content
    return {
        **content,
        "annotations": [
            {**entry, "iscrowd": 0} if entry.get("iscrowd") == 1 else entry
            for entry in content["annotations"]
        ],
    }


def require_instances(dataset, source=None):
    """Raises a DataError if a data set has no instance at all, and says what became of them.

    Args:
        dataset: `CocoDataset`, or what is like one.
        source: str. What the message calls it; by default `source_of` it.
    """
    if np.any(getattr(dataset, "num_instances", 1)):  # what is like a data set may not count them
        return
    source = source_of(dataset) if source is None else source
    raise no_instances(source, getattr(dataset, "dropped", {}), getattr(dataset, "has_masks", True))


def source_of(dataset) -> str:
    """Returns what messages call a data set, or what is like one: its json, or else its images."""
    source = getattr(dataset, "annotations", None)
    return source if isinstance(source, str) else getattr(dataset, "images", "the data set")


def no_instances(source, dropped, has_masks):
    """Makes the DataError for a data set in which no instance is left; see `require_instances`."""
    hints = []
    if CROWD in dropped:
        hints.append(" To read crowds as single objects, pass crowds='objects' (--crowds=objects).")
    if has_masks and NO_POLYGON in dropped:
        hints.append(" A Faster R-CNN (task='boxes', masks=False) needs no masks.")
    counts = "; ".join(f"{count} dropped: {reason}" for reason, count in dropped.items())
    return DataError(
        f"{source}: no instance is left to learn from.{''.join(hints)}"
        f" Received: {counts or 'no annotations'}.",
        "no instance left",
    )


def compare_names(names, known, where):
    """Compares the names of classes with those of a training, by category id.

    Names are compared as of `plain_name`. Where one side has no name of its own ("class 1", the id,
    or none at all), there is nothing to compare, which is logged.

    Args:
        names, known: dict of category id to name, here and in training. Ids of one alone don't
            count.
        where: str. What messages begin with.

    Raises:
        DataError: if a category has another name; it tells the id and both names.
    """
    unnamed = []
    for identity in [identity for identity in names if identity in known]:
        pair = [str(n[identity]).strip() for n in (names, known)]
        if plain_name(pair[0]) == plain_name(pair[1]):
            continue
        if any(name in ("", str(identity)) or _NO_NAME.fullmatch(name) for name in pair):
            unnamed.append(identity)
            continue
        raise DataError(
            f"{where}: category {identity} was {known[identity]!r} in training, and the same id"
            f" must be the same class. Received: name={names[identity]!r}.",
            "other class name",
        )
    if unnamed:
        logging.warning(
            "%s: %d classes have no name here or in training (category ids %s): nothing tells"
            " whether they are the same.",
            where,
            len(unnamed),
            reprlib.repr(unnamed),
        )


_NO_NAME = re.compile(r"class \d+", re.IGNORECASE)


def plain_name(name) -> str:
    """Returns the name of a class without what tools write in their own ways.

    These are capitals, spaces, "_" and "-" in place of a space, and Unicode's forms of an accent.
    """
    name = unicodedata.normalize("NFKC", str(name)).casefold()
    return " ".join(re.sub("[-_]", " ", name).split())


def read_json(path, object_hook=None):
    """Reads a json file of any content.

    Args:
        path: path.
        object_hook: as of `json.load`.

    Raises:
        DataError: if there is none, or it is broken.
    """
    try:
        with open(path, "rb") as file:
            return json.loads(decode(file.read(), path), object_hook=object_hook)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read as json. Received: {error}.", "broken json"
        ) from error


def _shrink(entry):
    """Keeps of an entry what is read of it, with arrays for lists of numbers: a tenth of memory."""
    if "bbox" not in entry:
        if "file_name" not in entry:
            return entry
        return {key: entry[key] for key in ("id", "file_name", "height", "width") if key in entry}
    entry = {key: entry[key] for key in _READ if key in entry}
    box, outline = compact(entry["bbox"]), entry.get("segmentation")
    if box is not None:
        entry["bbox"] = box
    if type(outline) is list:
        entry["segmentation"] = [compact(part) or part for part in outline]
    return entry


# Kinds of errors whose lines show lists of numbers.
_SHOWS_NUMBERS = ("broken bbox", "broken polygon", "polygon outside the image", "broken json")
_READ = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd")


@contextlib.contextmanager
def _without_collections():
    """Millions of new objects make Python look for garbage again and again, where there is none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def has_area(annotation):
    """Whether the area of an annotation is a number that an object can have."""
    area = annotation.get("area")
    return isinstance(area, int | float) and 0 <= area < np.inf


def long_polygons(polygons):
    """Returns the polygons [x1, y1, x2, y2, ...] that have at least 3 points."""
    return [polygon for polygon in polygons if len(polygon) >= 6]


# One entry at a time, so that the doctor can go on where this module stops at the first error.


def list_errors(content, source):
    """Yields a DataError for each list that a COCO json needs and `content` lacks."""
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            yield DataError(
                f"{source}: a COCO json is an object with a list of objects {key!r}."
                f" Received: {reprlib.repr(content if entries is None else entries)}.",
                "broken json",
            )
        elif key == "images" and not entries:
            yield DataError(f"{source}: there are no images. Received: images=[].", "broken json")


def read_category(category, names, path):
    """Adds one category to `names`, a dict of id to name."""
    identity = category.get("id")
    if not _is_integer(identity) or identity in names:
        raise DataError(
            f"{path}: every category needs an integer id of its own. Received: id={identity!r}.",
            "broken category id",
        )
    names[identity] = str(category.get("name", identity))


def order_categories(names, category_ids, path):
    """Returns the ids in the order of the labels: `category_ids`, or ascending if that is None."""
    ids = tuple(sorted(names) if category_ids is None else category_ids)
    if not ids or len(set(ids)) < len(ids):
        line = f"{path}: category ids must be distinct, at least one. Received: {ids}."
        raise DataError(line, "broken category id")
    return ids


def check_identity(entry, seen, path, kind):
    """Returns the id of an image or annotation, which must not be one of those in `seen`."""
    identity = entry.get("id")
    if not _is_integer(identity) and not isinstance(identity, str):
        raise DataError(
            f"{path}: every {kind} needs an id, an integer or a string. Received: id={identity!r}.",
            f"{kind} without id",
        )
    if identity in seen:
        raise DataError(
            f"{path}: {kind} {identity!r}: two {kind}s have this id.", f"duplicate {kind} id"
        )
    return identity


def with_local_path(image, folder):
    """Returns an image of a json, its file_name with the separators of this system."""
    name = image.get("file_name")
    if not isinstance(name, str) or "\\" not in name:
        return image
    return {**image, "file_name": local_path(name, folder)}


def image_errors(image, where):
    """Yields a DataError for each field of an image that cannot be used, its id excepted."""
    name, size = image.get("file_name"), (image.get("height"), image.get("width"))
    if not isinstance(name, str) or not name or "\0" in name:
        yield DataError(
            f"{where}: file_name must be a path. Received: file_name={name!r}.", "broken file name"
        )
    elif os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == os.pardir:
        yield DataError(
            f"{where}: file_name must lie inside the folder of images."
            f" Received: file_name={name!r}.",
            "path outside the folder",
        )
    expected = None
    if not all(_is_integer(side) and side > 0 for side in size):
        expected = "be positive integers"
    elif size[0] * size[1] > MAX_PIXELS:
        expected = f"have a product of at most {MAX_PIXELS}"
    if expected:
        yield DataError(
            f"{where}: height and width must {expected}."
            f" Received: height={size[0]!r}, width={size[1]!r}.",
            "broken image size",
        )


def reference_errors(annotation, where, image_of, label_of, masks=True):
    """Yields a DataError for each field of an annotation that is missing or names the unknown.

    Args:
        annotation: dict.
        where: str. What error messages begin with.
        image_of: dict of image id to index.
        label_of: dict of category id to label.
        masks: whether it needs a segmentation.
    """
    for key in ("image_id", "category_id", "bbox", "segmentation"):
        if annotation.get(key) is None and (masks or key != "segmentation"):
            hint = " Only a Faster R-CNN (task='boxes', masks=False) does without."
            hint = hint if key == "segmentation" else ""
            yield DataError(f"{where}: {key} is missing.{hint}", "missing field")
    for key, known in (("image_id", image_of), ("category_id", label_of)):
        value = annotation.get(key)
        if value is not None and (isinstance(value, list | dict) or value not in known):
            kind = f"unknown {key.removesuffix('_id')}"
            yield DataError(f"{where}: unknown {key}. Received: {key}={value!r}.", kind)
    if annotation.get("iscrowd") not in (0, 1, None):
        value = reprlib.repr(annotation["iscrowd"])
        line = f"{where}: iscrowd must be 0 or 1. Received: iscrowd={value}."
        yield DataError(line, "broken iscrowd")


def read_annotation(annotation, where, image_of, sizes, label_of, drop, masks=True):
    """Reads one annotation, its id excepted.

    Args:
        annotation, where, image_of, label_of: as for `reference_errors`.
        sizes: (height, width) of each image.
        drop: function that is called with the reason, once for each part that is left out.
        masks: whether it needs a mask.

    Returns:
        Index of the image, box, label and counts, None without masks; or None if all of it is left
        out.
    """
    _raise_first(reference_errors(annotation, where, image_of, label_of, masks))
    image = image_of[annotation["image_id"]]
    if annotation.get("iscrowd"):
        return drop(CROWD)
    box = read_box(annotation["bbox"], *sizes[image], where)
    if box[2] - box[0] < MIN_BOX_SIDE or box[3] - box[1] < MIN_BOX_SIDE:
        return drop(NO_AREA)
    if not masks:
        return image, box, label_of[annotation["category_id"]], None
    counts, short = read_segmentation(annotation["segmentation"], *sizes[image], where)
    if counts is None:
        return drop(NO_POLYGON)
    for _ in range(short):
        drop(FEW_POINTS)
    if not rle.touches(counts, box, *sizes[image]):
        return drop(NO_MASK)
    return image, box, label_of[annotation["category_id"]], counts


def _raise_first(errors):
    for error in errors:
        raise error


def _read_categories(content, path, category_ids, class_names):
    """Returns the names and the ids of the classes, in the order of the labels."""
    names = {}
    for category in content["categories"]:
        read_category(category, names, path)
    ids = order_categories(names, category_ids, path)
    known = {}
    if class_names:
        if len(class_names) != len(ids):
            raise DataError(
                f"{path}: class_names must be one for each of {len(ids)} categories."
                f" Received: class_names={reprlib.repr(tuple(class_names))}."
            )
        known = dict(zip(ids, class_names, strict=True))
        compare_names(names, known, path)
    return tuple(known.get(i, names.get(i, str(i))) for i in ids), ids


def _read_images(content, folder, path):
    """Returns ids, file names and (height, width) of all images, in the json's order."""
    ids, file_names, sizes = {}, [], []
    for image in content["images"]:
        identity = check_identity(image, ids, path, "image")
        image = with_local_path(image, folder)
        _raise_first(image_errors(image, f"{path}: image {identity!r}"))
        ids[identity] = len(ids)
        file_names.append(image["file_name"])
        sizes.append((image["height"], image["width"]))
    return tuple(ids), file_names, sizes


def _read_annotations(content, path, image_ids, sizes, category_ids, drop, masks):
    """Reads all annotations: those that are as most are at once, the others one by one.

    Args:
        sizes: list of (height, width) of the images.
        drop: function of a reason and an annotation's id.

    Returns:
        of each of A annotations the index of its image, (A,) int, -1 if it is left out; its box,
        (A, 4) float64; its label, (A,) int32; its outline, as of `Masks`, if there are masks.
    """
    annotations, count = content["annotations"], len(content["annotations"])
    image_of = {image_id: i for i, image_id in enumerate(image_ids)}
    label_of = {category_id: i + 1 for i, category_id in enumerate(category_ids)}
    images, labels = np.full(count, -1), np.zeros(count, np.int32)
    boxes, outlines, seen = np.zeros([count, 4]), [None] * count, set()
    sides = np.array(sizes)
    identities = [annotation.get("id") for annotation in annotations]
    sound = set(map(type, identities)) <= {int, str} and len(set(identities)) == count
    for start in range(0, count, _AT_ONCE):
        chunk = annotations[start : start + _AT_ONCE]
        regular = np.zeros(len(chunk), bool)
        if sound:
            regular, *found = _read_regular(chunk, image_of, sides, label_of, masks)
            of_chunk = start + np.flatnonzero(regular)
            images[of_chunk], boxes[of_chunk], labels[of_chunk] = found[:3]
            for i, outline in zip(of_chunk, found[3], strict=True):
                outlines[i] = outline
        for i in (start + np.flatnonzero(~regular)).tolist():
            annotation = annotations[i]
            identity = check_identity(annotation, seen, path, "annotation")
            seen.add(identity)
            read = read_annotation(
                annotation,
                f"{path}: annotation {identity!r}",
                image_of,
                sizes,
                label_of,
                lambda reason, identity=identity: drop(reason, identity),
                masks,
            )
            if read is not None:
                images[i], boxes[i], labels[i], outlines[i] = read
    return images, boxes, labels, outlines


def _read_regular(annotations, image_of, sizes, label_of, masks):
    """Reads those annotations that surely are instances, and nothing of which is left out.

    Returns:
        (n,) bool, which they are; of these m image indices, boxes (m, 4), labels and outlines.
    """
    chosen, images, labels, boxes, outlines = [], [], [], [], []
    for i, annotation in enumerate(annotations):
        get = annotation.get
        try:
            image, label = image_of.get(get("image_id")), label_of.get(get("category_id"))
        except TypeError:  # not even a possible id
            continue
        box, outline = compact(get("bbox")), None
        if image is None or label is None or get("iscrowd") not in (0, None):
            continue
        if box is None or len(box) != 4:
            continue
        if masks:
            outline = get("segmentation")
            outline = [compact(part) for part in outline] if type(outline) is list else ()
            if not outline or not all(
                p is not None and len(p) > 5 and not len(p) % 2 for p in outline
            ):
                continue
        chosen.append(i)
        images.append(image)
        labels.append(label)
        boxes.append(box)
        outlines.append(outline)
    images, labels = np.array(images, int), np.array(labels, np.int32)
    boxes = np.frombuffer(b"".join(boxes)).reshape(-1, 4).copy()
    finite = np.isfinite(boxes).all(axis=1)
    boxes[:, 2:] += boxes[:, :2]
    boxes = np.clip(np.where(finite[:, None], boxes, 0.0), 0.0, sizes[images][:, [1, 0, 1, 0]])
    sure = finite & ((boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= MIN_BOX_SIDE)
    if masks:
        sure &= surely_touch(outlines, boxes, sizes[images])
    regular = np.zeros(len(annotations), bool)
    regular[np.array(chosen, int)[sure]] = True
    outlines = [outlines[i] for i in np.flatnonzero(sure)]
    return regular, images[sure], boxes[sure], labels[sure], outlines


def read_box(bbox, height, width, where):
    """Turns COCO's [x, y, width, height] into [x1, y1, x2, y2] inside the image."""
    numbers = _numbers(bbox)
    if numbers is None or len(numbers) != 4:
        raise DataError(
            f"{where}: bbox must be 4 finite numbers [x, y, width, height]."
            f" Received: bbox={reprlib.repr(bbox)}.",
            "broken bbox",
        )
    x, y, w, h = numbers.tolist()
    right, bottom = float(width), float(height)
    x1, x2 = (min(max(v, 0.0), right) for v in (x, x + w))
    y1, y2 = (min(max(v, 0.0), bottom) for v in (y, y + h))
    return x1, y1, x2, y2


def read_segmentation(segmentation, height, width, where):
    """Returns compressed run lengths, or None if empty, and how many polygons were too short."""

    def error(expected, kind):
        received = reprlib.repr(segmentation)
        return DataError(f"{where}: {expected}. Received: segmentation={received}.", kind)

    if isinstance(segmentation, list):
        polygons = [_numbers(polygon) for polygon in segmentation]
        if any(polygon is None or len(polygon) % 2 for polygon in polygons):
            expected = "segmentation must be polygons [x1, y1, x2, y2, ...] of finite numbers"
            raise error(expected, "broken polygon")
        # pycocotools walks along every edge: 1e18 would take all memory before it fails.
        reach = max(height, width)
        if any(p.size and (p.min() < -reach or p.max() > 2 * reach) for p in polygons):
            raise error("polygon far outside the image", "polygon outside the image")
        long = [polygon.tolist() for polygon in long_polygons(polygons)]
        if not long:
            return None, 0
        return draw(long, height, width), len(polygons) - len(long)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        expected = "segmentation must be a list of polygons, or an object of size and counts"
        raise error(expected, "broken segmentation")
    if segmentation["size"] != [height, width]:
        raise error(f"segmentation must have the image's size {[height, width]}", "RLE size")
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
        raise error("counts must be run lengths that cover the image exactly", "broken RLE")
    if isinstance(counts, list):
        counts = mask_api.frPyObjects(segmentation, height, width)["counts"]
    return counts, 0


def _numbers(value):
    """Returns a list of finite numbers as a (n,) array, anything else as None."""
    if not isinstance(value, list | array.array):
        return None
    try:
        numbers = np.array(value)
    except ValueError:  # ragged
        return None
    numeric = numbers.ndim == 1 and numbers.dtype.kind in "iuf"
    return numbers if numeric and np.isfinite(numbers).all() else None


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)
