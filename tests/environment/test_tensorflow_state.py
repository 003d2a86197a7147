import keras
import pytest
import tensorflow as tf

from keras_maskrcnn.environment.tensorflow_state import keras_settings, tensorflow_settings


def test_keras_says_how_it_is_set():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = keras_settings()
    finally:
        keras.config.set_dtype_policy(before)
    assert found == {
        "backend": "tensorflow",
        "dtype_policy": "mixed_bfloat16",
        "floatx": "float32",
        "image_data_format": "channels_last",
    }


def test_a_gpu_has_a_name_and_a_compute_capability(monkeypatch):
    details = {"device_name": "Tesla T4", "compute_capability": (7, 5)}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda device: details if device == "first" else 1 / 0,
    )
    assert tensorflow_settings()["gpus"] == [
        {"name": "Tesla T4", "compute_capability": "7.5"},
        {"name": "unknown", "compute_capability": "unknown"},
    ]


@pytest.mark.parametrize(
    ("build", "versions"),
    [
        ({"is_cuda_build": True, "cuda_version": "12.5", "cudnn_version": "9"}, ("12.5", "9")),
        ({"is_cuda_build": True}, ("unknown", "unknown")),  # TensorFlow 2.22.0rc0
        ({"is_cuda_build": False}, (None, None)),
    ],
)
def test_versions_of_cuda_are_those_of_the_build(monkeypatch, build, versions):
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: build)
    found = tensorflow_settings()
    assert (found["cuda"], found["cudnn"]) == versions
