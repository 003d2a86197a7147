"""export/with_tf2onnx.py: what tf2onnx lacks is added, and what ONNX lacks is refused."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.export.with_tf2onnx import convert

pytest.importorskip("tf2onnx", reason="tf2onnx (extra onnx) is not installed")
SPECS = [tf.TensorSpec([None, 3], tf.float32, name="x")]


def test_erfc_of_the_exact_gelu_is_translated():
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    proto = convert(tf.function(lambda x: {"y": tf.math.erfc(x)}), SPECS, "f", opset=18)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    x = np.linspace(-4, 4, 300, dtype=np.float32).reshape(-1, 3)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], tf.math.erfc(x), atol=1e-6)


def test_an_operation_that_onnx_lacks_is_named():
    with pytest.raises(ValueError, match="^the network f has operations that ONNX lacks: Igamma.$"):
        convert(tf.function(lambda x: tf.math.igamma(x, x)), SPECS, "the network f", opset=18)
