"""Reads what the commands take: models, data sets, proposals, folders of images."""

import os
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags, logging

from keras_maskrcnn.cli import paths
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.config import MaskRCNNConfig, field_docs
from keras_maskrcnn.config_rules import IMAGE_DTYPES
from keras_maskrcnn.data.bands import MAX_CHANNELS
from keras_maskrcnn.runtime import RUNTIMES, ExportedModel, is_exported

if TYPE_CHECKING:
    from keras_maskrcnn.data.coco import CocoDataset
    from keras_maskrcnn.data.proposals import ProposalFile
    from keras_maskrcnn.model import MaskRCNN


def load_model(path: str, flag: str = "model") -> "MaskRCNN":
    """Loads a MaskRCNN from a .keras file; raises ValueError for any other file."""
    import keras

    from keras_maskrcnn.data.archives import check_zip
    from keras_maskrcnn.model import MaskRCNN
    from keras_maskrcnn.weights.checkpoint import require_finite

    paths.require_file(flag, path)
    paths.require_suffix(flag, path)
    try:
        check_zip(path)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path} cannot be read as a Keras model: it is another file, truncated or damaged "
            f"({error})"
        ) from error
    except Exception as error:  # Keras raises many kinds for a file that is not a model
        # Keras may quote the whole config before the cause.
        cause = str(error).rpartition("Exception encountered:")[2]
        reason = " ".join(cause.split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a Keras model: {reason[:400]}") from error
    if not isinstance(model, MaskRCNN):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a MaskRCNN.")
    for variable in model.weights:
        require_finite(path, variable.path, np.asarray(variable))
    return model


def load_predictor(options: flags.FlagValues) -> "MaskRCNN | ExportedModel":
    """Loads --model for a command that only predicts: a .keras file, or an exported one."""
    if is_exported(options.model):
        return ExportedModel(options.model, runtime=options.runtime, threads=options.threads)
    for name in ("runtime", "threads"):
        if (value := getattr(options, name)) is not None:
            raise ValueError(f"--{name} is for exported models. Received: {name}={value!r}.")
    if not options.model.endswith(".keras"):
        raise ValueError(
            "a model must be a .keras, .onnx or .xml file, or a SavedModel folder. "
            f"Received: model={options.model!r}."
        )
    return load_model(options.model)


def predictor_flags(define: Definer) -> None:
    """Defines --model, --runtime and --threads for `load_predictor`."""
    define.string(
        "model",
        None,
        "The model: a .keras file, or an exported .onnx or .xml file or SavedModel folder.",
        required=True,
    )
    define.enum(
        "runtime", None, RUNTIMES, "Runtime of an exported model. Default: the one for its file."
    )
    define.integer("threads", None, "Threads for an exported model. Default: all cores.", low=1)


def with_overrides(model: Any, overrides: dict[str, Any]) -> Any:
    """Returns the model with these values of config fields."""
    return model.with_config(**overrides) if overrides else model


def read_dataset(options: flags.FlagValues, config: MaskRCNNConfig) -> "CocoDataset":
    """Reads --annotations with a config's classes and bands, and with masks if its task needs them.

    Images that cannot be read are left out; `skipped` names them for `report_unreadable`. With
    --tile, images may be of any size and kind; they are compared with the json when they are read.
    """
    from keras_maskrcnn import data

    return data.coco_json(
        options.images,
        options.annotations,
        category_ids=config.category_ids or None,
        class_names=config.class_names,
        masks=config.task == "masks",
        crowds=options.crowds,
        check_images=not getattr(options, "tile", None),
        on_error="skip",
        orientation=options.orientation,
        **config.reading(),
    )


def pixel_flags(define: Definer) -> None:
    """Defines --in_channels, --image_dtype and --pixel_max for a command without a config."""
    docs = field_docs()
    define.integer("in_channels", 3, docs["in_channels"], low=1, high=MAX_CHANNELS)
    define.enum("image_dtype", "uint8", list(IMAGE_DTYPES), docs["image_dtype"])
    define.float("pixel_max", 0, docs["pixel_max"], low=0)


def pixels(options: flags.FlagValues) -> dict[str, Any]:
    """Returns the arguments of the readers of `data` that `pixel_flags` gives."""
    return {
        "channels": options.in_channels,
        "image_dtype": options.image_dtype,
        "pixel_max": options.pixel_max or None,
    }


def read_proposals(path: str | None) -> "ProposalFile | None":
    """Opens proposals; returns None if there is no path."""
    from keras_maskrcnn import data

    return data.read_proposals(path) if path else None


def list_images(path: str, left_out: str, suffixes: tuple[str, ...] = ()) -> list[str]:
    """Lists the images in a folder and in its subfolders.

    Args:
        path: str. A folder, or the file of a single image.
        left_out: str. A folder to leave out, because pictures are written into it.
        suffixes: tuple of str. Endings of images. If empty, those that `data` reads.

    Returns:
        sorted list of paths relative to the folder, with "/" as the separator.
    """
    from keras_maskrcnn.data.formats.content import list_files
    from keras_maskrcnn.data.images import SUFFIXES, without_copies

    suffixes = suffixes or SUFFIXES
    if os.path.isfile(path):
        return [os.path.basename(path)]
    output = os.path.join(os.path.realpath(left_out), "")
    names = list_files(path, "") if os.path.isdir(path) else []
    names = [n for n in names if not os.path.join(os.path.realpath(path), n).startswith(output)]
    names = [name.replace(os.sep, "/") for name in names]
    if ".zarr" in suffixes:  # an image is a folder of files
        names = sorted({re.sub(r"(\.zarr)/.*", r"\1", name) for name in names})
    chosen = without_copies(name for name in names if name.lower().endswith(suffixes))
    if not chosen:
        raise FileNotFoundError(
            f"--input must be an image or a folder with images ({', '.join(suffixes)}). "
            f"Received: input={path!r}."
        )
    if len(chosen) < len(names):
        logging.warning("%d files in %s are not images.", len(names) - len(chosen), path)
    return chosen
