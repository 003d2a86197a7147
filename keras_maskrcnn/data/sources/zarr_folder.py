"""Opens a folder with a zarr array, or an OME-Zarr image. Nothing in it is executed."""

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources.array_source import ArraySource
from keras_maskrcnn.data.sources.extras import needed
from keras_maskrcnn.data.sources.ome_zarr_source import OmeZarrSource
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.data.sources.wanted import RGB, Wanted
from keras_maskrcnn.typing import Path

FILES = ("zarr.json", ".zarray", ".zgroup")  # a folder with one of them is zarr's
_MAX_LEVELS = 32
_CHUNK_BYTES = 2**29  # a chunk is decoded whole
# The codecs that only compress and reorder numbers. zarr can also call pickle, which runs code.
_CODECS = {
    "adler32",
    "blosc",
    "bytes",
    "bz2",
    "crc32",
    "crc32c",
    "delta",
    "endian",
    "gzip",
    "lz4",
    "lzma",
    "numcodecs.blosc",
    "numcodecs.bz2",
    "numcodecs.delta",
    "numcodecs.lz4",
    "numcodecs.lzma",
    "numcodecs.shuffle",
    "numcodecs.zlib",
    "numcodecs.zstd",
    "sharding_indexed",
    "shuffle",
    "transpose",
    "zlib",
    "zstd",
}


def open_zarr(path: Path, wanted: Wanted = RGB) -> Source:
    """Opens a zarr array, which is as in `ArraySource`, or an OME-Zarr image.

    Args:
        path: str. The folder.
        wanted: the bands and the dtype of windows.

    Returns:
        `ArraySource` or `OmeZarrSource`.

    Raises:
        ImportError: if zarr is not installed.
        DataError: if the folder holds something else, or a codec that is not known to be safe.
    """
    path = os.fspath(path)
    with _one_line(path) as zarr:
        found = zarr.open(path, mode="r")
        if isinstance(found, zarr.Array):
            return ArraySource(_checked(found), path, wanted)
        multiscale, paths = _levels(found)
        return OmeZarrSource([_checked(found[one]) for one in paths], multiscale, path, wanted)


def open_volume(path: Path) -> tuple[Any, str | None]:
    """Opens a zarr array of any shape, or the first level of an OME-Zarr image.

    Args:
        path: str. The folder.

    Returns:
        The array, and the names of its axes in a str, such as "tczyx"; None for an array alone.

    Raises:
        ImportError, DataError: as in `open_zarr`.
    """
    path = os.fspath(path)
    with _one_line(path) as zarr:
        found = zarr.open(path, mode="r")
        if isinstance(found, zarr.Array):
            return _checked(found), None
        multiscale, paths = _levels(found)
        return _checked(found[paths[0]]), "".join(axis["name"] for axis in multiscale["axes"])


@contextlib.contextmanager
def _one_line(path: str) -> Iterator[Any]:
    """Imports zarr for a block, and turns errors of the block into a DataError."""
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise needed(path, "zarr", error) from error
    try:
        yield zarr
    except DataError:  # other bands or another dtype than wanted
        raise
    except Exception as error:  # zarr raises nearly everything on broken metadata
        detail = " ".join(str(error).split()).removeprefix(f"{path}: ").rstrip(".") or repr(error)
        line = f"{path}: not a zarr array of an image. Received: {detail}."
        raise DataError(line, "unreadable image") from error


def _levels(group):
    """Returns the entry of `multiscales` of a group, and the paths of its levels."""
    attributes: Any = group.attrs.asdict()
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        names = sorted(group.array_keys())[:5]
        raise ValueError(f"a group that is no OME-Zarr image, with the arrays {names}")
    paths = [level["path"] for level in multiscales[0]["datasets"][:_MAX_LEVELS]]
    if any(".." in one.split("/") for one in paths):  # zarr before 3.1 follows it
        raise ValueError(f"arrays outside of the folder: {paths}")
    return multiscales[0], paths


def _checked(array):
    """Returns an array whose chunks can be decoded safely; else raises ValueError."""
    unknown = sorted(set(_codecs(array.metadata.to_dict())) - _CODECS)
    if unknown:
        raise ValueError(f"codec {unknown[0]!r}, which is not known to be safe")
    chunk_bytes = array.dtype.itemsize * math.prod(array.chunks)
    if chunk_bytes > _CHUNK_BYTES:
        raise ValueError(f"chunks of {chunk_bytes} bytes; at most {_CHUNK_BYTES} are read")
    return array


def _codecs(metadata):
    """Yields the names of all codecs in an array's metadata, of version 2 or 3."""
    for codec in [*(metadata.get("filters") or ()), metadata.get("compressor")]:
        if codec is not None:
            yield codec["id"] if isinstance(codec, dict) else codec.codec_id
    for codec in metadata.get("codecs") or ():
        yield from _codec_and_inner(codec)


def _codec_and_inner(codec):
    """Yields the name of a codec of version 3, and of those inside a shard."""
    yield codec["name"]
    configuration = codec.get("configuration") or {}
    for key in ("codecs", "index_codecs"):
        for inner in configuration.get(key) or ():
            yield from _codec_and_inner(inner)
