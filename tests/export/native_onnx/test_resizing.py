import dataclasses

import numpy as np
import pytest

from keras_maskrcnn.ops import images as image_ops

pytest.importorskip("onnx", reason="onnx (extra onnx) is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from keras_maskrcnn.export.native_onnx.graph import FLOAT, Graph  # noqa: E402
from keras_maskrcnn.export.native_onnx.images import of_any_size  # noqa: E402

SHAPES = ((1, 80, 120), (2, 37, 411), (1, 1000, 700), (1, 33, 33), (1, 64, 96), (1, 1, 500))


def test_16_bits_are_resized_as_floats(tiny_config):
    fields = {"in_channels": 2, "image_dtype": "uint16", "pixel_max": 4095.0}
    config = dataclasses.replace(tiny_config, **fields, pixel_mean=(0.0,) * 2, pixel_std=(1.0,) * 2)
    graph = Graph(18)
    images = of_any_size(graph, config, "batch")
    graph.output("pixels", images.pixels, FLOAT, ["batch", 2, "height", "width"])
    session = onnxruntime.InferenceSession(graph.model({}).SerializeToString())
    for shape in SHAPES:
        pixels = np.random.default_rng(0).integers(0, 65536, (*shape, 2)).astype(np.uint16)
        scaled = image_ops.scale_pixels(pixels, 4095.0)
        resized = image_ops.resize(
            scaled, config.image_min_side, config.image_max_side, whole=False
        )
        (found,) = session.run(None, {"images": pixels})
        expected = image_ops.pad_to_multiple(resized, 32)
        np.testing.assert_allclose(found.transpose(0, 2, 3, 1), expected, atol=2e-2)


@pytest.mark.parametrize("rule", ["detectron2", "torchvision"])
def test_images_are_resized_to_the_last_bit_as_in_training(tiny_config, rule):
    config = dataclasses.replace(
        tiny_config, resize_rule=rule, pixel_mean=(0.0,) * 3, pixel_std=(1.0,) * 3
    )
    graph = Graph(18)
    images = of_any_size(graph, config, "batch")
    graph.output("pixels", images.pixels, FLOAT, ["batch", 3, "height", "width"])
    session = onnxruntime.InferenceSession(graph.model({}).SerializeToString())
    for shape in SHAPES:
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        resized = image_ops.resize(pixels, config.image_min_side, config.image_max_side, rule)
        expected = image_ops.pad_to_multiple(resized, 32)
        (found,) = session.run(None, {"images": pixels})
        np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), expected, err_msg=str(shape))
