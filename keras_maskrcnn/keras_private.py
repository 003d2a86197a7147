"""Reads the private names of Keras and TensorFlow that we need, each in one place.

If one is renamed, tests/test_keras_private.py says which.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import ops


def innermost(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer inside of a LossScaleOptimizer, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def batches_seen(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Returns the variable that counts the batches an optimizer has seen, () int.

    The public `iterations` counts changes of the weights: it does not grow while gradients are
    accumulated.
    """
    return innermost(optimizer)._iterations


def learning_rate_or_schedule(optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns an optimizer's learning rate as it was set: a variable or a LearningRateSchedule.

    The public `learning_rate` is a number in both cases.
    """
    return getattr(innermost(optimizer), "_learning_rate", None)


def layers_inside(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the list of layers directly inside of a layer, for a model in the order of its graph.

    The public attribute `layers` exists only for models.
    """
    return layer._layers


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """Returns the index of a variable in the list that an optimizer was built with."""
    return optimizer._get_variable_index(variable)


@contextlib.contextmanager
def without_summing(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Inside of the block, an optimizer's `apply` does not sum gradients over replicas.

    `apply` has no argument for this. The optimizer is restored when the block ends, also after an
    error.
    """
    inner = innermost(optimizer)
    inner._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    try:
        yield
    finally:  # all replicas run this block, and each of them ends it; only the first finds the name
        vars(inner).pop("_all_reduce_sum_gradients", None)


def inputs_of_dataset(dataset: tf.data.Dataset) -> list[tf.data.Dataset]:
    """Returns the list of data sets that a tf.data.Dataset is made from.

    The public graph holds the same data sets, but not the attributes that were set in Python.
    """
    return dataset._inputs()


def registered_gradients() -> dict[str, Any]:
    """Returns TensorFlow's dict of the gradients that were registered in this process.

    Callers remove entries from it. If TensorFlow renames it, this returns an empty dict: everything
    still works, but TensorFlow's registry grows.
    """
    return getattr(ops.gradient_registry, "_registry", {})


def onednn_is_on() -> bool:
    """Returns whether TensorFlow computes with oneDNN in this process."""
    from tensorflow.python.util import _pywrap_util_port

    return _pywrap_util_port.IsMklEnabled()


def release(iterator: tf.data.Iterator) -> None:
    """Ends the threads of an iterator, which cannot be used afterwards.

    Publicly it is released only when nothing refers to it any more.
    """
    vars(iterator).pop("_iterator_resource", None)
