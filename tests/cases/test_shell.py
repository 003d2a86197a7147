"""Runs each command line of the cases' README.txt files, as cheaply as possible."""

import json
import types

import numpy as np
import pytest

from keras_maskrcnn import cli
from keras_maskrcnn.config import MaskRCNNConfig

SMALL = [
    "--preset=mask_rcnn_resnet18_fpn_small",
    "--image_size=96",
    "--fpn_channels=16",
    "--box_head_units=16",
    "--mask_head_channels=16",
    "--steps=1",
]


def test_fine_tuning_to_other_classes_names_what_starts_afresh(case, tmp_path, capsys, monkeypatch):
    folder, models = case("weights_of_a_model_with_other_classes"), []

    def fit(model, *args, **kwargs):  # a real step would be traced for ten seconds
        models.append(model)

    monkeypatch.setattr("keras_maskrcnn.MaskRCNN.fit", fit)

    def train(part, output, *flags):
        flags += (f"--images={folder / part / 'images'}", f"--output={tmp_path / output}")
        flags += (f"--annotations={folder / part / 'ann.json'}",)
        assert cli.run(["train", *SMALL, *flags]) == 0
        return capsys.readouterr().out.splitlines()

    train("two", "two")
    models[0].save_weights(tmp_path / "two" / "model.weights.h5")
    for i, name in enumerate(["model.keras", "model.weights.h5"]):
        path = tmp_path / "two" / name
        lines = train("three", f"three{i}", f"--weights={path}")
        assert lines[0] == f"Loaded {path}, but these weights start afresh:"
        assert sorted(line.strip() for line in lines[1:7]) == [
            "box_head/box_deltas/bias",
            "box_head/box_deltas/kernel",
            "box_head/class_logits/bias",
            "box_head/class_logits/kernel",
            "mask_head/logits/bias",
            "mask_head/logits/kernel",
        ]
        kernels = [model.box_head.get_layer("fc1").kernel for model in models]
        np.testing.assert_array_equal(kernels[0], kernels[-1])


@pytest.fixture
def any_model(monkeypatch):
    """Stands in for ANY.keras; its detections do not matter."""
    config = MaskRCNNConfig(num_classes=2, category_ids=(3, 7))
    nothing = {"boxes": np.zeros([0, 4]), "scores": np.zeros(0), "labels": np.zeros(0, int)}
    model = types.SimpleNamespace(config=config)
    monkeypatch.setattr("keras_maskrcnn.cli.inputs.load_model", lambda path: model)
    monkeypatch.setattr("keras_maskrcnn.detections.predict_image", lambda *args, **k: nothing)
    monkeypatch.setattr("keras_maskrcnn.evaluation.evaluate", lambda *args, **k: {"bbox/AP": 0.5})


def test_predict_goes_on_behind_the_broken_image(case, any_model, tmp_path, capsys):
    images = case("predict_stops_at_one_broken_image") / "images"
    argv = ["predict", "--model=ANY.keras", f"--input={images}", f"--output={tmp_path / 'p'}"]
    assert cli.run(argv) == 1
    written = sorted(path.name for path in (tmp_path / "p").iterdir())
    assert written == ["im0.png", "im2.png", "im3.png", "predictions.json"]
    assert "1 of 4 images could not be read" in (line := capsys.readouterr().err)
    assert "im1.jpg" in line


def test_evaluate_makes_the_folder_and_prints_the_numbers(case, any_model, tmp_path, capsys):
    folder, output = case("evaluate_into_a_missing_folder"), tmp_path / "no_such" / "metrics.json"
    argv = ["evaluate", "--model=ANY.keras", f"--images={folder / 'images'}"]
    argv += [f"--annotations={folder / 'ann.json'}", f"--output={output}"]
    assert cli.run(argv) == 0
    assert json.loads(output.read_text()) == {"bbox/AP": 0.5}
    assert "0.5000" in capsys.readouterr().out
