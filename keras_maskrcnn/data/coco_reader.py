"""Reads the lists of a COCO json into arrays, fast enough for a json of COCO's size.

Ordinary annotations are read in chunks with NumPy. Only unusual ones are checked one by one.
"""

import contextlib
import gc
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data.class_names import compare_names
from keras_maskrcnn.data.coco_checks import (
    MIN_BOX_SIDE,
    check_identity,
    image_errors,
    order_categories,
    raise_first,
    read_annotation,
    read_category,
    with_local_path,
)
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import MAX_PIXELS
from keras_maskrcnn.data.polygons import compact, surely_touch
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.typing import Path, Size

AT_ONCE = 16_384  # annotations that are checked together
_READ = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd")


def read_compact(path: Path) -> Any:
    """Reads the fields of a COCO json that `coco_dict` needs.

    Lists of numbers become arrays, so the content takes a tenth of the memory.

    Raises:
        DataError: as in `read_json`. A later error about the content may show arrays, not lists.
    """
    return read_json(path, _shrink)


def _shrink(entry):
    """Returns an entry with only the fields that are read, and with arrays for lists of numbers."""
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


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Turns the garbage collector off.

    Millions of new objects would start it again and again, although there is no garbage.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_categories(
    content: dict[str, Any],
    path: str,
    category_ids: Sequence[int] | None,
    class_names: Sequence[str] | None,
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns the names and the ids of the classes, in the order of the labels."""
    names: dict[int, str] = {}
    for category in content["categories"]:
        read_category(category, names, path)
    ids = order_categories(names, category_ids, path)
    known: dict[int, str] = {}
    if class_names:
        if len(class_names) != len(ids):
            raise DataError(
                f"{path}: class_names must be one for each of {len(ids)} categories."
                f" Received: class_names={reprlib.repr(tuple(class_names))}."
            )
        known = dict(zip(ids, class_names, strict=True))
        compare_names(names, known, path)
    return tuple(known.get(i, names.get(i, str(i))) for i in ids), ids


def read_images(
    content: dict[str, Any], folder: Path, path: str, max_pixels: int = MAX_PIXELS
) -> tuple[tuple[int | str, ...], list[str], list[Size]]:
    """Returns ids, file names and (height, width) of all images, in the json's order.

    Args:
        content, folder, path: the json, its folder of images, and its name in messages.
        max_pixels: int. Limit of the pixels of an image.
    """
    ids: dict[int | str, int] = {}
    file_names, sizes = [], []
    for image in content["images"]:
        identity = check_identity(image, ids, path, "image")
        image = with_local_path(image, folder)
        raise_first(image_errors(image, f"{path}: image {identity!r}", max_pixels))
        ids[identity] = len(ids)
        file_names.append(image["file_name"])
        sizes.append((image["height"], image["width"]))
    return tuple(ids), file_names, sizes


def read_annotations(
    content: dict[str, Any],
    path: str,
    image_ids: Sequence[int | str],
    sizes: Sequence[Size],
    category_ids: Sequence[int],
    drop: Callable[[str, int | str], None],
    masks: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Any]]:
    """Reads all A annotations: ordinary ones in chunks, the others one by one.

    Args:
        content: dict of a COCO json.
        path: str. The json's name in error messages.
        image_ids: list of the images' ids.
        sizes: list of (height, width) of the images.
        category_ids: list of the categories' ids, in the order of the labels.
        drop: function that is called with a reason and an annotation's id.
        masks: bool. Whether outlines are read.

    Returns:
        images: (A,) int. The index of each annotation's image, -1 if the annotation is left out.
        boxes: (A, 4) float64.
        labels: (A,) int32.
        outlines: list of A, as in `Masks`; None without masks.
    """
    annotations = content["annotations"]
    count, sides = len(annotations), np.array(sizes)
    image_of = {image_id: i for i, image_id in enumerate(image_ids)}
    label_of = {category_id: i + 1 for i, category_id in enumerate(category_ids)}
    images, labels = np.full(count, -1), np.zeros(count, np.int32)
    boxes = np.zeros([count, 4])
    outlines: list[Any] = [None] * count
    seen: set[int | str] = set()
    identities = [annotation.get("id") for annotation in annotations]
    kinds = set(map(type, identities))
    sound = bool not in kinds and all(issubclass(kind, int | str) for kind in kinds)
    sound = sound and len(set(identities)) == count
    for start in range(0, count, AT_ONCE):
        chunk = annotations[start : start + AT_ONCE]
        regular = np.zeros(len(chunk), bool)
        if sound:
            found = read_regular(chunk, image_of, sides, label_of, masks)
            regular, of_chunk = found[0], start + np.flatnonzero(found[0])
            images[of_chunk], boxes[of_chunk], labels[of_chunk] = found[1:4]
            for i, outline in zip(of_chunk, found[4], strict=True):
                outlines[i] = outline
        for i in (start + np.flatnonzero(~regular)).tolist():
            identity = check_identity(annotations[i], seen, path, "annotation")
            seen.add(identity)
            where = f"{path}: annotation {identity!r}"
            instance, reasons = read_annotation(
                annotations[i], where, image_of, sizes, label_of, masks
            )
            for reason in reasons:
                drop(reason, identity)
            if instance is not None:
                images[i], boxes[i], labels[i], outlines[i] = instance
    return images, boxes, labels, outlines


def read_regular(
    annotations: Sequence[dict[str, Any]],
    image_of: Mapping[Any, int],
    sizes: np.ndarray,
    label_of: Mapping[Any, int],
    masks: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[Any]]:
    """Reads the annotations that are certainly valid instances without any dropped part.

    Returns:
        regular: (n,) bool. Which of the n annotations these are.
        images, boxes, labels, outlines: of these m annotations, as in `read_annotations`.
    """
    chosen, images, labels, boxes = [], [], [], []
    outlines: list[Any] = []
    for i, annotation in enumerate(annotations):
        get = annotation.get
        try:
            image, label = image_of.get(get("image_id")), label_of.get(get("category_id"))
        except TypeError:  # an id that is not hashable, such as a list
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
    finite: Any = np.isfinite(boxes).all(axis=1)
    boxes[:, 2:] += boxes[:, :2]
    boxes = np.clip(np.where(finite[:, None], boxes, 0.0), 0.0, sizes[images][:, [1, 0, 1, 0]])
    sure = finite & ((boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= MIN_BOX_SIDE)
    if masks:
        sure &= surely_touch(outlines, boxes, sizes[images])
    regular = np.zeros(len(annotations), bool)
    regular[np.array(chosen, int)[sure]] = True
    outlines = [outlines[i] for i in np.flatnonzero(sure)]
    return regular, images[sure], boxes[sure], labels[sure], outlines
