"""Reads volumes slice by slice: zarr, OME-Zarr, HDF5, and TIFF or OME-TIFF with a page per slice.

Nothing in a file is executed. Slices that a file takes from other files are refused.
"""

import math
import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.data import images
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.items import ItemsDataset, from_items
from keras_maskrcnn.data.sources import tiff_page, tiff_source, zarr_folder
from keras_maskrcnn.typing import ClassNames, Size

_CHUNK_BYTES = 2**29  # a chunk is decoded whole
_WANTED = "(slices, height, width), with a last axis for bands, or axes named as in OME"


def from_volume(
    images: Any,
    labels: Any,
    *,
    label_classes: Mapping[int, Any] | None = None,
    class_names: ClassNames | None = None,
    **options: Any,
) -> ItemsDataset:
    """Makes a data set of a volume of images and a volume of labels; each slice is an image.

    A slice is read when it is needed. In a slice all pixels with one label are one instance, even
    if they do not touch; 0 is background. An object of several slices is an instance in each.

    Args:
        images: the volume: an array (Z, H, W) or (Z, H, W, C), or anything else with a shape and
            slicing; or a path of a TIFF, of a zarr folder, or inside of a zarr folder or an HDF5
            file, as "cells.h5/volumes/raw". OME-TIFF and OME-Zarr may also have axes t and c; one
            of t and z may be longer than 1.
        labels: the labels, of the same kinds, in whole numbers. An OME-Zarr image has them in
            "cells.zarr/labels/NAME".
        label_classes: dict of label to class, for several classes.
        class_names: as in `from_items`.
        **options: keyword arguments of `from_items`, such as channels, image_dtype and pixel_max.

    Returns:
        `ItemsDataset`.

    Raises:
        ImportError: if a file needs an extra, `zarr` or `tiff`. The message names it.
        DataError: if a volume cannot be read, or the two have other slices or sizes.
    """
    pixels, numbers = _Volume(images, "images"), _Volume(labels, "labels")
    if numbers.bands or (len(pixels), pixels.slice) != (len(numbers), numbers.slice):
        raise DataError(
            f"{numbers.name}: labels must have the slices, height and width of the images,"
            f" {(len(pixels), *pixels.slice)}, and no bands."
            f" Received: {(len(numbers), *numbers.slice)}, bands={numbers.bands}."
        )
    names = [f"{os.path.basename(pixels.name)} {i}" for i in range(len(pixels))]
    options = {"names": names, "class_names": class_names, **options}
    return from_items(_Slices(pixels, numbers, label_classes), **options)


class _Slices:
    """`typing.Items` of two volumes."""

    def __init__(self, pixels, numbers, classes):
        self._pixels, self._numbers, self._classes = pixels, numbers, classes

    def __len__(self):
        return len(self._pixels)

    def size(self, index):
        return self._pixels.slice

    def load_image(self, index):
        return self._pixels[index]

    def annotations(self, index):
        labels = self._numbers[index]
        if self._classes is None:
            return {"masks": labels}
        values = [int(value) for value in np.unique(labels) if value]
        return {"masks": labels, "labels": {v: self._classes[v] for v in values if self._knows(v)}}

    def _knows(self, value):
        if value not in self._classes:
            raise DataError(
                f"{self._numbers.name}: every label needs a class in label_classes."
                f" Received: label={value}."
            )
        return True


class _Volume:
    """A volume whose slices are read one at a time, as (H, W) or (H, W, C)."""

    def __init__(self, source, argument):
        self.name = f"the array {argument}"
        axes = None
        if isinstance(source, str | os.PathLike):
            self.name = os.fspath(source)
            source, axes = _opened(self.name)
        shape = tuple(getattr(source, "shape", ()))
        axes = axes or {3: "zyx", 4: "zyxc"}.get(len(shape), "")
        sizes = dict(zip(axes, shape, strict=False))
        stacks = [axis for axis in axes if axis not in "yxc" and sizes[axis] > 1] or ["z"]
        usable = len(axes) == len(set(axes)) == len(shape) and set("yx") <= set(axes)
        if not usable or not set(axes) <= set("tzcyx") or len(stacks) > 1 or 0 in shape:
            line = f"{self.name}: a volume must be {_WANTED}; z or t may be longer than 1."
            raise DataError(f"{line} Received: shape={shape}, axes={axes!r}.", "unreadable image")
        self._array, self._axes, self._stack = source, axes, stacks[0]
        self._count = sizes.get(stacks[0], 1)
        self.slice: Size = (sizes["y"], sizes["x"])
        self.bands = sizes.get("c", 1) > 1
        if self.slice[0] * self.slice[1] > images.MAX_PIXELS:
            line = f"{self.name}: a slice must have at most {images.MAX_PIXELS} pixels."
            raise DataError(f"{line} Received: {self.slice}.", "image too large")

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        bands = slice(None) if self.bands else 0
        part = {"y": slice(None), "x": slice(None), "c": bands, self._stack: index}
        try:
            pixels = np.asarray(self._array[tuple(part.get(axis, 0) for axis in self._axes)])
        except DataError:
            raise
        except Exception as error:  # readers raise nearly everything on broken files
            line = f"{self.name}: slice {index} cannot be read. Received: {error!r}."
            raise DataError(line, "unreadable image") from error
        left = [a for a in self._axes if a in "yx" or (a == "c" and self.bands)]
        return pixels.transpose([left.index(axis) for axis in "yxc" if axis in left])


def _opened(path):
    """Opens a file or a folder: an array and its axes, None for those of `_Volume`."""
    if os.path.isdir(path):
        return zarr_folder.open_volume(path)
    if os.path.isfile(path) and tiff_source.is_tiff(path):
        return _open_tiff(path)
    outer = path
    while outer and not os.path.exists(outer):
        outer = os.path.dirname(outer)
    try:
        import h5py  # Keras needs it, too

        return _dataset(h5py.File(outer, "r"), os.path.relpath(path, outer)), None
    except Exception as error:  # h5py raises nearly everything on broken files
        line = f"{path}: not a TIFF, a zarr folder, or the path of a data set in an HDF5 file."
        detail = " ".join(str(error).split()).rstrip(".") or repr(error)
        raise DataError(f"{line} Received: {detail}.", "unreadable image") from error


def _dataset(file, name):
    """Returns a data set of an HDF5 file whose numbers are in this file."""
    import h5py

    found: Any = file
    for step in name.split(os.sep):
        if not isinstance(found, h5py.Group) or step not in found:
            given = sorted(found)[:5] if isinstance(found, h5py.Group) else "a data set"
            raise ValueError(f"{step!r} is not in the file, but {given}")
        if isinstance(found.get(step, getlink=True), h5py.ExternalLink):
            raise ValueError(f"{step!r} is in another file")
        found = found[step]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"a group with {sorted(found)[:5]}")
    if found.is_virtual or found.external or found.file.filename != file.filename:
        raise ValueError(f"{name!r} is in another file")
    if math.prod(found.chunks or (1,)) * found.dtype.itemsize > _CHUNK_BYTES:
        raise ValueError(f"chunks={found.chunks}, of over {_CHUNK_BYTES} bytes")
    return found


def _open_tiff(path):
    """Opens the first series of a TIFF whose pages are slices, or bands of slices."""
    with tiff_source.opened(path) as tif:
        series, file_bytes = tif.series[0], tif.filehandle.size
        axes = series.axes.lower().replace("s", "c").replace("q", "z").replace("i", "z")
        if not set("zt") & set(axes) and axes.startswith("c"):
            axes = "z" + axes[1:]  # so tifffile calls pages that nobody named
        pages = list(series.pages)
        elsewhere = any(page is None or page.parent is not tif for page in pages)
        if elsewhere or len(pages) * math.prod(pages[0].shape) != math.prod(series.shape):
            line = f"{path}: a TIFF must have each slice in a page of its own, in this one file."
            raise DataError(f"{line} Received: {len(pages)} pages for shape={series.shape}.")
        return _Pages(pages, series.shape, path, file_bytes), axes


class _Pages:
    """The pages of a TIFF as one array, which is sliced along its first axes."""

    def __init__(self, pages, shape, name, file_bytes):
        self.shape, self._pages = tuple(shape), pages
        self._name, self._file_bytes = name, file_bytes
        self._lock = threading.Lock()  # of the one file that several threads read

    def __getitem__(self, index):
        first = len(self.shape) - len(self._pages[0].shape)
        numbers = np.arange(len(self._pages)).reshape(self.shape[:first])[index[:first]]
        found = [self._read(self._pages[number]) for number in np.ravel(numbers)]
        whole = np.reshape(found, [*np.shape(numbers), *found[0].shape])
        return whole[(..., *index[first:])]

    def _read(self, page):
        with self._lock:
            page = page.aspage()  # for a series tifffile reads only a part of the header
            tiff_page.check(page, self._name, self._file_bytes)
            return page.asarray(maxworkers=1)
