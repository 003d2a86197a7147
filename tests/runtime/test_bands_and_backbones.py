"""What a user does with an exported model of other bands, or of a network of Keras.

Each test exports a model, so all are slow.
"""

import dataclasses
import json

import numpy as np
import pytest
import whole_life

import keras_maskrcnn as mrcnn
from keras_maskrcnn import cli
from keras_maskrcnn.runtime import ExportedModel

slow = pytest.mark.slow
KINDS = {
    "five bands": {"in_channels": 5, "image_dtype": "uint16", "backbone_width": 8},
    "mobilenetv3": {"backbone": "mobilenetv3_large"},
}


@pytest.fixture(scope="module")
def model_of(tiny_config):
    """Function that returns the model of a kind, always the same."""
    made = {}

    def get(kind):
        if kind not in made:
            own = {"pixel_mean": (), "pixel_std": (), "pixel_max": 0.0, "score_threshold": 0.0}
            config = dataclasses.replace(tiny_config, **{**own, **KINDS[kind]})
            made[kind] = mrcnn.MaskRCNN(config)
            whole_life.enliven(made[kind])
        return made[kind]

    return get


def image_of(model, height=70, width=90):
    config = model.config
    pixels = np.random.default_rng(0).uniform(0, 1, (height, width, config.in_channels))
    return (pixels * config.pixel_max).astype(config.image_dtype)


@pytest.fixture(scope="module")
def five_bands(model_of, tmp_path_factory):
    """The model of five bands in an ONNX file, which has no native operations."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    path = tmp_path_factory.mktemp("five") / "model.onnx"
    model_of("five bands").export(path, format="onnx", verbose=False)
    return path


@slow
@pytest.mark.parametrize("format", ["onnx", "tf_saved_model"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_model_has_the_detections_of_predict(model_of, kind, format, tmp_path):
    if format == "onnx":
        pytest.importorskip("onnxruntime", reason="needs the extra onnx")
        if kind == "mobilenetv3":
            pytest.importorskip("tf2onnx", reason="tf2onnx (extra onnx) is not installed")
    model = model_of(kind)
    path = tmp_path / ("model.onnx" if format == "onnx" else "served")
    model.export(path, format=format, verbose=False)
    image, exported = image_of(model), ExportedModel(path)
    expected = model.predict(image[None], verbose=0)
    found = exported.predict_on_batch(image[None])
    assert expected["num_detections"][0] > 0 and set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-3, err_msg=name)
    ours, theirs = (mrcnn.predict_image(m, image) for m in (model, exported))
    np.testing.assert_allclose(theirs["boxes"], ours["boxes"], atol=1e-2)
    assert (np.asarray(theirs["masks"]) == np.asarray(ours["masks"])).mean() > 0.999


@slow
def test_one_line_says_which_pixels_a_model_of_five_bands_takes(five_bands):
    exported = ExportedModel(five_bands)
    for images, received in (
        (np.zeros((64, 96, 5), np.uint8), r"shape=\(64, 96, 5\), dtype=uint8"),
        (np.zeros((64, 96, 5), np.float32), r"shape=\(64, 96, 5\), dtype=float32"),
        (np.zeros((64, 96, 3), np.uint16), r"shape=\(64, 96, 3\), dtype=uint16"),
        (np.zeros((64, 96), np.uint16), r"shape=\(64, 96\), dtype=uint16"),
    ):
        words = rf"must be a \(.*H, W, 5\) uint16 .*array .*Received: .*{received}\.$"
        for run, given in (
            (exported.predict, images),
            (lambda image: mrcnn.predict_image(exported, image), images),
            (exported.predict_on_batch, images[None]),
        ):
            with pytest.raises(
                ValueError, match=words if given is images else "images must be"
            ) as e:
                run(given)
            assert "\n" not in str(e.value)


@slow
def test_predict_in_tiles_takes_an_exported_model_of_five_bands(model_of, five_bands, tmp_path):
    model = model_of("five bands")
    model.save(tmp_path / "model.keras")
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "large.npy", image_of(model, 150, 200))
    found = {}
    for name, path in (("keras", tmp_path / "model.keras"), ("onnx", five_bands)):
        flags = [f"--model={path}", f"--input={tmp_path / 'in'}", f"--output={tmp_path / name}"]
        flags += ["--tile=96", "--overlap=24", "--bands=5,4,1", "--quiet"]
        assert cli.run(["predict", *flags]) == 0
        found[name] = json.loads((tmp_path / name / "predictions.json").read_text())
        assert (tmp_path / name / "large.png").exists()
    assert len(found["onnx"]) == len(found["keras"]) > 0
    for ours, theirs in zip(found["keras"], found["onnx"], strict=True):
        assert ours["category_id"] == theirs["category_id"]
        np.testing.assert_allclose(theirs["bbox"], ours["bbox"], atol=0.1)


@slow
def test_predict_in_tiles_names_a_file_of_other_bands(five_bands, tmp_path, capsys):
    np.save(tmp_path / "rgb.npy", np.zeros((150, 200, 3), np.uint16))
    flags = [
        f"--model={five_bands}",
        f"--input={tmp_path / 'rgb.npy'}",
        "--tile=96",
        "--overlap=24",
    ]
    assert cli.run(["predict", *flags, f"--output={tmp_path / 'out'}", "--quiet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "rgb.npy: an image must have 5 bands" in line and "Received: 3 bands" in line
