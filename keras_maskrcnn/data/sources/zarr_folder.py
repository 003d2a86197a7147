"""Opens a folder with a zarr array, or an OME-Zarr image. Nothing in it is executed."""

import os

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources.array_source import ArraySource
from keras_maskrcnn.data.sources.extras import needed
from keras_maskrcnn.typing import Path

FILES = ("zarr.json", ".zarray", ".zgroup")  # a folder with one of them is zarr's
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


def open_zarr(path: Path) -> ArraySource:
    """Opens a zarr array, (H, W) or (H, W, 1, 3 or 4) uint8 or uint16, as an `ArraySource`.

    Args:
        path: str. The folder.

    Raises:
        ImportError: if zarr is not installed.
        DataError: if the folder holds something else, or a codec that is not known to be safe.
    """
    path = os.fspath(path)
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise needed(path, "zarr", error) from error
    try:
        array = zarr.open(path, mode="r")
        if not isinstance(array, zarr.Array):
            line = f"it has the arrays {sorted(array.array_keys())[:5]}; open one of them"
            raise ValueError(line)
        unknown = sorted(set(_codecs(array.metadata.to_dict())) - _CODECS)
        if unknown:
            raise ValueError(f"codec {unknown[0]!r}, which is not known to be safe")
        chunk_bytes = array.dtype.itemsize
        for side in array.chunks:
            chunk_bytes *= side
        if chunk_bytes > _CHUNK_BYTES:
            raise ValueError(f"chunks of {chunk_bytes} bytes; at most {_CHUNK_BYTES} are read")
        return ArraySource(array, path)
    except Exception as error:  # zarr raises nearly everything on broken metadata
        detail = " ".join(str(error).split()).removeprefix(f"{path}: ").rstrip(".") or repr(error)
        line = f"{path}: not a zarr array of an image. Received: {detail}."
        raise DataError(line, "unreadable image") from error


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
