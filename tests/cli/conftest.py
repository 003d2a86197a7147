"""Fixtures for the commands: a broken image, a fake model, a tiny data set, a tiny model."""

import json
import pathlib
import types

import numpy as np
import pytest
from PIL import Image
from tiny_runs import make_shapes

from keras_maskrcnn import cli, data
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.instance_masks import InstanceMasks


@pytest.fixture
def broken(tmp_path):
    """Three images and their annotations; b.png is cut off in the middle."""
    (tmp_path / "images").mkdir()
    images = []
    for i, name in enumerate(["a.png", "b.png", "c.png"]):
        path = tmp_path / "images" / name
        noise = np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(path)
        images.append({"id": i + 1, "file_name": name, "height": 40, "width": 60})
    whole = path.read_bytes()
    (tmp_path / "images" / "b.png").write_bytes(whole[: len(whole) // 2])
    annotations = [
        {
            "id": i,
            "image_id": i,
            "category_id": 3,
            "bbox": [5, 5, 20, 20],
            "area": 400,
            "iscrowd": 0,
            "segmentation": [[5, 5, 25, 5, 25, 25, 5, 25]],
        }
        for i in (1, 2, 3)
    ]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cell"}],
    }
    (tmp_path / "ann.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def model(monkeypatch):
    """Replaces the model of every --model; it finds one object per image."""
    fake = types.SimpleNamespace(config=MaskRCNNConfig(num_classes=1), calls=[])

    def predict_image(model, image, max_mask_overlap):
        fake.calls.append(image.shape)
        return {
            "boxes": np.array([[1, 2, 21, 12]], np.float32),
            "scores": np.array([0.75], np.float32),
            "labels": np.array([1], np.int32),
            "masks": InstanceMasks.of(np.ones([1, *image.shape[:2]], bool)),
        }

    monkeypatch.setattr("keras_maskrcnn.cli.inputs.load_model", lambda path: fake)
    monkeypatch.setattr("keras_maskrcnn.detections.predict_image", predict_image)
    return fake


@pytest.fixture
def scored(model, monkeypatch):
    """Replaces the evaluation; returns a list of the data sets that were scored."""
    calls = []

    def evaluate(model, dataset, **options):
        calls.append(dataset)
        for index in range(len(dataset)):
            try:
                dataset.load_image(index)
            except data.DataError:
                dataset.skipped[dataset.file_names[index]] = 1
        return {"bbox/AP": 0.25}

    monkeypatch.setattr("keras_maskrcnn.evaluation.evaluate", evaluate)
    return calls


@pytest.fixture
def run(broken):
    """Returns a function that runs a command on the data set and returns its status."""

    def run(command, output, *flags):
        read = (
            [f"--input={broken / 'images'}"]
            if command == "predict"
            else [f"--images={broken / 'images'}", f"--annotations={broken / 'ann.json'}"]
        )
        return cli.run([command, "--model=m.keras", *read, f"--output={output}", *flags])

    return run


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A data set of shapes: six training images and three for validation."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(folder, train=6, val=3, size=64)
    return folder


@pytest.fixture(scope="session")
def small_model():
    """The .keras file of a tiny model that `train` trained for four steps on other shapes."""
    return pathlib.Path(__file__).parents[1] / "version_0_1" / "run" / "model.keras"
