"""benchmarks/deployment.py, on a tiny model."""

import dataclasses
import importlib
import json
import pathlib
import types

import numpy as np
import pytest

from keras_maskrcnn.model import MaskRCNN

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def deployment(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("deployment")


@pytest.fixture(scope="module")
def tiny_model(tiny_config):
    """A model that always detects something."""
    return MaskRCNN(dataclasses.replace(tiny_config, score_threshold=0.0))


def answers_of(*cpu):
    return [{"cpu": x, "wall": 2 * x, "peak_rss_mib": 7, "detections": 3} for x in cpu]


def test_images_have_the_numbers_of_detections_that_are_asked_for(deployment):
    photo = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)

    def predict_on_batch(images):  # detection i has its score while the contrast exceeds i / 100
        contrast = np.ptp(images[0].astype(float)) / 255
        return {"scores": np.where(np.arange(100) / 100 < contrast, 0.75, 0.25)[None]}

    model = types.SimpleNamespace(
        predict_on_batch=predict_on_batch, config=types.SimpleNamespace(score_threshold=0.05)
    )
    threshold, images = deployment.find_images(model, photo, [3, 20, 100])
    counts = [
        np.sum(predict_on_batch(image[None])["scores"] > threshold) for image in images.values()
    ]
    assert counts == [3, 20, 100]
    np.testing.assert_array_equal(images[100], photo)


def test_ratios_are_medians_over_turns(deployment):
    answers = {("torchvision", 3): answers_of(1, 2, 4), ("ours", 3): answers_of(2, 2, 2)}
    row = deployment.summary(answers, "ours", 3)
    assert row["cpu/torchvision"] == row["wall/torchvision"] == 1.0  # of 2, 1 and 0.5
    assert row["wall"] == {"median": 4, "min": 4, "max": 4}
    assert "cpu/faster_rcnn" not in row


def test_candidates_take_turns_and_those_that_cannot_run_are_named(
    deployment, tiny_model, tmp_path, capsys
):
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    folder = tmp_path / "64x96"
    folder.mkdir()
    tiny_model.export(folder / "onnxruntime_float32.onnx", format="onnx", verbose=False)
    record = json.dumps({"bytes": 1_000_000, "version": deployment.version()})
    (folder / "onnxruntime_float32.json").write_text(record)
    (folder / "onnxruntime_int8.onnx").write_bytes(b"no model")
    (folder / "onnxruntime_int8.json").write_text(record)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    for count in (1, 2):
        np.save(folder / f"{count}.npy", image)
    names = "onnxruntime_float32,onnxruntime_int8,torchvision"
    arguments = f"--folder={tmp_path} --sizes=64x96 --threads=1 --detections=1,2 --repeats=2"
    output = tmp_path / "found.jsonl"
    deployment.main([*arguments.split(), f"--candidates={names}", f"--output={output}"])
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["candidate"], row["wanted"]) for row in rows] == [
        (name, count) for name in names.split(",") for count in (1, 2)
    ]
    expected = int(tiny_model(image[None], training=False)["num_detections"][0])
    for row in rows[:2]:
        assert row["detections"] == expected > 0
        assert 0 < row["cpu"]["min"] <= row["cpu"]["median"] <= row["cpu"]["max"]
        assert row["peak_rss_mib"] > 20 and row["start"]["wall"] > 0 < row["first"]["cpu"]
    assert "onnxruntime_int8.onnx" in rows[2]["unavailable"]
    assert "--peer_python" in rows[4]["unavailable"]
    printed = capsys.readouterr().out
    assert printed.count("| onnxruntime_float32 |") == 2
    assert "onnxruntime_int8 is not available: " in printed


@pytest.mark.slow
def test_a_model_is_exported_and_timed(deployment, tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model.keras")
    names = ["saved_model_float32", "faster_rcnn"]
    arguments = [f"--folder={tmp_path / 'd'}", f"--model={tmp_path / 'model.keras'}"]
    arguments += ["--sizes=64x96", "--threads=1", "--detections=3,100", "--repeats=1"]
    output = tmp_path / "found.jsonl"
    deployment.main([*arguments, f"--candidates={','.join(names)}", f"--output={output}"])
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 2 * len(names)
    for row in rows:
        assert row["detections"] > 0 and row["cpu/faster_rcnn"] > 0
        assert row["export"]["cpu"] > 0 and row["export"]["bytes"] > 0
