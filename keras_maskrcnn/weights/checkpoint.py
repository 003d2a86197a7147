"""Reads checkpoints of other frameworks as {name: array} with NumPy, without executing any code.

A pickle may only build numbers, strings, lists, tuples, dicts, arrays (`data/pickles.py`) and
tensors. Sizes that a file declares are compared with its length before memory is allocated.
"""

import io
import math
import os
import reprlib
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np

from keras_maskrcnn.data import archives, pickles
from keras_maskrcnn.typing import Path


class CheckpointError(ValueError):
    """Raised for a checkpoint that cannot be read or does not fit; the message names the file."""


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint.

    Args:
        path: str. A file of PyTorch (.pth or .pt, zip or legacy), detectron2 or Caffe2 (.pkl),
            NumPy (.npz), Keras (.h5, .weights.h5), or safetensors (.safetensors; needs the
            package `safetensors`, in the extra `weights`). The format is recognized by the file's
            content, except .safetensors.

    Returns:
        dict of str to np.ndarray. Names in nested dicts are joined with "/". If the file has a
            dict named "model", "state_dict" or "blobs", as in `{"model": {...}, "epoch": 3}`, only
            this dict is read. bfloat16 becomes float32. Values that are not arrays are left out.
            Keys of Keras 3 are "layers/CLASS/LAYER/NUMBER".

    Raises:
        CheckpointError: if the file is missing, broken, of another format or without arrays, if
            its pickle would call a function, or if it declares far more data than it holds.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            head = file.read(16)
            file.seek(0)
            arrays = _flatten(_model_part(_reader(path, head)(path, file)))
    except CheckpointError:
        raise
    except pickles.Refused as error:
        raise CheckpointError(f"{path} is refused: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile, pickle, h5py and NumPy raise a dozen different kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is broken: {reason}") from error
    if not arrays:
        raise CheckpointError(f"{path} holds no arrays.")
    return arrays


def require_finite(path: Path, name: str, array: np.ndarray) -> None:
    """Raises CheckpointError if an array of a file has NaN or infinite values."""
    bad = np.size(array) - np.count_nonzero(np.isfinite(array))
    if bad:
        raise CheckpointError(
            f"{path}: weights must be finite. They may come from a training run that diverged. "
            f"Received: {bad} of {np.size(array)} numbers of {name} are not finite."
        )


def require_own_arrays(path: Path) -> None:
    """Raises ValueError if an array of an .h5 file lies in another file.

    Keras 3.15 refuses such files too. Keras 3.13.2 follows links.
    """
    import h5py

    def linked(name, link):
        return name if isinstance(link, h5py.ExternalLink) else None

    def elsewhere(name, item):
        return name if isinstance(item, h5py.Dataset) and _lies_elsewhere(item) else None

    with h5py.File(path, "r") as file:
        name = file.visititems_links(linked) or file.visititems(elsewhere)
    if name:
        raise ValueError(f"{name} lies in another file")


def _lies_elsewhere(dataset):
    return bool(dataset.external or dataset.is_virtual)


def _reader(path, head):
    if head.startswith(b"PK"):
        archives.check_zip(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return _read_npz if any(name.endswith(".npy") for name in names) else _read_torch_zip
    if head.startswith(b"\x89HDF"):
        return _read_h5
    if path.endswith(".safetensors"):
        return _read_safetensors
    # Pickles of Python 2 and 3. PyTorch's legacy format is a sequence of five pickles.
    if head[:1] in (b"\x80", b"(", b"}", b"c"):
        return _read_pickle
    raise CheckpointError(
        f"{path} is not a checkpoint: expected a file of PyTorch, a pickle, .npz, .h5 or "
        f".safetensors. Received: a file that begins with {head[:8]!r}."
    )


def _read_npz(path, file):
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _read_h5(path, file):
    import h5py

    arrays, seen, room = {}, set(), archives.room(path)

    def visit(group, prefix, depth):
        nonlocal room
        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                continue  # a link to another file, or a symbolic link
            item, name = group[key], f"{prefix}{key}"
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            _check_entry(len(seen), depth, name)
            if isinstance(item, h5py.Group):
                visit(item, f"{name}/", depth + 1)
            elif isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":
                room -= item.nbytes
                if room < 0:
                    raise ValueError(f"{name} declares more numbers than the file can hold")
                if _lies_elsewhere(item):
                    raise ValueError(f"{name} lies in another file")
                layer = group.attrs.get("name")
                if layer and prefix.endswith("/vars/"):  # Keras 3 names groups after classes
                    name = f"{prefix.removesuffix('vars/')}{layer}/{key}"
                arrays[name] = item[()]

    with h5py.File(file, "r") as group:
        visit(group, "", 1)
    return arrays


def _read_safetensors(path, file):
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise CheckpointError(
            f"{path} needs the extra weights: pip install keras3-maskrcnn[weights]. "
            f"Received: {error}."
        ) from error
    return load_file(path)


# Pickles

_MOST_AXES = 32  # layers have at most 4; NumPy allows more than 32
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


class _Storage:
    """The flat memory that tensors are views of; filled once its bytes have been read."""

    def __init__(self, kind, size):
        self.kind, self.size, self.values = kind, size, None

    def fill(self, data, order="<"):
        dtype = np.dtype(_STORAGES[self.kind]).newbyteorder(order)
        if len(data) < self.size * dtype.itemsize:
            raise ValueError(f"a tensor has {len(data)} bytes of {self.size * dtype.itemsize}")
        self.values = np.frombuffer(data, dtype, self.size)
        if self.kind == "BFloat16Storage":  # bfloat16 is the upper half of a float32
            self.values = (self.values.astype(np.uint32) << 16).view(np.float32)


class _Tensor:
    """A tensor, which is a view of a storage."""

    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)

    def array(self):
        shape, strides = self.shape, self.strides
        values = self.storage.values
        numbers = (self.offset, *shape, *strides)
        inside = len(shape) <= _MOST_AXES and all(type(n) is int and n >= 0 for n in numbers)
        if inside and 0 in shape:
            return np.zeros(shape, values.dtype)
        if inside:
            last = self.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
            # A stride of 0 would let a few numbers fill a shape of any size.
            inside = last < values.size and math.prod(shape) <= values.size
        if not inside:
            raise ValueError(f"a tensor of shape {reprlib.repr(shape)} lies outside its storage")
        # A view, not a copy, because many tensors may share a storage.
        return np.lib.stride_tricks.as_strided(
            values[self.offset :], shape, [s * values.itemsize for s in strides], writeable=False
        )


class _Plain:
    """Stands for objects with attributes only, such as `argparse.Namespace`."""


def _parameter(tensor, *_):
    return tensor


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("argparse", "Namespace"): _Plain,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    **{("torch", name): name for name in _STORAGES},
}


class _Unpickler(pickles.Unpickler):
    """Builds arrays and tensors; the values of tensors are read later, into `storages`."""

    def __init__(self, file, storages):
        super().__init__(file, _ALLOWED)
        self._storages = storages

    def persistent_load(self, pid):
        kind, storage, key, _, size = pid[:5]
        if (
            kind != "storage"
            or type(storage) is not str
            or storage not in _STORAGES
            or any(pid[5:])
        ):
            raise ValueError("a tensor has a storage of an unknown type")
        if type(key) not in (str, int) or type(size) is not int or size < 0:
            raise ValueError("a tensor's storage has no name or no size")
        return self._storages.setdefault(key, _Storage(storage, size))


def _read_torch_zip(path, file):
    storages: dict[Any, Any] = {}
    with zipfile.ZipFile(file) as archive:
        found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(found) != 1:
            raise CheckpointError(f"{path} is a zip file without PyTorch's data.pkl.")
        root = found[0].removesuffix("data.pkl")
        tree = _Unpickler(io.BytesIO(archive.read(found[0])), storages).load()
        big = f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder")
        for key, storage in storages.items():
            storage.fill(archive.read(f"{root}data/{key}"), ">" if big == b"big" else "<")
    return tree


def _read_pickle(path, file):
    storages: dict[Any, Any] = {}
    tree = _Unpickler(file, storages).load()
    if tree != _TORCH_MAGIC:
        return tree
    for _ in ("protocol version", "system"):
        _Unpickler(file, {}).load()
    tree = _Unpickler(file, storages).load()
    for key in _Unpickler(file, {}).load():
        size = int.from_bytes(file.read(8), "little")
        storage = storages[key if type(key) is int else str(key)]
        if size != storage.size or size > os.path.getsize(path):
            raise ValueError(f"a tensor has {size} numbers of {storage.size}")
        storage.fill(file.read(size * np.dtype(_STORAGES[storage.kind]).itemsize))
    return tree


def _model_part(tree):
    for name in ("model", "state_dict", "blobs"):
        if isinstance(tree, dict) and isinstance(tree.get(name), dict):
            return tree[name]
    return tree


def _flatten(tree):
    """Joins the names of nested dicts. A dict that occurs several times counts each time."""
    arrays, entries = {}, 0

    def visit(value, name, depth):
        nonlocal entries
        entries += 1
        _check_entry(entries, depth, name)
        if isinstance(value, _Tensor | pickles.Array):
            value = value.array()
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                visit(inner, f"{name}/{key}" if depth else str(key), depth + 1)

    visit(tree, "", 0)
    return arrays


_DEEPEST, _MOST_ENTRIES, _LONGEST_NAME = 32, 100_000, 1000


def _check_entry(number, depth, name):
    """Raises ValueError for more entries, levels or characters than any real checkpoint has."""
    if number > _MOST_ENTRIES or depth > _DEEPEST or len(name) > _LONGEST_NAME:
        raise ValueError(
            f"it has over {_MOST_ENTRIES} entries, {_DEEPEST} levels, or {_LONGEST_NAME} "
            "characters in a name"
        )
