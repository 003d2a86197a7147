"""Python functions in TensorFlow's graphs that live as long as their graph.

TensorFlow keeps each function of `tf.numpy_function` and each gradient of `tf.custom_gradient` till
the process ends, and with it all that the function refers to: a model, a data set, the graph. Here
the graph keeps them, that of the outermost function, and TensorFlow a weak reference.
"""

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_maskrcnn.keras_private import registered_gradients


def numpy_function(
    function: Callable[..., Any], inputs: Sequence[tf.Tensor], dtypes: Any, stateful: bool = True
) -> Any:
    """`tf.numpy_function` whose function goes with the graph; arguments and result as there."""
    return tf.numpy_function(_kept_by_graph(function), inputs, dtypes, stateful=stateful)


def gradients_of_graph(outputs: Any) -> Any:
    """Lets the gradients that `tf.custom_gradient` registered go with the graph.

    Args:
        outputs: nested tensors, what a function with a custom gradient returned.

    Returns:
        outputs.
    """
    if tf.executing_eagerly():  # nothing is registered
        return outputs
    registered = registered_gradients()
    for operation in {tensor.op for tensor in tf.nest.flatten(outputs)}:
        name = operation.node_def.attr["_gradient_op_type"].s.decode()
        entry = registered.get(name, {})
        if "type" in entry:
            forget = functools.partial(registered.pop, name, None)
            entry["type"] = _kept_by_graph(entry["type"], forget)
    return outputs


@tf.autograph.experimental.do_not_convert  # of data sets, which would rewrite it
def _kept_by_graph(function, forget=lambda: None):
    """Makes a function that calls another one, which the graph that is being traced keeps.

    Args:
        function: callable. In eager mode it must outlive the calls.
        forget: function without arguments, called once the graph is gone.
    """
    if not tf.executing_eagerly():
        graph = tf.compat.v1.get_default_graph()
        while getattr(getattr(graph, "outer_graph", None), "outer_graph", None) is not None:
            graph = graph.outer_graph  # branches may go before the function that they are in
        graph.kept_functions = [*getattr(graph, "kept_functions", ()), function]
    reference: Any = weakref.ref(function, lambda _: forget())

    def call(*args):
        return reference()(*args)

    return call
