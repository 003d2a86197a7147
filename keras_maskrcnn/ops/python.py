"""Ties the lifetime of Python functions in TensorFlow's graphs to that of the graph.

TensorFlow keeps each function of `tf.numpy_function` and each gradient of `tf.custom_gradient`
until the process ends. With the function it keeps all that the function refers to: a model, a data
set, the graph. Here TensorFlow gets only a weak reference. The graph of the outermost function
keeps the Python function.
"""

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_maskrcnn.keras_private import gradient_of, outermost_graph, registered_gradients


def numpy_function(
    function: Callable[..., Any], inputs: Sequence[tf.Tensor], dtypes: Any, stateful: bool = True
) -> Any:
    """Calls `tf.numpy_function`, but frees `function` with the graph; same arguments and result."""
    return tf.numpy_function(_kept_by_graph(function), inputs, dtypes, stateful=stateful)


def gradients_of_graph(outputs: Any) -> Any:
    """Makes gradients that `tf.custom_gradient` registered be freed with the graph.

    Args:
        outputs: nested tensors. The result of a function with a custom gradient.

    Returns:
        outputs.
    """
    if tf.executing_eagerly():  # nothing is registered
        return outputs
    registered = registered_gradients()
    for operation in {tensor.op for tensor in tf.nest.flatten(outputs)}:
        name = gradient_of(operation)
        entry = registered.get(name, {})
        if "type" in entry:
            forget = functools.partial(registered.pop, name, None)
            entry["type"] = _kept_by_graph(entry["type"], forget)
    return outputs


@tf.autograph.experimental.do_not_convert  # data sets would rewrite it
def _kept_by_graph(function, forget=lambda: None):
    """Makes a wrapper that calls `function`; only the graph being traced keeps `function` alive.

    Args:
        function: callable. In eager mode, the caller must keep it alive.
        forget: function without arguments, called once `function` is freed.
    """
    if not tf.executing_eagerly():
        # A branch's graph may be freed before its function's graph.
        graph = outermost_graph(tf.compat.v1.get_default_graph())
        graph.kept_functions = [*getattr(graph, "kept_functions", ()), function]
    reference: Any = weakref.ref(function, lambda _: forget())

    def call(*args):
        return reference()(*args)

    return call
