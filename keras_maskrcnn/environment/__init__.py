"""Describes an installation for bug reports: versions, machine, TensorFlow, and its speed.

It imports nothing of this package at its top, so that it works where the package does not. What
cannot be found out is "unknown".
"""

import os
import re
from typing import Any

from keras_maskrcnn.environment import machine, sentences, speed, tensorflow_state, versions
from keras_maskrcnn.environment.asking import ask
from keras_maskrcnn.environment.report import text

__all__ = ["collect", "text"]

# Variables that change results or speed. A name with TF_ alone may be of another program, such as
# Terraform, whose variables hold passwords.
_VARIABLES = re.compile(
    "KERAS_BACKEND|KERAS_HOME|XLA_FLAGS|(CUDA|NVIDIA)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|"
    "(OMP|MKL|OPENBLAS)_NUM_THREADS|OMP_PROC_BIND|KMP_(AFFINITY|BLOCKTIME)|(ONE)?DNNL?_[A-Z_]+|"
    "MALLOC_(MMAP_THRESHOLD_|TRIM_THRESHOLD_|ARENA_MAX)|LD_PRELOAD|NVIDIA_TF32_OVERRIDE|"
    "TF_(CPP|ENABLE|DISABLE|XLA|GPU|CUDNN|CUDA|NUM|FORCE|USE|DETERMINISTIC|MLC|DUMP)_[A-Z0-9_]+|"
    "COLAB_RELEASE_TAG|KAGGLE_KERNEL_RUN_TYPE"
)


def collect(measure: bool = True, import_error: BaseException | None = None) -> dict[str, Any]:
    """Describes the installation and the machine.

    It imports TensorFlow, Keras and the optional packages.

    Args:
        measure: bool. Whether to time a block of the backbone in 32 and in 16 bits. This takes two
            to five seconds.
        import_error: the error with which an import of this package failed; None: it did not.

    Returns:
        dict of str, numbers, lists and dicts, which can be written as JSON. `text` prints it.
    """
    variables = dict(os.environ)  # imports add some
    report: dict[str, Any] = {
        "python": versions.python(),
        "packages": versions.packages(),
        "import_error": import_error and versions.one_line(import_error),
        "faulty_imports": versions.faulty_imports(),
        "same_files": versions.same_files(),
        "unsuitable": ask(versions.unsuitable),
        "system": machine.system(),
        "cpu": machine.cpu(),
        "load": machine.load(),
        "memory": machine.memory(),
        "nvidia": machine.nvidia(),
        "keras": ask(tensorflow_state.keras_settings),
        "tensorflow": ask(tensorflow_state.tensorflow_settings),
        "variables": {
            name: value for name, value in sorted(variables.items()) if _VARIABLES.fullmatch(name)
        },
    }
    report["seconds"] = ask(speed.measure) if measure else "not measured"
    report["problems"] = sentences.problems(report)
    report["speed"] = sentences.about_speed(report)
    return report
