"""Describes Keras' settings, and what TensorFlow was built for and finds."""

from typing import Any

from keras_maskrcnn.environment.asking import UNKNOWN, ask


def keras_settings() -> dict[str, str]:
    """Returns the settings of Keras that change results or speed."""
    import keras

    return {
        "backend": ask(keras.config.backend),
        "dtype_policy": ask(lambda: keras.config.dtype_policy().name),
        "floatx": ask(keras.config.floatx),
        "image_data_format": ask(keras.config.image_data_format),
    }


def tensorflow_settings() -> dict[str, Any]:
    """Describes TensorFlow.

    Returns:
        dict with `cuda` and `cudnn` (the versions it was built for; None: it was built without
        CUDA), `onednn` (bool) and `gpus`, a list of dicts with `name` and `compute_capability`.
    """
    import tensorflow as tf

    from keras_maskrcnn import keras_private

    build = dict(ask(tf.sysconfig.get_build_info))
    with_cuda = build.get("is_cuda_build", True)
    return {
        "cuda": build.get("cuda_version", UNKNOWN) if with_cuda else None,
        "cudnn": build.get("cudnn_version", UNKNOWN) if with_cuda else None,
        "onednn": ask(keras_private.onednn_is_on),
        "gpus": [_gpu(tf, device) for device in tf.config.list_physical_devices("GPU")],
    }


def _gpu(tf, device):
    details = ask(lambda: tf.config.experimental.get_device_details(device))
    details = details if isinstance(details, dict) else {}
    return {
        "name": details.get("device_name", UNKNOWN),
        "compute_capability": ".".join(map(str, details.get("compute_capability", (UNKNOWN,)))),
    }
