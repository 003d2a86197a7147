"""Prints a description of an installation, short enough for a bug report."""

import textwrap
from typing import Any

from keras_maskrcnn.environment.asking import UNKNOWN
from keras_maskrcnn.environment.versions import MISSING

_WIDTH, _INDENT = 100, 16


def text(report: dict[str, Any]) -> str:
    """Returns the report of `collect` as text."""
    packages = report["packages"]
    present = [f"{name} {found}" for name, found in packages.items() if found != MISSING]
    missing = [name for name, found in packages.items() if found == MISSING]
    lines = {
        "Packages": ", ".join(present),
        "Not installed": ", ".join(missing) or "-",
        "Python": report["python"],
        "System": report["system"],
        "Processor": _cpu(report["cpu"]),
        "Cores": f"{_cores(report['cpu'])}; load {report['load']}",
        "Memory": _memory(report["memory"]),
        "Keras": _keras(report["keras"]),
        "TensorFlow": _tensorflow(report["tensorflow"]),
        "GPUs": _gpus(report["tensorflow"]),
        "NVIDIA": "; ".join([f"driver {report['nvidia']['driver']}", *report["nvidia"]["gpus"]]),
        "Variables": ", ".join(f"{k}={v}" for k, v in report["variables"].items()) or "-",
        "Measured": _seconds(report["seconds"]),
    }
    printed = [_wrapped(f"{name:<{_INDENT}}{value}") for name, value in lines.items()]
    printed += ["", "Problems:", *map(_item, report["problems"] or ["none found"])]
    if report["speed"]:
        printed += ["", "Speed:", *map(_item, report["speed"])]
    return "\n".join(printed)


def _wrapped(line, indent=_INDENT):
    # A word stays whole, so that a path or a version can be searched for.
    return textwrap.fill(
        line,
        _WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _item(sentence):
    return _wrapped(f"- {sentence}", 2)


def _cpu(cpu):
    features = cpu["features"]
    words = UNKNOWN if features == UNKNOWN else ", ".join(features) or "none of those that matter"
    return f"{cpu['model']}, {cpu['architecture']}; features: {words}"


def _cores(cpu):
    limit = f", limited to the time of {cpu['limit']:g}" if cpu["limit"] else ""
    return f"{cpu['cores']} usable of {cpu['cores_of_machine']}{limit}"


def _memory(memory):
    limit = f", limited to {_gib(memory['limit'])}" if memory["limit"] else ""
    return f"{_gib(memory['bytes'])}{limit}"


def _gib(count):
    return UNKNOWN if count == UNKNOWN else f"{count / 2**30:.1f} GiB"


def _keras(keras):
    if keras == UNKNOWN:
        return UNKNOWN
    return ", ".join(f"{name} {value}" for name, value in keras.items())


def _tensorflow(tensorflow):
    if tensorflow == UNKNOWN:
        return UNKNOWN
    onednn = {True: "oneDNN on", False: "oneDNN off"}.get(tensorflow["onednn"], "oneDNN unknown")
    if tensorflow["cuda"] is None:
        return f"built without CUDA; {onednn}"
    return f"built for CUDA {tensorflow['cuda']}, cuDNN {tensorflow['cudnn']}; {onednn}"


def _gpus(tensorflow):
    if tensorflow == UNKNOWN:
        return UNKNOWN
    named = [f"{g['name']} (compute {g['compute_capability']})" for g in tensorflow["gpus"]]
    return "; ".join(named) or "TensorFlow sees none"


def _seconds(seconds):
    if not isinstance(seconds, dict):
        return seconds
    each = (
        f"{dtype} fit {times['fit'] * 1e3:.1f} ms, predict {times['predict'] * 1e3:.1f} ms"
        for dtype, times in seconds.items()
    )
    return "; ".join(each)
