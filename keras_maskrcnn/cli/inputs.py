"""What the commands read: models, data sets, proposals, folders of images."""

import os
import zipfile
from typing import Any

import numpy as np
from absl import flags, logging

from keras_maskrcnn.cli import paths
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.proposals import ProposalFile
from keras_maskrcnn.model import MaskRCNN


def load_model(path: str, flag: str = "model") -> MaskRCNN:
    """Loads a MaskRCNN from a .keras file; any other is a ValueError."""
    import keras

    from keras_maskrcnn.data.archives import check_zip
    from keras_maskrcnn.weights.checkpoint import require_finite

    paths.require_file(flag, path)
    paths.require_suffix(flag, path)
    try:
        check_zip(path)
        model = keras.models.load_model(path, compile=False)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path} cannot be read as a Keras model: it is none, or truncated or damaged ({error})"
        ) from error
    except Exception as error:  # Keras raises many kinds for a file that is none of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a Keras model: {reason[:400]}") from error
    if not isinstance(model, MaskRCNN):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a MaskRCNN.")
    for variable in model.weights:
        require_finite(path, variable.path, np.asarray(variable))
    return model


def with_overrides(model: MaskRCNN, overrides: dict[str, Any]) -> MaskRCNN:
    """The model, with other values of config fields if there are any."""
    return model.with_config(**overrides) if overrides else model


def read_dataset(options: flags.FlagValues, config: MaskRCNNConfig) -> CocoDataset:
    """Reads the --annotations for a model with this config: its classes, with masks or without.

    Images that cannot be read are left out, and named in `skipped`, for `report_unreadable`.
    """
    from keras_maskrcnn import data

    return data.coco_json(
        options.images,
        options.annotations,
        category_ids=config.category_ids or None,
        class_names=config.class_names,
        masks=config.task == "masks",
        crowds=options.crowds,
        on_error="skip",
    )


def read_proposals(path: str | None) -> ProposalFile | None:
    """Opens proposals; None if there is no path."""
    from keras_maskrcnn import data

    return data.read_proposals(path) if path else None


def list_images(path: str, left_out: str) -> list[str]:
    """Lists the images of a folder, with those in the folders below it.

    Args:
        path: str. The folder; or a file, which is the only image then.
        left_out: str. A folder whose files do not count: the one that pictures are written into.

    Returns:
        sorted list of paths relative to the folder, with "/" between their parts.
    """
    from keras_maskrcnn.data.formats.content import list_files
    from keras_maskrcnn.data.images import SUFFIXES

    if os.path.isfile(path):
        return [os.path.basename(path)]
    output = os.path.join(os.path.realpath(left_out), "")
    names = list_files(path, "") if os.path.isdir(path) else []
    names = [n for n in names if not os.path.join(os.path.realpath(path), n).startswith(output)]
    chosen = [name.replace(os.sep, "/") for name in names if name.lower().endswith(SUFFIXES)]
    if not chosen:
        raise FileNotFoundError(
            f"--input is an image or a folder with images ({', '.join(SUFFIXES)}). "
            f"Received: input={path!r}."
        )
    if len(chosen) < len(names):
        logging.warning("%d files in %s are no images.", len(names) - len(chosen), path)
    return chosen
