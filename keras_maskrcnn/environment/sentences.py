"""Says in sentences what is wrong with an installation, and what its machine means for speed."""

import platform
from typing import Any

from keras_maskrcnn.environment.asking import UNKNOWN

_SAME = 1.1  # ratios of times up to this are noise


def problems(report: dict[str, Any]) -> list[str]:
    """Returns a line for each thing that keeps this package from working as it was tested.

    Args:
        report: dict, see `environment.collect`.
    """
    lines = []
    if report["import_error"]:
        lines.append(f"keras_maskrcnn cannot be imported. {report['import_error']}")
    for name, error in report["faulty_imports"].items():
        lines.append(f"{name} cannot be imported. {error}")
    for module, names in report["same_files"].items():
        lines.append(
            f"{' and '.join(names)} overwrite each other's files of `{module}`. Uninstall all of "
            "them, then install one."
        )
    lines += [] if report["unsuitable"] == UNKNOWN else report["unsuitable"]
    if report["keras"] != UNKNOWN:
        lines += _settings(report["keras"])
    if report["variables"].get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        lines.append(
            "TF_USE_LEGACY_KERAS makes `tf.keras` Keras 2. Use `import keras` with this package: "
            "objects of `tf.keras` do not fit its models."
        )
    return lines


def _settings(keras):
    if keras["backend"] not in ("tensorflow", UNKNOWN):
        yield (
            f"Keras runs on {keras['backend']}, and this package on TensorFlow only. Set "
            "KERAS_BACKEND=tensorflow."
        )
    if keras["image_data_format"] not in ("channels_last", UNKNOWN):
        yield "Keras' image_data_format must be channels_last."


def about_speed(report: dict[str, Any]) -> list[str]:
    """Returns sentences about the speed of this machine, from what was measured and is known.

    Args:
        report: dict, see `environment.collect`.
    """
    tensorflow, lines = report["tensorflow"], []
    if tensorflow != UNKNOWN and not tensorflow["gpus"]:
        lines.append(_no_gpu(report))
    if isinstance(report["seconds"], dict):
        lines += _sixteen_bits(report)
    if tensorflow != UNKNOWN and not tensorflow["gpus"]:
        lines += _processor(report)
    return lines


def _no_gpu(report):
    start = "TensorFlow sees no GPU, so everything runs on the processor"
    if report["variables"].get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return f"{start}: CUDA_VISIBLE_DEVICES hides all GPUs."
    if not report["nvidia"]["gpus"]:
        return f"{start}. docs/choosing.md says how long that takes."
    if report["tensorflow"]["cuda"] is None:
        return f"{start}: this TensorFlow was built without CUDA, and the machine has a GPU."
    return (
        f"{start}, although the machine has a GPU. `pip install tensorflow[and-cuda]` installs the "
        "libraries that TensorFlow needs."
    )


def _sixteen_bits(report):
    """Yields a sentence per 16-bit dtype, and one on what follows from all of them."""
    seconds = dict(report["seconds"])
    full = seconds.pop("float32", None)
    if not full or not seconds:
        return
    for dtype, times in seconds.items():
        yield (
            f"{dtype} beside float32, measured here on a block of the backbone: training "
            f"{_compared(full['fit'] / times['fit'])}, and prediction "
            f"{_compared(full['predict'] / times['predict'])}."
        )
    load, cores = report["load"], report["cpu"]["cores"]
    faster = [dtype for dtype, times in seconds.items() if full["fit"] / times["fit"] > _SAME]
    if UNKNOWN not in (load, cores) and load > cores:
        yield (
            f"Other processes were running (load {load:g} on {cores} cores), so this is rough: "
            "measure again without them."
        )
    elif faster:
        yield (
            f"Training with --dtype_policy=mixed_{' or mixed_'.join(faster)} can pay here: see "
            "docs/distribution.md#mixed-precision, and for accuracy "
            "benchmarks/RESULTS.md#precision-and-replicas."
        )
    else:
        yield "Train in float32 here."


def _compared(ratio):
    if ratio > _SAME:
        return f"is {ratio:.1f} times as fast"
    if ratio < 1 / _SAME:
        return f"takes {1 / ratio:.1f} times as long"
    return "is as fast"


def _processor(report):
    """Yields sentences that matter where the processor computes everything."""
    variables, cpu = report["variables"], report["cpu"]
    if report["tensorflow"]["onednn"] is False:
        if variables.get("TF_ENABLE_ONEDNN_OPTS", "").lower() in ("0", "false"):
            yield "TF_ENABLE_ONEDNN_OPTS turns oneDNN off."
        else:
            yield (
                "oneDNN is off, which is TensorFlow's default on this processor: see "
                "docs/training.md#on-cpus."
            )
    if cpu["limit"] and cpu["cores"] != UNKNOWN and cpu["limit"] < cpu["cores"]:
        yield (
            f"The container gets the time of {cpu['limit']:g} cores, and TensorFlow starts threads "
            f"for {cpu['cores']}."
        )
    if platform.libc_ver()[0] == "glibc" and "MALLOC_TRIM_THRESHOLD_" not in variables:
        yield (
            "Giving memory back to the system can take a quarter of the time: "
            "docs/training.md#on-cpus names two variables that prevent it."
        )
