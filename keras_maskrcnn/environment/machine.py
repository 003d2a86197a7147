"""Describes the machine: system, processor, memory and NVIDIA's driver."""

import ctypes
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterator
from typing import Any

from keras_maskrcnn.environment.asking import UNKNOWN, ask

PROC, CGROUP = pathlib.Path("/proc"), pathlib.Path("/sys/fs/cgroup")
# Instructions that matter for convolutions, by their names in Linux' /proc/cpuinfo.
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
    "asimd": "NEON",
    "sve": "SVE",
    "bf16": "Arm BF16",
    "i8mm": "Arm I8MM",
}


def system() -> str:
    """Returns the name of the operating system, and its kernel."""
    name = ask(lambda: platform.freedesktop_os_release()["PRETTY_NAME"])
    kernel = ask(platform.platform)
    return kernel if name == UNKNOWN else f"{name}, {kernel}"


def cpu(proc: pathlib.Path = PROC, cgroup: pathlib.Path = CGROUP) -> dict[str, Any]:
    """Describes the processor.

    Args:
        proc, cgroup: paths of the folders in which Linux describes processes and their limits.

    Returns:
        dict with `model` (str), `features` (list of str), `cores` (int, those that this process may
        run on), `cores_of_machine` (int) and `limit` (float, the cores whose time a container may
        use; None: no limit). A value that cannot be found out is "unknown".
    """
    described = ask(lambda: _cpuinfo(proc))
    known = described if described != UNKNOWN else {}
    words = next((known[name] for name in ("flags", "Features") if name in known), None)
    return {
        "model": known.get("model name") or platform.processor() or UNKNOWN,
        "architecture": platform.machine() or UNKNOWN,
        "features": UNKNOWN
        if words is None
        else [name for flag, name in FEATURES.items() if flag in words.split()],
        "cores": ask(_usable_cores),
        "cores_of_machine": os.cpu_count() or UNKNOWN,
        "limit": min(_cpu_limits(proc, cgroup), default=None),
    }


def load() -> float | str:
    """Returns how many processes ran or waited for a core, on average in the last minute."""
    return ask(lambda: round(os.getloadavg()[0], 1))


def memory(proc: pathlib.Path = PROC, cgroup: pathlib.Path = CGROUP) -> dict[str, Any]:
    """Describes the memory.

    Args:
        proc, cgroup: see `cpu`.

    Returns:
        dict with `bytes`, and `limit` (a container's limit in bytes; None: no limit).
    """
    total = ask(lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limits = list(_numbers(proc, cgroup, "memory.max", "memory.limit_in_bytes"))
    if total != UNKNOWN:
        limits = [limit for limit in limits if limit < total]  # "no limit" is a huge number in v1
    return {"bytes": total, "limit": min(limits, default=None)}


def nvidia() -> dict[str, Any]:
    """Describes NVIDIA's driver.

    Returns:
        dict with `driver` (str) and `gpus` (list of str, as nvidia-smi prints them: name, memory,
        version of the driver).
    """
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    printed = ask(
        lambda: subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    )
    gpus = [] if printed == UNKNOWN else [line for line in printed.splitlines() if line.strip()]
    return {"driver": ask(_driver), "gpus": gpus}


def _driver():
    """Says whether NVIDIA's driver loads, and for which CUDA it is."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "not found"
    version = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) or not version.value:
        return "found, but does not answer"
    return f"loads, for CUDA {version.value // 1000}.{version.value % 1000 // 10}"


def _cpuinfo(proc):
    """Returns the lines about the first processor, as a dict."""
    first = (proc / "cpuinfo").read_text(encoding="utf-8").strip().partition("\n\n")[0]
    pairs = [line.partition(":")[::2] for line in first.splitlines()]
    return {name.strip(): value.strip() for name, value in pairs}


def _usable_cores():
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or UNKNOWN


def _cpu_limits(proc, cgroup):
    """Yields the limits of the control groups of this process, in cores."""
    for folder in _groups(proc, cgroup):
        quota, period = _words(folder / "cpu.max", 2)  # version 2
        if quota is None:
            quota, period = (
                _words(folder / f"cpu.cfs_{name}_us", 1)[0] for name in ("quota", "period")
            )
        if _is_count(quota) and _is_count(period):
            yield int(quota) / int(period)


def _numbers(proc, cgroup, *names):
    """Yields the numbers in files of the control groups of this process."""
    for folder in _groups(proc, cgroup):
        for name in names:
            (number,) = _words(folder / name, 1)
            if _is_count(number):
                yield int(number)


def _is_count(word):
    """Whether a word is a number above 0; no limit is "max" in version 2 and -1 in version 1."""
    return word is not None and word.isdecimal() and int(word) > 0


def _words(path, count):
    """Returns the first words of a file; None in their place if it has not so many."""
    words = ask(lambda: path.read_text(encoding="utf-8").split())
    return words[:count] if words != UNKNOWN and len(words) >= count else [None] * count


def _groups(proc: pathlib.Path, cgroup: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the folders of the control groups of this process, and all folders above.

    Their limits hold too. In a container, the path that the kernel names may be the host's; then
    the container's own limits are at the top.
    """
    lines = ask(lambda: (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines())
    for line in [] if lines == UNKNOWN else lines:
        _, controllers, path = f"{line}::".split(":")[:3]
        for root in {cgroup / name for name in (controllers, *controllers.split(","))}:
            folder = root / path.strip("/")
            yield folder
            while folder != root:
                folder = folder.parent
                yield folder
