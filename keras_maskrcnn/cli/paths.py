"""Checks a command's paths, and refuses unusable ones before any work."""

import os
import tempfile
from collections.abc import Sequence

from absl import flags


def require_file(name: str, path: str) -> None:
    """Raises FileNotFoundError if a flag's path is not a file."""
    inside = os.path.join(path, "model.keras")  # `train` writes it into its --output
    if os.path.isfile(inside):
        raise IsADirectoryError(f"did you mean {inside}? Received: {name}={path!r}.")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file. Received: {name}={path!r}.")


def require_suffix(name: str, path: str) -> None:
    """Raises ValueError if a flag's path does not end in .keras."""
    if not path.endswith(".keras"):
        raise ValueError(f"a model file must end in .keras. Received: {name}={path!r}.")


def refuse_existing(path: str, overwrite: bool, flag: str = "output") -> None:
    """Raises OSError if a file exists already or could not be written."""
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"--{flag} must be a file, not a folder. Received: {flag}={path!r}."
        )
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; pass --overwrite or another --{flag}.")
    require_writable(os.path.dirname(os.path.abspath(path)), flag, path)


def require_writable(folder: str, flag: str = "output", received: str | None = None) -> None:
    """Raises OSError if a folder, which need not exist yet, could not be written to."""
    existing = os.path.abspath(folder)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OSError(
            f"cannot write into {existing} ({error.strerror}). "
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
    "results",
)


def refuse_inputs(
    options: flags.FlagValues,
    *written: str,
    flag: str = "output",
    images: Sequence[str] | None = None,
) -> None:
    """Raises ValueError if an output file is also an input, even under another name or a link.

    Args:
        options: the flags' values. Those in `_INPUTS`, `images` and `input` are the inputs.
        *written: paths of the output files.
        flag: str. The flag that these paths come from.
        images: sequence of the paths of the images that are read. None: they are unknown, so
            every image in the folders counts.
    """
    from keras_maskrcnn.data.images import SUFFIXES

    # File types in a folder of annotations. A COCO json may be written there, unless the
    # annotations are json files too.
    labelme = getattr(options, "format", None) == "labelme"
    folders: dict[str, tuple[str, ...]]
    folders = {"annotations": (".json",) if labelme else (".png", ".xml", ".txt", ".yaml", ".yml")}
    if images is None:
        folders |= dict.fromkeys(("images", "val_images", "input"), SUFFIXES)
    images = {os.path.realpath(path) for path in images or ()}
    for path in filter(os.path.exists, written):
        found = os.path.realpath(path)
        for name in _INPUTS:
            value = getattr(options, name, None) or []
            for given in [value] if isinstance(value, str) else value:
                if os.path.exists(given) and os.path.samefile(path, given):
                    raise ValueError(
                        f"--{flag} would replace --{name}. Received: {name}={given!r}."
                    )
        for name, suffixes in folders.items():
            folder = os.path.join(os.path.realpath(getattr(options, name, None) or os.devnull), "")
            if found.startswith(folder) and found.lower().endswith(suffixes):
                raise ValueError(
                    f"--{flag} would replace a file of --{name}. Received: {flag}={path!r}."
                )
        if found in images:
            raise ValueError(f"--{flag} would replace the image {path}.")
