"""A model file may come from a stranger: one line names the file and what is wrong with it."""

import io
import json
import pathlib
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import cli
from keras_maskrcnn.cli.inputs import list_images, load_model
from keras_maskrcnn.data.sources import SUFFIXES

# A tiny model, saved by version 0.1.
MODEL = pathlib.Path(__file__).parents[1] / "version_0_1" / "run" / "model.keras"
WEIGHTS = "model.weights.h5"


def test_a_zarr_folder_is_one_image(tmp_path):
    files = ["a.png", "b/c.ZARR/0", "b/d.zarr/c/0/1", "b/d.zarr/zarr.json", "e.svs", "f.txt"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path, "out", SUFFIXES) == ["a.png", "b/d.zarr", "e.svs"]
    assert list_images(tmp_path, "out") == ["a.png"]


def changed(path, **entries):
    """Writes a copy of the model with other entries (None: without that entry)."""
    with zipfile.ZipFile(MODEL) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**found, **entries}.items():
            if content is not None:
                archive.writestr(name, content)
    return str(path)


def entry(name):
    with zipfile.ZipFile(MODEL) as archive:
        return archive.read(name)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"detections_per_image": 10**9}, "detections_per_image must be at most 10000"),
        ({"image_max_side": 10**9}, "image_max_side must be at most 20000"),
        ({"pixel_mean": "abc"}, "pixel_mean must be a list of numbers"),
        ({"pixel_mean": [0, float("nan"), 0]}, "pixel_mean must be finite"),
        ({"unknown": 1}, "no such config field"),
    ],
)
def test_a_bad_config_is_named(fields, words, tmp_path):
    config = json.loads(entry("config.json"))
    config["config"]["config"] |= fields
    path = changed(tmp_path / "a.keras", **{"config.json": json.dumps(config)})
    with pytest.raises(ValueError, match=f"a.keras cannot be read as a Keras model: {words}"):
        load_model(path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"config.json": None}, "config.json"),
        ({"config.json": b"[" * 100_000}, "recursion"),
        ({"config.json": b'{"module"'}, "Expecting"),
        ({WEIGHTS: None}, "model.weights.h5"),
        ({WEIGHTS: b"no h5"}, "file signature not found"),
        ({WEIGHTS: entry(WEIGHTS)[:9999]}, "truncated file"),
    ],
    ids=range(6),
)
def test_a_damaged_part_is_named(entries, words, tmp_path):
    path = changed(tmp_path / "a.keras", **entries)
    with pytest.raises(ValueError, match=f"a.keras cannot be read as a Keras model: .*{words}"):
        load_model(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9999])
def test_a_truncated_model_is_named(share, tmp_path, capsys):
    path, data = tmp_path / "a.keras", MODEL.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert cli.run(["export", f"--model={path}", f"--output={tmp_path / 'out'}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.keras cannot be read" in line and "truncated" in line


def test_a_model_that_declares_more_than_it_holds_is_refused(tmp_path):
    path = changed(tmp_path / "a.keras", **{"extra": b"0" * 16})
    data = pathlib.Path(path).read_bytes()
    place = data.rindex(b"PK\x01\x02")  # the last entry in the archive's directory
    pathlib.Path(path).write_bytes(
        data[: place + 24] + (2**31 - 1).to_bytes(4, "little") + data[place + 28 :]
    )
    with pytest.raises(ValueError, match="a.keras .*extra declares 2147483647 bytes and has 16"):
        load_model(path)


def test_weights_that_are_not_finite_are_named(tmp_path):
    content = io.BytesIO(entry(WEIGHTS))
    with h5py.File(content, "r+") as file:
        found = []
        file.visititems(lambda name, item: found.append(name) if name.endswith("vars/0") else None)
        values = file[found[0]]
        values[0] = np.nan
        size, bad = values.size, values[0].size
    path = changed(tmp_path / "a.keras", **{WEIGHTS: content.getvalue()})
    words = f"a.keras: weights must be finite.* Received: {bad} of {size} numbers of "
    with pytest.raises(ValueError, match=words):
        load_model(path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory or disk"),
        (MemoryError("Unable to allocate 8 TiB"), "Unable to allocate 8 TiB"),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "Graph execution error:\n\nDetected at node a\nOOM when allocating b\n"
            ),
            "OOM when allocating b",
        ),
        (tf.errors.ResourceExhaustedError(None, None, "/a/b; No space left on device"), "/a/b"),
        (tf.errors.PermissionDeniedError(None, None, "/a/logs; Permission denied"), "/a/logs"),
        (
            tf.errors.FailedPreconditionError(
                None, None, "{{function_node __w}} /a is not a directory [Op:Create] name: "
            ),
            "train: /a is not a directory",
        ),
        (PermissionError(13, "Permission denied", "/a"), "/a"),
        (ValueError("x must be a name. Received: x=" + "a" * 10**6 + " of a file."), "of a file."),
    ],
)
def test_what_the_machine_refuses_is_one_line_with_status_1(error, words, capsys):
    def command(options):
        raise error

    assert cli._run_command("train", command, None) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keras-maskrcnn train: ") and words in line
    assert len(line) < 2100


def test_other_errors_of_tensorflow_keep_their_trace():
    def command(options):
        raise tf.errors.InternalError(None, None, "a bug in /a/b")

    with pytest.raises(tf.errors.InternalError):
        cli._run_command("train", command, None)
