"""`predict` and `evaluate`, in Python and as commands, of exported models."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from outside import IMPORTED_FROM
from PIL import Image
from tiny_exports import SAVED_MODEL

import keras_maskrcnn as mrcnn
from keras_maskrcnn import cli, data
from keras_maskrcnn.runtime import ExportedModel

OLD = pathlib.Path(SAVED_MODEL).parent
IMAGES, ANNOTATIONS = OLD / "shapes" / "train", OLD / "shapes" / "annotations" / "train.json"


@pytest.fixture(scope="module")
def model():
    """The model that `SAVED_MODEL` was exported from."""
    return keras.saving.load_model(OLD / "run" / "model.keras")


@pytest.fixture(scope="module")
def exported():
    return ExportedModel(SAVED_MODEL)


def read(model):
    ids = model.config.category_ids
    return data.coco_json(IMAGES, ANNOTATIONS, category_ids=ids)


def run(command, *flags):
    """Runs a command; returns its status."""
    return cli.run([command, *(f"--{flag}" for flag in flags)])


def test_evaluate_scores_an_exported_model_as_the_model(model, exported):
    expected = mrcnn.evaluate(model, read(model), verbose=0, per_class=True)
    assert mrcnn.evaluate(exported, read(exported), verbose=0, per_class=True) == pytest.approx(
        expected, abs=1e-4
    )


def test_an_unreadable_image_is_left_out(exported, tmp_path):
    dataset = dataclasses.replace(read(exported), images=str(tmp_path))
    first = dataset.file_names[0]
    os.symlink(IMAGES / first, tmp_path / first)  # the only image that is there
    assert "segm/AP" in mrcnn.evaluate(exported, dataset, verbose=0, on_error="skip")
    assert sorted(dataset.skipped) == sorted(set(dataset.file_names) - {first})


def test_what_an_exported_model_cannot_do_is_refused(exported):
    dataset = read(exported)
    with pytest.raises(ValueError, match="one by one.* Received: batch_size=2"):
        mrcnn.evaluate(exported, dataset, batch_size=2, verbose=0)
    with pytest.raises(ValueError, match="a model with one takes none. Received: .* and some"):
        mrcnn.evaluate(exported, dataset, proposals={}, verbose=0)
    with pytest.raises(TypeError, match="needs the MaskRCNN itself. Received: .*ExportedModel"):
        mrcnn.explain(exported, dataset, 0)
    with pytest.raises(ValueError, match="must have task='proposals'"):
        mrcnn.propose(exported, dataset, "nowhere")


def test_the_commands_give_what_they_give_for_the_model(tmp_path):
    found = {}
    for name, path in (("keras", OLD / "run" / "model.keras"), ("exported", SAVED_MODEL)):
        out = tmp_path / name
        flags = [f"model={path}", f"images={IMAGES}", f"annotations={ANNOTATIONS}", "quiet"]
        assert run("evaluate", *flags, f"output={out}.json") == 0
        assert run("predict", f"model={path}", f"input={IMAGES}", f"output={out}", "quiet") == 0
        results = json.loads((out / "predictions.json").read_text())
        pictures = [np.asarray(Image.open(path), np.int64) for path in sorted(out.glob("*.png"))]
        metrics = json.loads((tmp_path / f"{name}.json").read_text())
        found[name] = metrics, results, np.stack(pictures)
    (metrics, results, pictures), (others, other_results, other_pictures) = found.values()
    assert metrics == pytest.approx(others, abs=1e-4)
    assert len(results) == len(other_results) > 0
    for one, other in zip(results, other_results, strict=True):
        assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-3)
        assert (one["file_name"], one["category_id"]) == (other["file_name"], other["category_id"])
    assert np.mean(np.abs(pictures - other_pictures)) < 0.1


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("image_min_side=64", r"fixed image_min_side in tensorflow; export .*with_config"),
        ("score_threshold=0.5", "fixed score_threshold in tensorflow"),
        ("runtime=openvino", "this file runs in tensorflow. Received: runtime='openvino'"),
    ],
)
def test_flags_that_a_file_cannot_follow_are_refused(tmp_path, capsys, flag, words):
    flags = [f"model={SAVED_MODEL}", f"input={IMAGES}", f"output={tmp_path / 'out'}", flag]
    assert run("predict", *flags) == 1
    line = capsys.readouterr().err
    assert line.startswith("keras-maskrcnn predict: ") and line.count("\n") == 1
    assert re.search(words, line)


def test_proposals_for_an_exported_model_are_refused(tmp_path, capsys, exported):
    with data.ProposalWriter(tmp_path / "p", read(exported).image_ids) as writer:
        for image_id in read(exported).image_ids:
            writer.add(image_id, np.zeros((0, 4)), np.zeros(0))
    flags = [f"model={SAVED_MODEL}", f"images={IMAGES}", f"annotations={ANNOTATIONS}"]
    assert run("evaluate", *flags, f"output={tmp_path}/o", f"proposals={tmp_path}/p") == 1
    assert "and a model with one takes none" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["threads=1", "runtime=onnxruntime"])
def test_flags_of_exported_models_are_refused_for_others(tmp_path, capsys, flag):
    path = OLD / "run" / "model.keras"
    flags = [f"model={path}", f"input={IMAGES}", f"output={tmp_path / 'out'}", flag]
    assert run("predict", *flags) == 1
    assert f"--{flag.split('=')[0]} is for exported models" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.bin", "model.h5"])
def test_a_file_of_another_kind_is_refused_with_the_kinds(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"")
    flags = [f"model={tmp_path / name}", f"input={IMAGES}", f"output={tmp_path / 'out'}"]
    assert run("predict", *flags) == 1
    line = "a model must be a .keras, .onnx or .xml file, or a SavedModel folder. Received: model="
    assert line in capsys.readouterr().err


def test_other_commands_need_the_keras_file(tmp_path, capsys, onnx_file):
    flags = [f"images={IMAGES}", f"annotations={ANNOTATIONS}", f"output={tmp_path / 'out'}"]
    assert run("explain", f"model={onnx_file}", *flags) == 1
    assert "a model file must end in .keras. Received: model=" in capsys.readouterr().err


def test_predict_of_an_onnx_file_imports_no_tensorflow(onnx_file, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    Image.new("RGB", (40, 30), (204, 204, 204)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    argv = ["predict", f"--model={onnx_file}", f"--input={tmp_path}", f"--output={out}"]
    argv += ["--score_threshold=0.5", "--threads=1", "--mask_paste=torchvision"]
    program = f"import sys\nfrom keras_maskrcnn import cli\nassert cli.run({argv!r}) == 0\n"
    program += "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(IMPORTED_FROM)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "1 detections in 1 images" in done.stdout, done.stderr
    (result,) = json.loads((out / "predictions.json").read_text())
    assert result["category_id"] == 11 and result["score"] == pytest.approx(0.8)
    assert result["bbox"] == [1, 2, 20, 10] and (out / "a.png").exists()
