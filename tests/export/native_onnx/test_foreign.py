import dataclasses

import keras
import numpy as np
import pytest
from families import assert_close

import keras_maskrcnn as mrcnn

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.mark.parametrize("channels", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_a_backbone_of_other_layers_goes_through_tf2onnx(tiny_config, tmp_path, channels):
    pytest.importorskip("tf2onnx", reason="tf2onnx (extra onnx) is not installed")
    x = images = keras.Input((None, None, channels))
    maps = {}
    for i, name in enumerate(("c1", "c2", "c3", "c4", "c5")):
        x = keras.layers.Conv2D(8 + 4 * i, 3, 2, padding="same", activation="swish")(x)
        x = keras.layers.LayerNormalization()(x)
        maps[name] = x
    del maps["c1"]
    model = mrcnn.MaskRCNN(
        dataclasses.replace(
            tiny_config, score_threshold=0.0, in_channels=channels, pixel_mean=(), pixel_std=()
        ),
        backbone=keras.Model(images, maps),
    )
    path = tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    for shape in ((1, 64, 96), (2, 50, 70)):
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, channels), np.uint8)
        values = session.run(None, {"images": pixels})
        found = dict(zip((x.name for x in session.get_outputs()), values, strict=True))
        assert_close(found, model(pixels), 1e-3)
