"""Imports tensorflow_datasets and opens its builders; says in one line what is wrong."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_maskrcnn.typing import Path

_INFO = "dataset_info.json"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns any error of the block, which imports tensorflow_datasets, into an ImportError.

    TFDS has files that protobuf's compiler made. They refuse a protobuf that is older than the
    compiler, with an error that is no ImportError. Colab has such a pair: protobuf 5.29.6 and
    tensorflow-metadata 1.21.0.

    Raises:
        ImportError: for any error. The message is one line and names the remedy.
    """
    try:
        yield
    except Exception as error:
        cause = " ".join(str(error).split())
        remedy = ""
        if "tensorflow_metadata" in cause:
            remedy = ' Remedy: pip install "tensorflow-metadata<1.18", then restart Python.'
        raise ImportError(f"tensorflow_datasets cannot be imported: {cause}{remedy}") from error


def open_builder(builder: Any, data_dir: Path | None) -> Any:
    """Returns the builder of a folder or of a name.

    If a name's newest version is not built, but an older one is, this is the builder of the older.

    Args:
        builder, data_dir: as in `tfds_dataset`. A folder may be remote, such as gs://bucket/folder.

    Raises:
        ValueError: if there is no such data set.
    """
    if not isinstance(builder, str | os.PathLike):
        return builder
    with explained():
        import tensorflow_datasets as tfds

        errors = tfds.core.DatasetNotFoundError, ValueError  # TFDS imports its parts when used

    path = os.fspath(builder)
    if tf.io.gfile.isdir(path):
        if not tf.io.gfile.exists(os.path.join(path, _INFO)):
            raise ValueError(
                f"a folder of records must hold {_INFO}: pass the innermost folder, named"
                f" after the version. Received: builder={path!r}."
            )
        return tfds.builder_from_directory(path)
    try:
        found = tfds.builder(path, data_dir=data_dir)
    except errors as error:
        raise ValueError(
            "builder must be a folder of records, or the name of a data set in data_dir (None: in"
            f" TFDS's standard folder). Received: builder={path!r}, data_dir={data_dir!r}."
        ) from error
    return found if found.info.splits else _older(found, path)


def _older(builder, name):
    """Returns the builder of the newest version that is built; this builder if none is."""
    import tensorflow_datasets as tfds

    parent, versions = os.path.dirname(builder.data_dir), []
    if ":" not in name and tf.io.gfile.isdir(parent):
        for version in tf.io.gfile.listdir(parent):
            if tf.io.gfile.exists(os.path.join(parent, version, _INFO)):
                versions.append(version.strip("/"))
    if not versions:
        return builder
    newest = max(versions, key=tfds.core.Version)
    return tfds.builder_from_directory(os.path.join(parent, newest))
