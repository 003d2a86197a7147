"""A .keras file of a stranger runs no code: commands refuse each known way, in one line."""

import base64
import contextlib
import json
import marshal
import pathlib
import re
import types
import warnings
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import cli
from keras_maskrcnn.cli.inputs import load_model

# A tiny model, saved by version 0.1.
MODEL = pathlib.Path(__file__).parents[1] / "version_0_1" / "run" / "model.keras"


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """The module `trap`: importing or calling it writes the file `sprung`. Returns that file."""
    sprung = tmp_path / "sprung"
    spring = f"open({str(sprung)!r}, 'w').close()\n"
    text = f"{spring}def call(*args, **kwargs):\n    {spring}class Layer:\n    pass\n"
    (tmp_path / "trap.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield sprung
    assert not sprung.exists()


def function(module, name):
    """A function as Keras describes it in a config."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def code(sprung):
    """A lambda that writes the file, as Keras stores its code."""
    (inner,) = (
        part
        for part in compile(f"lambda x: open({str(sprung)!r}, 'w')", "x", "eval").co_consts
        if isinstance(part, types.CodeType)
    )
    raw = base64.b64encode(marshal.dumps(inner)).decode()
    return {
        "class_name": "__lambda__",
        "config": {"code": raw, "defaults": None, "closure": None},
    }


def layer(class_name, module="keras.layers", **config):
    """A layer as Keras describes it in a config."""
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


# What a file asks for, and a pattern of the answer.
WAYS = {
    "code of a lambda": (
        lambda sprung: layer("Lambda", function=code(sprung)),
        "deserialization of a `Lambda` layer",
    ),
    "download (CVE-2025-8747)": (
        lambda sprung: layer(
            "Lambda",
            function=function("keras.utils", "get_file"),
            arguments={"fname": str(sprung), "origin": MODEL.as_uri()},
        ),
        "Cannot deserialize `keras.utils.get_file`",
    ),
    "switching the safe mode off (CVE-2025-9906)": (
        lambda sprung: layer(
            "Lambda", function=function("keras.config", "enable_unsafe_deserialization")
        ),
        "Cannot deserialize `keras.config.enable_unsafe",
    ),
    "a SavedModel (CVE-2026-1462)": (
        lambda sprung: layer("TFSMLayer", filepath="saved", call_endpoint="serve"),
        "deserialization of a `TFSMLayer`",
    ),
    "a function of a module": (
        lambda sprung: layer("Lambda", function=function("trap", "call")),
        "Could not locate function 'call'",
    ),
    "a class of a module (CVE-2025-1550)": (
        lambda sprung: layer("Layer", module="trap"),
        "Could not locate class 'Layer'|unknown class: .* Received: Layer",
    ),
    "a function of the system": (
        lambda sprung: layer(
            "Lambda", function=function("os", "system"), arguments={"command": f"touch {sprung}"}
        ),
        "Could not locate function 'system'",
    ),
}


def write_model(path, config):
    """Writes a copy of the model with another config."""
    with zipfile.ZipFile(MODEL) as source, zipfile.ZipFile(path, "w") as copy:
        for name in source.namelist():
            content = json.dumps(config) if name == "config.json" else source.read(name)
            copy.writestr(name, content)


def refused(path, capsys):
    """The one line with which `export` refuses a model."""
    assert cli.run(["export", f"--model={path}", f"--output={path.parent / 'out'}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path} cannot be read as a Keras model: " in line
    return line


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["the model", "its backbone"])
def test_a_model_from_a_stranger_runs_no_code(way, place, trap, tmp_path, capsys):
    asked, words = WAYS[way]
    network = layer(
        "Sequential",
        module="keras",
        name="network",
        layers=[layer("InputLayer", batch_shape=[None, 4], name="images"), asked(trap)],
    )
    if place == "its backbone":
        with zipfile.ZipFile(MODEL) as archive:
            config = json.loads(archive.read("config.json"))
        network = {**config, "config": {**config["config"], "backbone": network}}
    module = tf.Module()
    module.serve = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None, 4])])
    tf.saved_model.save(module, "saved")
    write_model(tmp_path / "a.keras", network)
    assert re.search(words, refused(tmp_path / "a.keras", capsys))


def test_weights_of_a_model_cannot_lie_in_another_file(trap, tmp_path, capsys):
    far, weights = tmp_path / "far.bin", tmp_path / "model.weights.h5"
    with zipfile.ZipFile(MODEL) as source:
        source.extract(weights.name, tmp_path)
        others = {n: source.read(n) for n in source.namelist() if n != weights.name}
    with h5py.File(weights, "r+") as file:
        found = []
        file.visititems(lambda name, _: found.append(name) if name.endswith("vars/0") else None)
        values = np.asarray(file[found[0]])
        values.tofile(far)
        del file[found[0]]
        place = [(str(far), 0, values.nbytes)]
        file.create_dataset(found[0], values.shape, values.dtype, external=place)
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as copy:
        copy.write(weights, weights.name)
        for name, content in others.items():
            copy.writestr(name, content)
    assert "Not allowed: H5 file" in refused(tmp_path / "a.keras", capsys)


def test_entries_of_a_model_stay_in_its_folder(trap, tmp_path):
    """Keras unpacks a file that has assets."""
    with zipfile.ZipFile(MODEL) as source, zipfile.ZipFile(tmp_path / "a.keras", "w") as copy:
        for name in source.namelist():
            copy.writestr(name, source.read(name))
        copy.writestr("assets/layer/words.txt", "a")
        for name in (str(trap), f"../../../../../../..{trap}", f"assets/../../../../..{trap}"):
            copy.writestr(name, "b")
    before = set(tmp_path.rglob("*"))
    # Keras leaves these entries out and warns. Keras 3.13.2 fails before it has warned.
    with warnings.catch_warnings(), contextlib.suppress(ValueError):
        warnings.simplefilter("ignore")
        load_model(str(tmp_path / "a.keras"))
    assert set(tmp_path.rglob("*")) == before and not trap.exists()
