import subprocess

import pytest

from keras_maskrcnn.environment import machine

CPUINFO = """processor\t: 0
model name\t: AMD EPYC
flags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni fma

processor\t: 1
model name\t: another
"""


@pytest.fixture
def linux(tmp_path):
    """Returns (proc, cgroup), and fills them with files: path below tmp_path = text."""

    def make(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return {"proc": tmp_path / "proc", "cgroup": tmp_path / "cgroup"}

    return make


def test_features_are_those_of_the_first_processor(linux):
    found = machine.cpu(**linux(proc__cpuinfo=CPUINFO))
    assert found["model"] == "AMD EPYC"
    assert found["features"] == ["AVX2", "AVX-512", "AVX-512 VNNI", "AVX-512 BF16"]


def test_an_arm_processor_lists_features_under_another_name(linux):
    found = machine.cpu(**linux(proc__cpuinfo="processor\t: 0\nFeatures\t: fp asimd bf16\n"))
    assert found["features"] == ["NEON", "Arm BF16"]


def test_on_another_system_all_is_unknown_that_only_linux_tells(linux, monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.delattr("os.sysconf")
    monkeypatch.delattr("os.getloadavg")
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: 1 / 0)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    found = machine.cpu(**linux())
    assert (found["model"], found["features"]) == ("unknown", "unknown")
    assert (found["cores"], found["cores_of_machine"], found["limit"]) == (8, 8, None)
    assert machine.memory(**linux()) == {"bytes": "unknown", "limit": None}
    assert machine.load() == "unknown" and machine.system()


def test_the_lowest_limit_of_all_groups_above_holds(linux):
    """Version 2: the process is in /a/b; its own group has no limit, and the one above has."""
    folders = linux(
        proc__self__cgroup="0::/a/b\n",
        cgroup__a__b__cpuDOTmax="max 100000\n",
        cgroup__a__cpuDOTmax="150000 100000\n",
        cgroup__a__b__memoryDOTmax="max\n",
        cgroup__a__memoryDOTmax="1048576\n",
    )
    assert machine.cpu(**folders)["limit"] == 1.5
    assert machine.memory(**folders)["limit"] == 1048576


def test_limits_of_version_1_are_read_at_the_top_of_a_container(linux):
    """Its group has the host's path, which does not exist in the container."""
    folders = linux(
        proc__self__cgroup="4:memory:/docker/5f\n1:cpu,cpuacct:/docker/5f\n",
        **{
            "cgroup__cpu,cpuacct__cpuDOTcfs_quota_us": "50000\n",
            "cgroup__cpu,cpuacct__cpuDOTcfs_period_us": "100000\n",
            "cgroup__memory__memoryDOTlimit_in_bytes": "2097152\n",
        },
    )
    assert machine.cpu(**folders)["limit"] == 0.5
    assert machine.memory(**folders)["limit"] == 2097152


def test_no_limit_of_version_1_is_no_limit(linux):
    folders = linux(
        proc__self__cgroup="4:memory:/\n1:cpu:/\nnonsense\n",
        cgroup__cpu__cpuDOTcfs_quota_us="-1\n",
        cgroup__cpu__cpuDOTcfs_period_us="100000\n",
        cgroup__memory__memoryDOTlimit_in_bytes="9223372036854771712\n",
    )
    assert machine.cpu(**folders)["limit"] is None
    assert machine.memory(**folders)["limit"] is None


def test_gpus_are_the_lines_of_nvidia_smi(monkeypatch):
    done = subprocess.CompletedProcess([], 0, "Tesla T4, 15360 MiB, 550.54.15\n\n", "")
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: done)
    assert machine.nvidia()["gpus"] == ["Tesla T4, 15360 MiB, 550.54.15"]


def test_without_nvidia_smi_and_driver_there_is_no_gpu(monkeypatch):
    def missing(*args, **kwargs):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr("subprocess.run", missing)
    monkeypatch.setattr("ctypes.CDLL", missing)
    assert machine.nvidia() == {"driver": "not found", "gpus": []}


@pytest.mark.parametrize(
    ("status", "version", "words"),
    [
        (0, 12080, "loads, for CUDA 12.8"),
        (0, 0, "found, but does not answer"),
        (100, 0, "found, but does not answer"),
    ],
)
def test_the_driver_says_for_which_cuda_it_is(monkeypatch, status, version, words):
    class Library:
        def cuDriverGetVersion(self, place):  # noqa: N802
            place._obj.value = version
            return status

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library())
    assert machine.nvidia()["driver"] == words
