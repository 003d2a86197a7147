"""Uses the private names of Keras and TensorFlow that we need, each in one place.

If one is renamed, tests/test_keras_private.py says which, and so does the error of its reader.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keras_maskrcnn.backend import require_tensorflow

require_tensorflow()  # most modules import this one, also without a name of the face

import keras
import tensorflow as tf
from tensorflow.python.framework import ops


class BuiltModel(keras.Model):
    """A model whose weights all exist once it is made."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing. Keras calls this method before `fit` and `evaluate`.

        Under a strategy Keras would take the first batch to build the model. The epoch would then
        miss it, and several workers would crash.
        """


def is_called_by_fit(arguments: Mapping[str, Any]) -> bool:
    """Returns whether Keras' `fit` calls `evaluate` for its validation data.

    Args:
        arguments: dict. The keyword arguments of the call.
    """
    return "_use_cached_eval_dataset" in arguments


def innermost(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer inside of a LossScaleOptimizer, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def batches_seen(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Returns the variable that counts the batches an optimizer has seen, () int.

    The public `iterations` counts changes of the weights: it does not grow while gradients are
    accumulated.
    """
    return _read(innermost(optimizer), "_iterations")


def learning_rate_or_schedule(optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns an optimizer's learning rate as it was set: a variable or a LearningRateSchedule.

    The public `learning_rate` is a number in both cases.
    """
    return _read(innermost(optimizer), "_learning_rate")


def layers_inside(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the list of layers directly inside of a layer, for a model in the order of its graph.

    The public attribute `layers` exists only for models.
    """
    return _read(layer, "_layers")


def run_through_graph(
    network: keras.Function, inputs: list[Any], call: Callable[..., Any]
) -> list[Any]:
    """Calls a function for each operation of a functional network, in an order of its graph.

    The public `keras.models.clone_model` does the same, but only to make a network.

    Args:
        network: functional Keras model.
        inputs: list. A stand-in for each input tensor.
        call: function of an operation, and of its arguments with stand-ins for their tensors. It
            returns the stand-ins for the outputs.

    Returns:
        list of the stand-ins for the network's output tensors.
    """
    return keras.tree.flatten(_read(network, "_run_through_graph")(inputs, call_fn=call))


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """Returns the index of a variable in the list that an optimizer was built with."""
    return _read(optimizer, "_get_variable_index")(variable)


@contextlib.contextmanager
def without_summing(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Inside of the block, an optimizer's `apply` does not sum gradients over replicas.

    `apply` has no argument for this. The optimizer is restored when the block ends, also after an
    error.
    """
    inner = innermost(optimizer)
    _read(inner, "_all_reduce_sum_gradients")  # otherwise gradients would be summed twice
    inner._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    try:
        yield
    finally:  # all replicas run this block, and each of them ends it; only the first finds the name
        vars(inner).pop("_all_reduce_sum_gradients", None)


def inputs_of_dataset(dataset: tf.data.Dataset) -> list[tf.data.Dataset]:
    """Returns the list of data sets that a tf.data.Dataset is made from.

    The public graph holds the same data sets, but not the attributes that were set in Python.
    """
    return _read(dataset, "_inputs")()


def set_cardinality(dataset: tf.distribute.DistributedDataset, number: int) -> None:
    """Sets how many steps a distributed data set has, as Keras counts them.

    Publicly it is the number of elements of one worker's data set, which has one for each replica.

    Args:
        dataset: a data set of `Strategy.distribute_datasets_from_function`.
        number: int. tf.data.INFINITE_CARDINALITY for no end.
    """
    _read(dataset, "_cardinality")
    dataset._cardinality = number


def tell_other_workers(line: str) -> None:
    """Ends the collectives that other workers of this cluster wait in, with an error of this line.

    No public function does. The workers' collectives stay broken until all start again. Without
    TensorFlow's coordination service nothing happens.
    """
    from tensorflow.python.eager import context

    with contextlib.suppress(tf.errors.OpError, ValueError):
        context.context().report_error_to_cluster(tf.errors.INVALID_ARGUMENT, line)


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


def gradient_of(operation: tf.Operation) -> str:
    """Returns the name in `registered_gradients` of an operation's own gradient; "" if none."""
    return operation.node_def.attr["_gradient_op_type"].s.decode()


def outermost_graph(graph: tf.Graph) -> tf.Graph:
    """Returns the graph of the outermost function that a graph is traced in.

    Args:
        graph: tf.Graph of a function, of a branch, or of a function inside of another one.
    """
    while getattr(getattr(graph, "outer_graph", None), "outer_graph", None) is not None:
        graph = graph.outer_graph
    return graph


def _read(owner, name):
    """Returns a private attribute. If it was renamed, the error says which one is missing."""
    try:
        return getattr(owner, name)
    except AttributeError as error:
        raise RuntimeError(
            f"keras_maskrcnn does not work with Keras {keras.__version__} and TensorFlow "
            f"{tf.__version__} yet, because a private name of theirs has changed. "
            f"Received: {type(owner).__name__} without {name}."
        ) from error
