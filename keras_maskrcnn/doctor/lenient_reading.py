"""Reads a COCO json and its images like training does, but goes on after an error.

Each function returns the data and the problems that it found. It calls the checks of
data/coco_checks.py and data/images.py, so it reports exactly the errors that training would raise.
"""

import collections
import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import with_crowds
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import MAX_PIXELS, remark_line, require_size, tag_remarks
from keras_maskrcnn.data.pillow_files import tag_of_file
from keras_maskrcnn.data.pixels import read_header, read_with_remarks
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.data.tiled_set import open_big_image
from keras_maskrcnn.doctor import pixel_ranges
from keras_maskrcnn.doctor.findings import DROPPED, ERROR, WARNING, Examination, Problem
from keras_maskrcnn.typing import Size

LISTS = ("images", "annotations", "categories")
DROPPED_KINDS = {
    coco_checks.CROWD: "crowd",
    coco_checks.NO_AREA: "box without area",
    coco_checks.NO_POLYGON: "no polygon",
    coco_checks.NO_MASK: "no mask in the box",
    coco_checks.FEW_POINTS: "polygon of few points",
}
"""Reasons for which a reader drops an annotation, and the kind of problem that each one is here."""
DROPPED_REASONS = {kind: reason for reason, kind in DROPPED_KINDS.items()}


def read_content(
    path: str, crowds: str, given: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[str], list[Problem]]:
    """Reads the json.

    Args:
        path: str. The file, or the name of `given` in messages.
        given: dict. The content, if it is in memory.
        crowds: as in `coco_dict`.

    Returns:
        content: dict. All three lists exist and hold only objects.
        cut: the names of the lists that were missing, or held anything but objects.
        problems: list of Problem.
    """
    content: Any = {key: [] for key in LISTS}
    try:
        content = read_json(path) if given is None else given
        problems = [Problem.of(error) for error in coco_checks.list_errors(content, path)]
    except DataError as error:
        problems = [Problem.of(error)]
    content, cut = dict(content) if isinstance(content, dict) else {}, []
    for key in LISTS:
        entries = content.get(key)
        listed = entries if isinstance(entries, list) else []
        content[key] = [entry for entry in listed if isinstance(entry, dict)]
        if len(content[key]) < len(listed) or listed is not entries:
            cut.append(key)
    return with_crowds(content, crowds), cut, problems


def has_outlines(content: Mapping[str, Any]) -> bool:
    """Whether training on this content needs masks: an annotation has an outline, or none a box."""
    annotations = content["annotations"]
    outlines = any(entry.get("segmentation") for entry in annotations)
    return outlines or not any(entry.get("bbox") for entry in annotations)


def read_categories(
    categories: Sequence[dict[str, Any]], source: str, *, needed: bool = True
) -> tuple[dict[int, str], list[Problem]]:
    """Reads the categories.

    Args:
        categories: list of dict.
        source: str. The beginning of lines.
        needed: whether it is an error if there are none.

    Returns:
        names: dict of id to name, label 1 first.
        problems: list of Problem.
    """
    found: dict[int, str] = {}
    ids: tuple[int, ...] = ()
    problems = []
    for category in categories:
        try:
            coco_checks.read_category(category, found, source)
        except DataError as error:
            problems.append(Problem.of(error))
    if categories or needed:
        try:
            ids = coco_checks.order_categories(found, None, source)
        except DataError as error:
            problems.append(Problem.of(error))
    names = {identity: found[identity] for identity in ids}
    first: dict[str, int] = {}
    for identity, name in names.items():
        other = first.setdefault(name, identity)
        if other != identity:
            line = f"{source}: categories {other} and {identity} are both named {name!r}."
            problems.append(Problem("two categories of one name", WARNING, line))
    return names, problems


def read_images(
    images: Sequence[dict[str, Any]], source: str, folder: str, max_pixels: int = MAX_PIXELS
) -> tuple[list[Any], list[Size | None], dict[Any, int], list[Problem]]:
    """Reads the entries of images; `decode_images` reads their files.

    Args:
        images: list of dict.
        source: str. The beginning of lines.
        folder: str. Folder that file names are relative to.
        max_pixels: int. Limit of the pixels of an image.

    Returns:
        file_names: as in `Examination`.
        sizes: as in `Examination`.
        image_of: as in `Examination`.
        problems: list of Problem.
    """
    file_names, sizes, problems = [], [], []
    image_of: dict[Any, int] = {}
    first: dict[Any, int] = {}
    for i, entry in enumerate(images):
        where = f"{source}: image {entry.get('id')!r}"
        try:
            image_of[coco_checks.check_identity(entry, image_of, source, "image")] = i
        except DataError as error:
            problems.append(Problem.of(error, image=i))
        entry = coco_checks.with_local_path(entry, folder)
        name = entry.get("file_name")
        errors = list(coco_checks.image_errors(entry, where, max_pixels))
        problems += [Problem.of(error, image=i) for error in errors]
        has_size = all(error.kind != "broken image size" for error in errors)
        file_names.append(name)
        sizes.append((entry["height"], entry["width"]) if has_size else None)
        if isinstance(name, str):
            other = first.setdefault(os.path.normpath(name), i)
            if other != i:
                line = f"{where}: image {images[other].get('id')!r} has the same file."
                line += f" Received: file_name={name!r}."
                problems.append(Problem("two images of one file", WARNING, line, image=i))
    return file_names, sizes, image_of, problems


def decode_images(
    found: Examination,
    progress: Callable[[Sequence[Any]], Iterable[Any]],
    sample: int | None = None,
) -> tuple[list[Problem], dict[int, pixel_ranges.Bands], int]:
    """Reads every image with a usable file name.

    Of images that are read in tiles or are not in the sample, only the header is read.

    Args:
        found: `Examination`.
        progress, sample: as in `examine`.

    Returns:
        The problems, a dict of an image's index to the values of its bands, if they are measured,
            and the number of images whose pixels were read.
    """
    measured = {}
    unusable = ("broken file name", "path outside the folder")
    unnamed = {problem.image for problem in found.problems if problem.kind in unusable}
    indices = [i for i in range(len(found.sizes)) if i not in unnamed]
    chosen = set() if found.in_tiles else _sample(indices, sample)

    def look_at(i, path, size, image):
        if size is not None:
            require_size(path, image.shape[:2], size)
        if pixel_ranges.is_measured(found.reading):
            measured[i] = pixel_ranges.measure(image)

    def check(i):
        path, size = os.path.join(found.images, found.file_names[i]), found.sizes[i]
        remarks: list[str] = []
        try:
            tell = size is not None
            if found.load_image is None and found.in_tiles:
                with open_big_image(path, size, found.reading) as source:
                    remarks = source.tag_remarks(sides_tell=tell)
            elif found.load_image is not None:
                remarks = _file_remarks(path, size, found.reading)
                if i in chosen:
                    look_at(i, path, size, found.load_image(i))
            elif i in chosen:
                image, remarks = read_with_remarks(path, None, found.reading, sides_tell=tell)
                look_at(i, path, size, image)
            else:
                actual, remarks = read_header(path, None, found.reading, sides_tell=tell)
                if size is not None:
                    require_size(path, actual, size)
        except DataError as error:
            return [Problem.of(error, image=i)]
        lines = {remark: remark_line(remark, [found.file_names[i]]) for remark in remarks}
        return [
            Problem(remark, WARNING, f"{found.annotations}: {line}", image=i)
            for remark, line in lines.items()
        ]

    problems = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for _, of_image in zip(progress(indices), pool.map(check, indices), strict=True):
            problems += of_image
    return problems, dict(sorted(measured.items())), len(chosen)


def _sample(indices, size):
    """Returns a set of so many of the indices, always the same ones; all if size is None."""
    if size is None or size >= len(indices):
        return set(indices)
    return set(np.random.default_rng(0).choice(indices, size, replace=False).tolist())


def _file_remarks(path: str, size: Size | None, reading: Reading) -> list[str]:
    """Returns the remark about the orientation tag of an image, if it is a file that has one.

    Args:
        path: str. The file; there may be none.
        size: (height, width) according to the annotations, or None.
        reading: `data.bands.Reading`.
    """
    sides, tell = size or (0, 0), size is not None
    return tag_remarks(tag_of_file(path), sides, tell, reading.orientation)


def read_annotations(
    content: dict[str, Any],
    source: str,
    image_of: Mapping[Any, int],
    sizes: Sequence[Size | None],
    label_of: Mapping[Any, int],
    masks: bool,
) -> tuple[dict[str, Any], list[Problem]]:
    """Reads every annotation as `coco_json` does.

    Args:
        content: dict, as `read_content` returns it.
        source: str. The beginning of lines.
        image_of, sizes, label_of, masks: as in `Examination`.

    Returns:
        instances: dict of entries, image_index, boxes, labels and counts, as in `Examination`.
        problems: list of Problem.
    """
    instances, problems = [], []
    seen: set[int | str] = set()
    unchecked: collections.Counter[int] = collections.Counter()
    for i, annotation in enumerate(content["annotations"]):
        where = f"{source}: annotation {annotation.get('id')!r}"
        image = image_of_annotation(annotation, image_of)
        try:
            seen.add(coco_checks.check_identity(annotation, seen, source, "annotation"))
        except DataError as error:
            problems.append(Problem.of(error, image, i))
        if image is not None and sizes[image] is None:
            unchecked[image] += 1
        instance, reasons, errors = _read_annotation(
            annotation, where, image_of, sizes, label_of, masks
        )
        if instance is not None:
            instances.append((i, *instance))
        for reason in reasons:
            line = f"{where}: left out: {reason}."
            problems.append(Problem(DROPPED_KINDS[reason], DROPPED, line, image, i))
        problems += [Problem.of(error, image, i) for error in errors]
    for image, count in unchecked.items():
        identity = content["images"][image]["id"]
        line = f"image {identity!r}: no size, so {count} annotations are not checked."
        problems.append(Problem("annotation not checked", WARNING, f"{source}: {line}", image))
    instances.sort(key=lambda instance: instance[1])  # stable: by image, then in the json's order
    columns = [[instance[k] for instance in instances] for k in range(5)]
    return {
        "entries": np.array(columns[0], int),
        "image_index": np.array(columns[1], int),
        "boxes": np.array(columns[2], float).reshape(-1, 4),
        "labels": np.array(columns[3], int),
        "counts": columns[4],
    }, problems


def image_of_annotation(annotation: Mapping[str, Any], image_of: Mapping[Any, int]) -> int | None:
    """Returns the index of an annotation's image, or None if there is no such image."""
    identity = annotation.get("image_id")
    return None if isinstance(identity, list | dict) else image_of.get(identity)


def _read_annotation(annotation, where, image_of, sizes, label_of, masks):
    """Returns an instance or None, the reasons why parts are left out, and all errors.

    `coco_checks.read_annotation` raises the first error only. If the size of the image is unknown,
    checks that need it are left out.
    """
    image = image_of_annotation(annotation, image_of)
    size = None if image is None else sizes[image]
    if image is None or size is not None:
        with contextlib.suppress(DataError):
            read = coco_checks.read_annotation(annotation, where, image_of, sizes, label_of, masks)
            return *read, []
    errors = list(coco_checks.reference_errors(annotation, where, image_of, label_of, masks))
    readers: dict[str, Callable[..., Any]] = {"bbox": coco_checks.read_box}
    if masks:
        readers["segmentation"] = coco_checks.read_segmentation
    for key, read in readers.items():
        if size is not None and annotation.get(key) is not None:
            try:
                read(annotation[key], *size, where)
            except DataError as error:
                errors.append(error)
    return None, [], errors


def no_instances(found: Examination, problems: Sequence[Problem]) -> list[Problem]:
    """Returns an error if nothing is left to train on although there are no other errors."""
    if len(found.entries) or any(problem.severity == ERROR for problem in problems):
        return []
    dropped = collections.Counter(
        DROPPED_REASONS[problem.kind] for problem in problems if problem.severity == DROPPED
    )
    return [Problem.of(coco_checks.no_instances(found.annotations, dropped, found.masks))]
