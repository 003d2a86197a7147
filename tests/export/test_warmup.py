"""The warmup requests that TensorFlow Serving reads from assets.extra."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.export import warmup


def records(folder):
    return [r.numpy() for r in tf.data.TFRecordDataset(str(folder / warmup.FILE))]


def test_a_request_is_the_message_that_tensorflow_serving_defines():
    inputs = {"x": tf.make_tensor_proto(7, dtype=tf.uint8, shape=[200])}
    # Bytes written by PredictionLog of tensorflow-serving-api 2.21:
    # {predict_log: {request: {model_spec: {signature_name: "s"}, inputs: {"x": ...}}}}
    tensor = b"\x08\x04\x12\x05\x12\x03\x08\xc8\x01:\x01\x07"
    entry = b"\n\x01x\x12\x0c" + tensor
    assert inputs["x"].SerializeToString() == tensor
    expected = b"2\x1a\n\x18\n\x03\x1a\x01s\x12\x11" + entry
    assert warmup.predict_log("s", inputs) == expected


def test_tensorflow_servings_own_classes_read_the_file(tmp_path):
    messages = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    warmup.write_warmup(tmp_path, [(300, 200), (64, 96)], proposals=5)
    found = [messages.PredictionLog.FromString(record) for record in records(tmp_path)]
    for log, record in zip(found, records(tmp_path), strict=True):
        assert log.SerializeToString(deterministic=True) == record
    requests = [log.predict_log.request for log in found]
    signatures = ["serving_default", "serve_image_bytes"] * 2
    assert [request.model_spec.signature_name for request in requests] == signatures
    np.testing.assert_array_equal(
        tf.make_ndarray(requests[0].inputs["images"]), np.full((1, 300, 200, 3), 128, np.uint8)
    )
    (jpeg,) = tf.make_ndarray(requests[3].inputs["image_bytes"])
    assert tf.io.extract_jpeg_shape(jpeg).numpy().tolist() == [64, 96, 3]
    assert all(tf.make_ndarray(r.inputs["proposals"]).shape == (1, 5, 4) for r in requests)


def test_a_size_of_the_default_preset_takes_a_few_kilobytes(tmp_path):
    warmup.write_warmup(tmp_path, [(800, 1333)])
    assert [len(record) < 50_000 for record in records(tmp_path)] == [True, True]
