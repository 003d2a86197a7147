"""examples/finetune_colab.ipynb and examples/finetune.py run, on local files."""

import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys

import keras
import numpy as np
import parity
import pytest
import tensorflow as tf
from notebook_data import via
from outside import IMPORTED_FROM

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
SHAPES = runpy.run_path(str(EXAMPLES / "shapes.py"))
NOTEBOOK = json.loads((EXAMPLES / "finetune_colab.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SMALL = {
    "PRESET": "mask_rcnn_resnet18_fpn_small",
    "WEIGHTS": None,
    "IMAGE_SIZE": 64,
    "STEPS": 2,
    "EPOCHS": 1,
}
WIDTHS = ("backbone_width", "fpn_channels", "box_head_units", "mask_head_channels")


def tags(cell):
    return set(cell["metadata"].get("tags", ()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    SHAPES["make_shapes"](folder, train=4, val=2, size=64)
    return folder


def in_a_process(program, folder):
    """Runs a program in a new process, and returns its printed output."""
    environment = {**os.environ, "PYTHONPATH": str(IMPORTED_FROM)}
    done = subprocess.run(
        [sys.executable, *program], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_finetuned(output):
    """Asserts that the model, the SavedModel and the curves exist."""
    assert isinstance(keras.models.load_model(output / "model.keras"), keras.Model)
    assert "serving_default" in tf.saved_model.load(output / "served" / "1").signatures
    assert list((output / "logs").rglob("events.out.tfevents.*"))


def test_notebook_is_of_format_4_and_holds_no_outputs():
    assert set(NOTEBOOK) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in NOTEBOOK["cells"]:
        fields = {"cell_type", "id", "metadata", "source"}
        if cell in CODE:
            assert cell["outputs"] == [] and cell["execution_count"] is None
            fields |= {"outputs", "execution_count"}
        assert set(cell) == fields
    assert sum(tags(cell) == {"parameters"} for cell in CODE) == 1


@pytest.mark.usefixtures("eager")
def test_notebook_runs_without_its_downloads(folder, tmp_path, monkeypatch, capsys):
    for part in ("train", "val"):  # as the download would have made them
        shutil.copytree(folder / part, tmp_path / "balloon" / part)
        content = json.loads((folder / "annotations" / f"{part}.json").read_text())
        path = tmp_path / "balloon" / part / "via_region_data.json"
        path.write_text(json.dumps(via(content)))
    # torchvision's layout, but narrow: the network of the golden files.
    np.savez(tmp_path / "coco.npz", **parity.peer_weights("fpn_torchvision"))
    numbers = {
        **SMALL,
        "PRESET": "mask_rcnn_resnet50_fpn_torchvision",
        "WEIGHTS": "coco.npz",
        "CONFIG": {name: parity.TINY[name] for name in WIDTHS},
    }
    program = ["pictures = []", "display = pictures.append  # Jupyter's"]
    for cell in CODE:
        if tags(cell) & {"download", "colab"}:
            continue
        program.append("".join(cell["source"]))
        if tags(cell) == {"parameters"}:
            program += [f"{name} = {value!r}" for name, value in numbers.items()]
    # The training images, both validation images, the explanation.
    program.append("assert len(pictures) == 4, pictures")
    (tmp_path / "cells.py").write_text("\n".join(program))
    monkeypatch.chdir(tmp_path)
    runpy.run_path("cells.py")
    printed = capsys.readouterr().out
    assert "4 images and" in printed and "val_segm/AP50" in printed
    assert "objects found." in printed and "predictors, as asked" in printed
    assert_finetuned(tmp_path / "finetuned")
    model = keras.models.load_model(tmp_path / "finetuned" / "model.keras")
    expected = parity.peer_weights("fpn_torchvision")["backbone.body.conv1.weight"]
    kernel = model.backbone.get_layer("stem").kernel  # frozen: still as in the file
    np.testing.assert_array_equal(kernel, expected.transpose(2, 3, 1, 0))


@pytest.mark.slow
def test_script_does_the_same(folder, tmp_path):
    flags = [f"--{name.lower()}={value or ''}" for name, value in SMALL.items()]
    for part, prefix in (("train", ""), ("val", "val_")):
        flags.append(f"--{prefix}images={folder / part}")
        flags.append(f"--{prefix}annotations={folder / 'annotations' / part}.json")
    flags.append("--output=finetuned")
    printed = in_a_process([EXAMPLES / "finetune.py", *flags], tmp_path)
    assert "on 2 images." in printed and "objects found." in printed
    assert_finetuned(tmp_path / "finetuned")
    assert "segm/AP50" in json.loads((tmp_path / "finetuned" / "metrics.json").read_text())
    assert len(list((tmp_path / "finetuned" / "pictures").glob("*.png"))) == 2
