import importlib
import importlib.metadata
import logging
import re

import pytest

from keras_maskrcnn._version import __version__
from keras_maskrcnn.environment import versions


@pytest.fixture
def installed(monkeypatch):
    """Returns a function that sets what is installed: dicts of name to version, and of modules."""

    def install(found, modules=None, requires=()):
        def version(name):
            if name not in found:
                raise importlib.metadata.PackageNotFoundError(name)
            return found[name]

        monkeypatch.setattr("importlib.metadata.version", version)
        monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: modules or {})
        monkeypatch.setattr("importlib.metadata.requires", lambda name: list(requires))
        versions.shared.cache_clear()

    yield install
    monkeypatch.undo()
    versions.shared.cache_clear()


def test_every_package_of_this_environment_has_a_version():
    found = versions.packages()
    assert found["keras_maskrcnn"] == __version__
    assert re.match(r"\d+\.\d+", found["numpy"]) and re.match(r"\d+\.\d+", found["protobuf"])
    assert set(versions.OPTIONAL) <= set(found)


def test_a_missing_package_and_a_broken_one_do_not_end_the_list(installed, monkeypatch):
    installed({"tensorflow": "2.20.0"})
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: 1 / 0)
    found = versions.packages()
    assert found["tensorflow"] == "2.20.0" and found["onnxruntime"] == "not installed"
    monkeypatch.setattr("importlib.metadata.version", lambda name: 1 / 0)
    assert versions.packages()["tensorflow"] == "unknown"


def test_keras_nightly_stands_in_the_place_of_keras(installed):
    installed({"keras-nightly": "3.16.0.dev1"}, {"keras": ["keras-nightly"]})
    found = versions.packages()
    assert found["keras-nightly"] == "3.16.0.dev1" and "keras" not in found
    assert versions.same_files() == {}


def test_two_packages_with_the_same_files_are_found(installed):
    both = {"keras": ["keras-nightly", "keras", "keras"], "tensorflow": ["tensorflow"]}
    installed({"keras": "3.15.1", "keras-nightly": "3.16.0.dev1"}, both)
    assert versions.same_files() == {"keras": ["keras", "keras-nightly"]}
    assert {"keras", "keras-nightly"} <= set(versions.packages())


def test_what_a_package_logs_when_it_fails_is_not_shown(monkeypatch, caplog):
    def import_module(name):
        logging.error("a traceback")
        raise RuntimeError("too old")

    monkeypatch.setattr("importlib.import_module", import_module)
    faults = versions.faulty_imports()
    assert faults["keras"] == "RuntimeError: too old" and not caplog.records
    logging.error("of another program")
    assert len(caplog.records) == 1


def test_versions_that_the_package_does_not_take_are_named(installed):
    installed(
        {"keras": "3.8.0", "numpy": "2.1.3", "tf2onnx": "1.8", "tensorflow": "2.22.0rc0"},
        requires=[
            "keras>=3.13.2",
            "numpy>=2.0",
            "tensorflow>=2.18",
            "pycocotools>=2.0.8",
            'tf2onnx>=1.17; extra == "onnx"',
            'onnxruntime>=1.20; extra == "onnx"',
        ],
    )
    assert versions.unsuitable() == [
        "keras>=3.13.2 is required, and keras is 3.8.0.",
        "pycocotools>=2.0.8 is required, and pycocotools is not installed.",
        "tf2onnx>=1.17 is required, and tf2onnx is 1.8.",
    ]


def test_a_nightly_version_counts_as_the_package(installed):
    installed(
        {"keras-nightly": "3.16.0.dev2026102704"},
        {"keras": ["keras-nightly"]},
        requires=["keras>=3.13.2"],
    )
    assert versions.unsuitable() == []


def test_an_installed_package_that_cannot_be_imported_is_named(monkeypatch):
    def import_module(name):
        if name in ("safetensors", "h5py", "onnxruntime"):
            raise AttributeError(f"no\n{name}")

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(
        versions, "version", lambda name: "not installed" if name == "onnxruntime" else "1.0"
    )
    assert versions.faulty_imports() == {
        "h5py": "AttributeError: no h5py",
        "safetensors": "AttributeError: no safetensors",
    }


def test_a_long_message_is_cut():
    assert versions.one_line(ValueError("x" * 5000)) == f"ValueError: {'x' * 300}"
