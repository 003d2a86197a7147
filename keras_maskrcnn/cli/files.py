"""What the commands read and write, and what they refuse."""

import os
import sys
import tempfile
import zipfile

import numpy as np
from absl import logging

from keras_maskrcnn.files import write_json


def load_model(path, flag="model"):
    """Loads a MaskRCNN from a .keras file; any other is a ValueError."""
    import keras

    from keras_maskrcnn.data.archives import check_zip
    from keras_maskrcnn.model import MaskRCNN
    from keras_maskrcnn.weights.checkpoint import require_finite

    require_file(flag, path)
    require_suffix(flag, path)
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


def read_dataset(options, config):
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


def with_overrides(model, overrides):
    """The model, with other values of config fields if there are any."""
    return model.with_config(**overrides) if overrides else model


def read_proposals(path):
    """Opens proposals; None if there is no path."""
    from keras_maskrcnn import data

    return data.read_proposals(path) if path else None


def make_folder_of(path):
    """Makes the folder of a file that is to be written."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)


def write_output(path, content, indent=None):
    """Writes a JSON file, and makes its folder."""
    make_folder_of(path)
    write_json(path, content, indent)


def write_metrics(path, metrics, options, unreadable=()):
    """Writes metrics as JSON, with the images that they lack, and prints them; if they cannot be
    written, they are printed in any case.
    """
    written = False
    try:
        lacking = {"unreadable": sorted(unreadable)} if unreadable else {}
        write_output(path, {**metrics, **lacking}, indent=1)
        written = True
    finally:
        if not (written and options.quiet):
            for name, value in metrics.items():
                print(f"{name:<24} {value:.4f}")


def require_file(name, path):
    """Raises FileNotFoundError if a flag names no file."""
    inside = os.path.join(path, "model.keras")  # what `train` leaves in its --output
    if os.path.isfile(inside):
        raise IsADirectoryError(f"did you mean {inside}? Received: {name}={path!r}.")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file. Received: {name}={path!r}.")


def require_suffix(name, path):
    """Raises ValueError if a flag names no .keras file."""
    if not path.endswith(".keras"):
        raise ValueError(f"a model file ends in .keras. Received: {name}={path!r}.")


def refuse_existing(path, overwrite, flag="output"):
    """Raises OSError if a file is there already or could not be written: before work, not after."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"a file is wanted, not a folder. Received: {flag}={path!r}.")
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; pass --overwrite or another --{flag}.")
    require_writable(os.path.dirname(os.path.abspath(path)), flag, path)


def require_writable(folder, flag="output", received=None):
    """Raises OSError if nothing could be written into a folder, which need not exist yet."""
    existing = os.path.abspath(folder)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OSError(
            f"nothing can be written into {existing} ({error.strerror}). "
            f"Received: {flag}={received or folder!r}."
        ) from error


_INPUTS = (
    "annotations",
    "val_annotations",
    "model",
    "checkpoint",
    "weights",
    "proposals",
    "val_proposals",
    "class_names",
)


def refuse_inputs(options, *written, flag="output", images=None):
    """Raises ValueError if a file to write is one that is read, under whatever name.

    Args:
        options: the flags' values, of which `_INPUTS`, `images` and `input` name what is read.
        *written: paths.
        flag: str. The flag that they come from.
        images: sequence of the paths of the images that are read, if they are known; or else every
            image in the folders counts.
    """
    from keras_maskrcnn.data.images import SUFFIXES

    # Of a folder of annotations; a COCO json may lie among them, unless they are json too.
    labelme = getattr(options, "format", None) == "labelme"
    folders = {"annotations": (".json",) if labelme else (".png", ".xml", ".txt", ".yaml", ".yml")}
    if images is None:
        folders |= dict.fromkeys(("images", "val_images", "input"), SUFFIXES)
    images = {os.path.realpath(path) for path in images or ()}
    for path in filter(os.path.exists, written):
        found = os.path.realpath(path)
        for name in _INPUTS:
            given = getattr(options, name, None)
            if given and os.path.exists(given) and os.path.samefile(path, given):
                raise ValueError(f"--{flag} would replace --{name}. Received: {name}={given!r}.")
        for name, suffixes in folders.items():
            folder = os.path.join(os.path.realpath(getattr(options, name, None) or os.devnull), "")
            if found.startswith(folder) and found.lower().endswith(suffixes):
                raise ValueError(
                    f"--{flag} would replace a file of --{name}. Received: {flag}={path!r}."
                )
        if found in images:
            raise ValueError(f"--{flag} would replace the image {path}.")


def list_images(path, left_out):
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


def listdir(path):
    """Names in a folder, none if there is no folder."""
    return os.listdir(path) if os.path.isdir(path) else []


def verbosity(options):
    """Keras' verbosity: a bar on a terminal, a line an epoch elsewhere, nothing if quiet."""
    return 0 if options.quiet else 1 if sys.stdout.isatty() else 2


def progress(items, options):
    """Yields the items, with a progress bar."""
    import keras

    bar = keras.utils.Progbar(len(items), verbose=verbosity(options) % 2, unit_name="image")
    for i, item in enumerate(items):
        yield item
        bar.update(i + 1)


def count_images(dataset):
    """The images of a data set, with those that were left out as they cannot be read."""
    return len({*dataset.file_names, *dataset.skipped})


def report_unreadable(names, count, options):
    """Names the images, of `count`, that could not be read; a DataError without --on_error=skip."""
    from keras_maskrcnn.data import DataError

    if not names:
        return
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    line = (
        f"{len(names)} of {count} images could not be read, and the results are without them: "
        f"{', '.join(names[:10])}{more}."
    )
    if options.on_error == "raise":
        raise DataError(line)
    if not options.quiet:
        print(line)
