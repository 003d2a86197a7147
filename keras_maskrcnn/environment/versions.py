"""Lists the versions of Python and of packages, and what is wrong with them."""

import functools
import importlib
import importlib.metadata
import logging
import platform
import sys

from keras_maskrcnn.environment.asking import UNKNOWN, ask

DISTRIBUTION = "keras3-maskrcnn"
# name of the distribution: module that is imported as a test
REQUIRED = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "numpy": "numpy",
    "pycocotools": "pycocotools.mask",
    # Its __init__ logs the error of a protobuf that is too old, and goes on.
    "tensorflow-datasets": "tensorflow_datasets.core.dataset_builder",
    "tensorboard": "tensorboard",
    "protobuf": "google.protobuf",
    "h5py": "h5py",
    "pillow": "PIL.Image",
    "absl-py": "absl",
    "PyYAML": "yaml",
}
OPTIONAL = {
    "onnxruntime": "onnxruntime",
    "tf2onnx": "tf2onnx",
    "safetensors": "safetensors",
    "tensorflow-serving-api": "tensorflow_serving.apis",
    "apache-beam": "apache_beam",
}
MISSING = "not installed"
# Modules that several distributions have, which overwrite each other's files: nightly versions,
# tensorflow-cpu, and the package of 2019 that has our import name.
_SHARED = ("tensorflow", "keras", "keras_maskrcnn")


def python() -> str:
    """Returns the version of Python, and what it runs in if that is known."""
    kind = "virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    return f"{platform.python_version()} ({platform.python_implementation()}, {kind})"


def packages() -> dict[str, str]:
    """Returns the version of each package; "not installed" and "unknown" in its place."""
    found = {"keras_maskrcnn": ask(_own_version)}
    for name in (*REQUIRED, *OPTIONAL):
        found[name] = version(name)
    for module, names in shared().items():  # such as keras-nightly for keras
        for name in names:
            if name not in (module, DISTRIBUTION):
                found[name] = version(name)
                if found.get(module) == MISSING:
                    del found[module]
    return found


def version(name: str) -> str:
    """Returns the version of a distribution, "not installed" or "unknown"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return MISSING
    except Exception:  # as in `ask`
        return UNKNOWN


@functools.cache  # it reads the list of files of every distribution
def shared() -> dict[str, list[str]]:
    """Returns the distributions that have files of TensorFlow, of Keras, and of this package.

    Returns:
        dict of module to a list of distributions: ["keras"], for instance, or
        ["keras", "keras-nightly"].
    """
    by_module = ask(importlib.metadata.packages_distributions)
    if by_module == UNKNOWN:
        return {}
    return {module: sorted(set(by_module.get(module, ()))) for module in _SHARED}


def same_files() -> dict[str, list[str]]:
    """Returns the modules that more than one installed distribution has, with these."""
    return {module: names for module, names in shared().items() if len(names) > 1}


def faulty_imports() -> dict[str, str]:
    """Imports each installed package; returns the error in one line of each that fails."""
    faults = {}
    before = logging.root.manager.disable
    logging.disable()  # TFDS also logs the traceback of its error
    try:
        for name, module in {**REQUIRED, **OPTIONAL}.items():
            try:
                importlib.import_module(module)
            except Exception as error:
                if not (name in OPTIONAL and version(name) == MISSING):
                    faults[name] = one_line(error)
    finally:
        logging.disable(before)
    return faults


def one_line(error: BaseException) -> str:
    """Returns an error in one line, with its type and at most 300 characters of its message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def unsuitable() -> list[str]:
    """Returns a line for each package whose version is outside of what this package asks for.

    What is asked for stands in the metadata of the installed distribution; without them, nothing is
    known to be unsuitable.
    """
    from packaging.requirements import Requirement

    providers, lines = shared(), []
    for text in importlib.metadata.requires(DISTRIBUTION) or ():
        asked = Requirement(text)
        optional = asked.marker is not None and not asked.marker.evaluate({"extra": ""})
        names = providers.get(asked.name) or [asked.name]
        versions = {name: version(name) for name in names}
        for name, found in versions.items():
            if found == MISSING:
                fits = optional
            else:
                fits = found == UNKNOWN or asked.specifier.contains(found, prereleases=True)
            if not fits:
                lines.append(f"{asked.name}{asked.specifier} is required, and {name} is {found}.")
    return list(dict.fromkeys(lines))


def _own_version():
    from keras_maskrcnn._version import __version__

    return __version__
