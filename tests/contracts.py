"""Checks that every layer of the package must pass, in one call."""

import inspect
import json

import keras
import numpy as np
import tensorflow as tf


def check_layer(layer, *inputs):
    """Checks a layer's config, shapes and dtype policies.

    Args:
        layer: a Keras layer with one output and the float32 policy.
        *inputs: arguments for its call: float32 tensors, or lists of them.
    """
    outputs = layer(*inputs)
    config = json.loads(json.dumps(layer.get_config()))  # as it is stored in a .keras file
    arguments = set(inspect.signature(type(layer).__init__).parameters) - {"self", "kwargs"}
    assert arguments <= set(config), f"get_config lacks {sorted(arguments - set(config))}"

    shapes = [
        [tuple(t.shape) for t in x] if isinstance(x, list) else tuple(x.shape) for x in inputs
    ]
    assert tuple(layer.compute_output_shape(*shapes)) == tuple(outputs.shape)

    copy = _copy(layer, config, inputs)
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(copy(*inputs), outputs)

    low = _copy(layer, {**config, "dtype": "mixed_bfloat16"}, inputs)
    half = low(*inputs)
    assert half.dtype == tf.bfloat16, f"{layer.name} returned {half.dtype} under mixed_bfloat16"
    assert all(v.dtype == "float32" for v in low.weights)
    # bfloat16 has 8 significant bits, and a sum over a kernel loses a few of them.
    scale = np.abs(outputs).max()
    np.testing.assert_allclose(np.asarray(tf.cast(half, tf.float32)), outputs, atol=0.03 * scale)


def _copy(layer, config, inputs):
    copy = type(layer).from_config(config)
    copy(*inputs)  # creates the weights
    assert isinstance(copy, keras.layers.Layer)
    copy.set_weights(layer.get_weights())
    return copy
