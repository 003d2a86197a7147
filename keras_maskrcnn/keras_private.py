"""Names of Keras and TensorFlow that are private and that we need, each read in one place.

tests/test_keras_private.py says which is missing when one is renamed.
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
    """Returns the variable that counts an optimizer's batches, () int.

    The public `iterations` counts changes of the weights: it stands still while gradients are
    accumulated.
    """
    return innermost(optimizer)._iterations


def learning_rate_or_schedule(optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns what an optimizer's rate was set to: a variable, or a LearningRateSchedule.

    The public `learning_rate` is a number in both cases.
    """
    return getattr(innermost(optimizer), "_learning_rate", None)


def layers_inside(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the list of a layer's own layers, in the order of a model's graph.

    The public `layers` is an attribute of models alone.
    """
    return layer._layers


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """Returns the place of a variable among those that an optimizer was built with."""
    return optimizer._get_variable_index(variable)


@contextlib.contextmanager
def without_summing(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Keeps an optimizer's `apply` from summing gradients over replicas, inside of the block.

    `apply` has no argument for it. The optimizer is as before when the block ends, also by an
    error.
    """
    inner = innermost(optimizer)
    inner._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    try:
        yield
    finally:  # all replicas are through; each of them was here
        vars(inner).pop("_all_reduce_sum_gradients", None)


def inputs_of_dataset(dataset: tf.data.Dataset) -> list[tf.data.Dataset]:
    """Returns the data sets that a tf.data.Dataset is made from.

    The public graph has the same data sets, without the attributes that Python gave them.
    """
    return dataset._inputs()


def registered_gradients() -> dict[str, Any]:
    """Returns TensorFlow's dict of the gradients that were registered in this process.

    It is changed in place. Without it all works as before, and TensorFlow's registry grows.
    """
    return getattr(ops.gradient_registry, "_registry", {})
