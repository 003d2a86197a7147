"""Models of other bands and dtypes give in each runtime what `predict` gives."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from families import assert_close, assert_same_detections
from PIL import Image

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.detections import predict_image
from keras_maskrcnn.export.portable_model import PortableModel
from keras_maskrcnn.export.signatures import trace_signatures
from keras_maskrcnn.runtime import ExportedModel

slow = pytest.mark.slow
KINDS = {
    "gray8": {"in_channels": 1},
    "five8": {"in_channels": 5},
    "gray16": {"in_channels": 1, "image_dtype": "uint16", "pixel_max": 4095.0},
    "four_floats": {"in_channels": 4, "image_dtype": "float32"},
    "three8_of_one": {"in_channels": 1, "pixel_mean": (120.0,), "pixel_std": (60.0,)},
    "torchvision_floats": {
        "in_channels": 2,
        "image_dtype": "float32",
        "pixel_max": 3.0,
        "resize_rule": "torchvision",
    },
}
NEW = {"pixel_mean": (), "pixel_std": (), "pixel_max": 0.0}  # not those of the tiny config
DEFAULT = ("gray16", "four_floats")  # the default run converts these
EVERY_KIND = [name if name in DEFAULT else pytest.param(name, marks=slow) for name in KINDS]


@pytest.fixture(scope="module")
def model_of(lively, tiny_config):
    """Function that returns the model of a kind, always the same."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = lively(tiny_config, backbone_width=8, **{**NEW, **KINDS[kind]})
        return made[kind]

    return get


def images_of(model, batch, height, width):
    """Random images in the model's units, a little brighter than white for 16 bits and floats."""
    config = model.config
    shape = (batch, height, width, config.in_channels)
    pixels = np.random.default_rng(batch).uniform(0, 1, shape)
    most = 255 if config.image_dtype == "uint8" else config.pixel_max * 1.1
    return (pixels * most).astype(config.image_dtype)


SHAPES = ((1, 64, 96), (2, 50, 70), (2, 80, 120))  # as it is, larger, smaller


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_an_onnx_file_finds_what_the_model_finds(model_of, kind, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    model, path = model_of(kind), tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    exported = ExportedModel(path)
    for shape in SHAPES:
        images = images_of(model, *shape)
        assert_close(exported.predict_on_batch(images), model(images), 1e-3)
    assert exported.config == model.config
    described = {name: exported.description[name] for name in ("in_channels", "image_dtype")}
    assert described == {name: getattr(model.config, name) for name in described}
    with pytest.raises(ValueError, match=f"images must be a .B, H, W, {model.config.in_channels}"):
        exported.predict_on_batch(images[..., :0])


@pytest.mark.parametrize(
    ("fields", "dtype", "names"),
    [
        ({"in_channels": 5}, tf.uint8, ["serving_default", "describe"]),
        (
            {"in_channels": 4, "image_dtype": "uint16"},
            tf.uint16,
            ["serving_default", "serve_image_bytes", "describe"],
        ),
        ({"image_dtype": "float32"}, tf.float32, ["serving_default", "describe"]),
    ],
)
def test_signatures_take_the_pixels_of_the_config(fields, dtype, names):
    config = MaskRCNNConfig(image_min_side=64, image_max_side=96, **fields)
    seen = []

    def forward(inputs):
        seen.append(inputs["images"].dtype if isinstance(inputs, dict) else inputs.dtype)
        return {"scores": tf.constant([0.5])}

    traced = trace_signatures(forward, config, "soft", 10_000, "text")
    spec = traced["serving_default"].inputs[0]
    assert list(traced) == names and spec.dtype == dtype and seen[0] == dtype
    assert spec.shape.as_list() == [None, None, None, config.in_channels]


@slow
@pytest.mark.parametrize("kind", ["gray16", "five8"])
def test_a_saved_model_finds_what_the_model_finds(model_of, kind, tmp_path, capsys):
    model = model_of(kind)
    model.export(tmp_path / "1", warmup_sizes=[(16, 24)])
    out = capsys.readouterr().out
    exported = ExportedModel(tmp_path)
    for shape in SHAPES:
        images = images_of(model, *shape)
        assert_close(exported.predict_on_batch(images), model(images), 1e-4)
    signatures = exported._file._loaded.signatures
    if kind == "five8":
        assert "serve_image_bytes" not in signatures and not exported.description["encoded_images"]
        assert "It has no signature serve_image_bytes: JPEG and PNG files, as TensorFlow" in out
        return
    assert "(serving_default, serve_image_bytes, describe)" in out and "no signature" not in out
    buffer = io.BytesIO()
    Image.fromarray(images[0, ..., 0]).save(buffer, "PNG")
    found = signatures["serve_image_bytes"](image_bytes=tf.constant([buffer.getvalue()]))
    assert_close({name: value.numpy() for name, value in found.items()}, model(images[:1]), 1e-4)
    expected = predict_image(model, images[0])
    np.testing.assert_allclose(
        exported.predict(images[0, ..., 0])["boxes"], expected["boxes"], atol=1e-3
    )


@slow
@pytest.mark.parametrize("kind", ["gray16", "five8", "four_floats"])
def test_openvino_finds_what_the_model_finds(model_of, kind, tmp_path):
    pytest.importorskip("openvino", reason="needs the extra openvino")
    model, path = model_of(kind), tmp_path / "model.xml"
    model.export(path, format="openvino", verbose=False)
    exported = ExportedModel(path)
    for shape in SHAPES:
        images = images_of(model, *shape)
        found, expected = exported.predict_on_batch(images), model(images)
        if kind == "five8" and shape[1:] != (64, 96):
            # Its resizing of 8 bits may differ by 1 of 255, see docs/runtimes.md.
            assert_same_detections(found, expected, share=0.8, atol=1e-2)
        else:
            assert_close(found, expected, 1e-2)


@slow
def test_litert_finds_what_the_model_finds(model_of, tmp_path):
    model, path = model_of("four_floats"), tmp_path / "model.tflite"
    model.export(path, format="litert", image_size=(64, 96), verbose=False)
    images, sizes = images_of(model, 1, 64, 96), np.array([[64, 96]], np.int32)
    run = tf.lite.Interpreter(str(path), num_threads=2).get_signature_runner()
    assert_close(run(images=images, sizes=sizes), model(images), 1e-3)


def test_images_of_one_size_are_in_units_of_pixel_max(model_of):
    model = model_of("four_floats")
    images = images_of(model, 1, 64, 96)
    found = PortableModel(model)(tf.constant(images), tf.constant([[64, 96]]))
    assert_close({k: v.numpy() for k, v in found.items()}, model(images), 1e-3)


@slow
def test_a_file_for_one_size_finds_what_the_model_finds(model_of, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    model, path = model_of("gray16"), tmp_path / "model.onnx"
    model.export(path, format="onnx", image_size=(64, 96), verbose=False)
    images, session = images_of(model, 1, 64, 96), onnxruntime.InferenceSession(path)
    inputs = {"images": np.float32(images), "sizes": np.array([[64, 96]], np.int32)}
    values = session.run(None, inputs)
    names = [output.name for output in session.get_outputs()]
    assert_close(dict(zip(names, values, strict=True)), model(images), 1e-3)


@slow
def test_int8_is_calibrated_on_images_of_the_config(model_of, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    model, path = model_of("gray16"), tmp_path / "model.onnx"
    given = [images_of(model, 1, 64, 96)[0]]
    model.export(path, format="onnx", precision="int8", calibration=given, verbose=False)
    found = ExportedModel(path).predict_on_batch(given[0][None])
    assert found["num_detections"][0] > 0
    with pytest.raises(ValueError, match=r"\(H, W, 1\) uint16 arrays .*dtype=uint8.$"):
        wrong = [np.uint8(given[0] >> 8)]
        model.export(
            tmp_path / "b.onnx", format="onnx", precision="int8", calibration=wrong, verbose=False
        )


def test_a_config_of_an_earlier_version_is_of_rgb(tiny_config):
    fields = dataclasses.asdict(tiny_config)
    for name in ("in_channels", "image_dtype", "pixel_max"):
        del fields[name]
    assert type(tiny_config).from_fields(fields).reading() == {
        "channels": 3,
        "image_dtype": "uint8",
        "pixel_max": 255.0,
    }
