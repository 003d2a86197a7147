"""What `export` writes gives in each runtime what the model gives."""

import dataclasses

import keras
import numpy as np
import pytest
from tiny_exports import SAVED_MODEL

import keras_maskrcnn as mrcnn
from keras_maskrcnn import MaskRCNN, data
from keras_maskrcnn.runtime import ExportedModel

SHAPES = SAVED_MODEL.parent / "shapes"


@pytest.fixture(scope="module")
def model():
    """A tiny model that finds something."""
    return keras.saving.load_model(SAVED_MODEL.parent / "run" / "model.keras")


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def exported(request, model, tmp_path_factory):
    """The model as an ONNX file in a runtime."""
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip(request.param, reason="needs an extra")
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    return ExportedModel(path, runtime=request.param)


@pytest.mark.parametrize("size", [(64, 64), (50, 90), (200, 130)])
def test_predict_equals_predict_image(model, exported, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image[10:40, 12:44] = 250
    expected, found = mrcnn.predict_image(model, image), exported.predict(image)
    assert len(expected["scores"]) > 0 and set(found) == set(expected)
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=5e-4)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-2)
    assert np.mean(found["masks"] != expected["masks"]) < 1e-4
    assert found["class_names"] == expected["class_names"]
    kinds = {name: value.dtype for name, value in expected.items() if name != "class_names"}
    assert {name: found[name].dtype for name in kinds} == kinds
    assert len(exported.predict(image, 1.0)["masks"]) == 0


def test_a_batch_equals_predict(model, exported):
    images = np.random.default_rng(1).integers(0, 256, (3, 70, 64, 3), np.uint8)
    expected, found = model.predict(images, verbose=0), exported.predict_on_batch(images)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-2, err_msg=name)


def test_evaluate_gives_the_same_ap(model, exported):
    path = SHAPES / "annotations" / "train.json"
    dataset = data.coco_json(SHAPES / "train", path, category_ids=model.config.category_ids)
    expected = mrcnn.evaluate(model, dataset, verbose=0)
    assert mrcnn.evaluate(exported, dataset, verbose=0) == pytest.approx(expected, abs=5e-4)


TILES = {"tile": 64, "overlap": 16, "batch_size": 2, "verbose": 0}


@pytest.fixture(scope="module")
def large():
    """A large image, for a model that knows 64 x 64 pixels."""
    image = np.random.default_rng(0).integers(0, 256, (110, 160, 3), np.uint8)
    image[30:70, 50:80] = image[60:100, 120:150] = 250
    return image


@pytest.fixture(scope="module")
def found_by_model(model, large):
    return mrcnn.predict_large(model, large, **TILES)


def equal_objects(found, expected):
    assert len(expected["scores"]) > 0
    assert len(found["scores"]) == pytest.approx(len(expected["scores"]), abs=1)
    nearest = [np.abs(found["boxes"] - box).max(1).min() for box in expected["boxes"]]
    assert np.mean(np.array(nearest) < 0.05) > 0.95  # a score at the threshold may differ


def test_large_images_are_predicted_alike(exported, large, found_by_model, tmp_path):
    options = {**TILES, "output": tmp_path / "tiles"}
    found = mrcnn.predict_large(exported, large, **options)
    equal_objects(found, found_by_model)
    again = mrcnn.predict_large(
        exported, large, **options
    )  # the file is known as that of this model
    np.testing.assert_array_equal(again["boxes"], found["boxes"])


def test_a_saved_model_predicts_large_images_alike(large, found_by_model, tmp_path):
    exported, options = ExportedModel(SAVED_MODEL), {**TILES, "output": tmp_path / "tiles"}
    found = mrcnn.predict_large(exported, large, **options)
    equal_objects(found, found_by_model)
    again = mrcnn.predict_large(exported, large, **options)
    np.testing.assert_array_equal(again["boxes"], found["boxes"])


@pytest.mark.parametrize("exported", ["onnxruntime"], indirect=True)
def test_replaced_values_equal_those_of_the_config(model, exported):
    images = np.random.default_rng(2).integers(0, 256, (1, 64, 64, 3), np.uint8)
    fields = {"score_threshold": 0.3, "nms_iou": 0.2, "detections_per_image": 7}
    expected = model.with_config(**fields).predict(images, verbose=0)
    found = exported.with_config(**fields).predict_on_batch(images)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-2, err_msg=name)


@pytest.mark.slow
def test_an_rpn_alone_proposes_and_a_faster_rcnn_has_no_masks(tiny_config, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    image = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    for task in ("proposals", "boxes"):
        model = MaskRCNN(dataclasses.replace(tiny_config, task=task, score_threshold=0.0))
        model.export(tmp_path / f"{task}.onnx", format="onnx", verbose=False)
        exported = ExportedModel(tmp_path / f"{task}.onnx")
        expected = model.predict(image[None], verbose=0)
        for name, value in exported.predict_on_batch(image[None]).items():
            np.testing.assert_allclose(value, expected[name], atol=1e-2, err_msg=name)
    assert "masks" not in exported.predict(image)
    rpn = ExportedModel(tmp_path / "proposals.onnx")
    with pytest.raises(ValueError, match="must have an RPN and heads. Received: task='proposals'"):
        rpn.predict(image)
