"""Reads masks from PNG files: numbered instances in one file, or one file per instance."""

import collections
import os
import reprlib
from typing import Any

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content, list_files, list_images
from keras_maskrcnn.data.images import (
    read_image,
    read_index,
    require_mask_size,
)
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path

NO_MASK = "image without a mask file"
NO_IMAGE = "mask file without an image"
NO_NUMBER = "value below label_divisor: a class without the number of an instance"


def mask_images(
    images: Path,
    annotations: Path,
    *,
    label_divisor: int | None = None,
    mask_threshold: int | None = None,
    class_names: ClassNames | None = None,
    **options: Any,
) -> CocoDataset:
    """Reads PNG masks.

    The folder of annotations has one of these for the image `a/b.jpg`:

    - `a/b.png` or `a/b_mask.png`: an index mask. 0 is background, and every other value is one
      instance, connected or not. It has 8 or 16 bits, a palette, or a color per instance.
    - `a/b/*.png`: one file per instance. The instance is where the pixels are not 0.
    - for the image `a/images/b.jpg` also `a/masks/*.png`: one file per instance.

    If masks and images are in separate folders, masks may also be lossless TIFFs (`a/b.tif`, ...).

    Images without masks, and masks without an image, are left out and counted. An index mask with
    soft (antialiased) edges is refused, because each gray level would become an instance; with
    `mask_threshold` the file is one instance.

    Args:
        images: folder of the images, with its subfolders.
        annotations: folder of the masks, with the same subfolders. It may be the same folder.
        label_divisor: int. If given, the value of an instance is its class * label_divisor + its
            number, as in Cityscapes with 1000. By default all instances are of one class.
        mask_threshold: int in 1..255. If given, every file holds one instance: the pixels that are
            at least this bright when the file is read as an 8-bit image.
        class_names: as in `read_class_names`. By default "object" if there is no `label_divisor`,
            otherwise the numbers of the classes found.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if a mask or an image cannot be used, or no image has a mask.
    """
    _check_numbers(label_divisor, mask_threshold)
    if label_divisor is None and class_names is None:
        class_names = ["object"]
    content = Content(images, class_names, options=options)
    if label_divisor is None:
        content.the_class()  # raises unless there is exactly one class
    images, annotations = os.path.abspath(images), os.path.abspath(annotations)
    names, files = list_images(images), _mask_files(images, annotations)
    masks_of = _match(images, names, annotations, files)
    uses = collections.Counter(mask for masks in masks_of.values() for mask in masks)
    if not uses:
        raise DataError(f"{annotations}: no mask belongs to an image. Received: images={images!r}.")
    for name, masks in masks_of.items():
        path = os.path.join(images, name)
        if path in uses:  # the mask of another image, in the same folder
            continue
        if not masks:
            content.drop(NO_MASK, path)
            continue
        size = content.add_image(name, path, has_mask=True)
        if size is None:
            continue
        for mask, is_index in masks.items():
            if uses[mask] > 1:
                raise DataError(f"{mask}: the mask belongs to several images. Received: {path}.")
            segmentations = _read(mask, is_index, size, label_divisor, mask_threshold)
            _add_instances(content, name, mask, segmentations, label_divisor)
    for mask in sorted(files - uses.keys() - {os.path.join(images, name) for name in names}):
        content.drop(NO_IMAGE, mask)
    return content.dataset(annotations, options)


def _check_numbers(label_divisor, mask_threshold):
    """Raises ValueError for numbers that are out of range or exclude each other."""
    if label_divisor is not None and label_divisor < 1:
        raise ValueError(
            f"label_divisor must be positive. Received: label_divisor={label_divisor}."
        )
    if mask_threshold is not None and (not 1 <= mask_threshold <= 255 or label_divisor):
        raise ValueError(
            "mask_threshold must be from 1 to 255, and cannot be used with label_divisor."
            f" Received: mask_threshold={mask_threshold}, label_divisor={label_divisor}."
        )


def _mask_files(images, annotations):
    """Returns the set of paths that may be masks."""
    # If images and masks share a folder, a TIFF beside a PNG is the image and not the mask.
    shared = os.path.realpath(images) == os.path.realpath(annotations)
    suffixes = (".png",) if shared else (".png", ".tif", ".tiff")
    return {os.path.join(annotations, name) for name in list_files(annotations, suffixes)}


def _match(images, names, annotations, files):
    """Returns the masks of every image, as a dict of path to whether it is an index mask."""
    in_folder, by_stem = collections.defaultdict(list), collections.defaultdict(list)
    for path in sorted(files):
        in_folder[os.path.dirname(path)].append(path)
        by_stem[os.path.splitext(path)[0]].append(path)
    masks_of = {}
    for name in names:
        image, stem = (
            os.path.join(images, name),
            os.path.join(annotations, os.path.splitext(name)[0]),
        )
        index_masks = [path for end in ("", "_mask") for path in by_stem.get(f"{stem}{end}", ())]
        folders, parent = [stem], os.path.dirname(stem)
        if os.path.basename(parent) == "images":
            folders.append(os.path.join(os.path.dirname(parent), "masks"))
        found = [{path: True} for path in index_masks if path != image]
        found += [dict.fromkeys(in_folder[f], False) for f in folders if f in in_folder]
        if len(found) > 1:
            first = [next(iter(masks)) for masks in found]
            raise DataError(f"{image}: masks in more than one place. Received: {first}.")
        masks_of[name] = found[0] if found else {}
    return masks_of


def _add_instances(content, name, mask, segmentations, label_divisor):
    """Adds an instance for each value of a mask. Its class is in the value, or the only one."""
    for value, segmentation in segmentations.items():
        where = f"{mask}: value {value}"
        if label_divisor is None:
            content.add(name, content.the_class(), segmentation, where)
        elif value < label_divisor:
            content.drop(NO_NUMBER, where)
        else:
            content.add(name, value // label_divisor, segmentation, where)


def _read(path, is_index, size, label_divisor, threshold):
    """Returns a dict of value to run lengths. A mask of one instance, maybe empty, has value 1."""
    if label_divisor is not None and not is_index:
        raise DataError(
            f"{path}: a file with one instance cannot hold a class."
            f" Received: label_divisor={label_divisor}."
        )
    if threshold is not None:
        gray = read_image(path).max(axis=2)
        require_mask_size(path, gray.shape, size)
        return {1: rle.encode_region(gray >= threshold, (0, 0), *size)}
    index = read_index(path, size)
    if not is_index:
        return {1: rle.encode_region(index != 0, (0, 0), *size)}
    soft = _edge_values(index)
    if len(soft):
        raise DataError(
            f"{path}: {len(soft)} values lie along edges only, like the gray levels of soft edges;"
            " each value would be an object. mask_threshold=128 takes all pixels of at least this"
            " value as one object. If these are real objects that touch, use one file per object."
            f" Received: values={reprlib.repr(soft.tolist())}."
        )
    return rle.encode_values(index)


def _edge_values(index):
    """Returns the values of an index mask that are soft edges; empty if they are not the majority.

    The value of a soft edge nowhere fills 3 x 3 pixels, and its pixels touch those of another
    object. Few pixels of small or thin objects do.
    """
    values = _values(index)
    if len(values) < 4:
        return values[:0]
    around = np.pad(index.astype(np.int32), 1, mode="edge")
    middle = around[:, 1:-1]
    row = (middle == around[:, :-2]) & (middle == around[:, 2:])
    inside = row[:-2] & row[1:-1] & row[2:]
    inside &= (middle[1:-1] == middle[:-2]) & (middle[1:-1] == middle[2:])
    thin = np.setdiff1d(values, _values(index[inside]))
    if len(thin) < 3 or 2 * len(thin) <= len(values):
        return thin[:0]
    y, x = np.nonzero(np.isin(index, thin))
    steps = [(dy, dx) for dy in range(3) for dx in range(3)]
    beside = np.stack([around[y + dy, x + dx] for dy, dx in steps])
    touches = ((beside != 0) & (beside != index[y, x])).any(axis=0)
    return thin if touches.mean() >= 0.9 else thin[:0]


def _values(index):
    """Returns the values of an index mask in ascending order, without 0."""
    small = index.max(initial=0) < 2**16  # then counting is faster than sorting
    values = np.flatnonzero(np.bincount(index.ravel())) if small else np.unique(index)
    return values[values != 0]
