"""Writes warmup requests, which TensorFlow Serving runs before it serves clients."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_maskrcnn.export.requests import why_not_encoded
from keras_maskrcnn.typing import Path

FILE = "tf_serving_warmup_requests"  # in assets.extra; TensorFlow Serving fixes the name


def write_warmup(
    folder: Path,
    sizes: Sequence[tuple[int, int]],
    proposals: int = 0,
    *,
    channels: int = 3,
    image_dtype: str = "uint8",
    pixel_max: float = 255.0,
) -> None:
    """Writes one request per size and signature, each with one gray image.

    Args:
        folder: str. `assets.extra` of a SavedModel.
        sizes: sequence of (height, width) ints.
        proposals: int. Number of proposals per image, all without area; 0 if the model takes none.
        channels: int. As in `config.reading()`.
        image_dtype: str. As in `config.reading()`.
        pixel_max: float. As in `config.reading()`.
    """
    gray = np.dtype(image_dtype).type(128 / 255 * pixel_max)
    with tf.io.TFRecordWriter(os.path.join(folder, FILE)) as file:
        for height, width in sizes:
            # A TensorProto stores a constant image as a single number.
            shape = [1, height, width, channels]
            images = tf.make_tensor_proto(gray, dtype=image_dtype, shape=shape)
            more = {}
            if proposals:
                more["proposals"] = tf.make_tensor_proto(0.0, shape=[1, proposals, 4])
            file.write(predict_log("serving_default", {"images": images, **more}))
            if not why_not_encoded(channels, image_dtype):
                image_bytes = tf.make_tensor_proto([_encoded(np.full(shape[1:], gray))])
                file.write(predict_log("serve_image_bytes", {"image_bytes": image_bytes, **more}))


def _encoded(image):
    """Encodes an image: as JPEG if it can hold it, else as PNG."""
    jpeg = image.dtype == np.uint8 and image.shape[2] != 4
    return (tf.io.encode_jpeg if jpeg else tf.io.encode_png)(image).numpy()


def predict_log(signature: str, inputs: Mapping[str, Any]) -> bytes:
    """Encodes a `tensorflow.serving.PredictionLog` of one request.

    TensorFlow does not ship these messages. The field numbers are those of prediction_log.proto,
    predict.proto and model.proto in tensorflow/serving.

    Args:
        signature: str. Name of the signature.
        inputs: dict from names to TensorProto.

    Returns:
        bytes, the encoded message.
    """
    request = _field(1, _field(3, signature.encode()))  # model_spec.signature_name
    for name, tensor in inputs.items():
        request += _field(2, _field(1, name.encode()) + _field(2, tensor.SerializeToString()))
    return _field(6, _field(1, request))  # predict_log.request


def _field(number, content):
    """Encodes a field of bytes, text or a message: number and type 2, length, content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value):
    """Encodes an integer in groups of 7 bits, lowest first; an eighth bit says that more follow."""
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])
