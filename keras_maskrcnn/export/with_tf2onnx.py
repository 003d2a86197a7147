"""Translates TensorFlow functions to ONNX with tf2onnx, an optional package."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

NEEDED = "the extra onnx: pip install keras3-maskrcnn[onnx]"


def convert(
    function: Callable[..., Any], signature: Sequence[tf.TensorSpec], what: str, **options: Any
) -> Any:
    """Translates a function.

    Args:
        function: tf.function.
        signature: list of tf.TensorSpec, its arguments.
        what: str. What is translated, for messages.
        options: further arguments of `tf2onnx.convert.from_function`.

    Returns:
        onnx.ModelProto.

    Raises:
        ImportError: if tf2onnx is not installed.
        ValueError: if ONNX lacks an operation of the function. tf2onnx itself only logs this.
    """
    try:
        import tf2onnx
    except ModuleNotFoundError as error:
        raise ImportError(f"{what} needs {NEEDED}. Received: {error}.") from error
    from onnx import defs

    proto, _ = tf2onnx.convert.from_function(
        function, signature, custom_op_handlers={"Erfc": (_erfc, [])}, **options
    )
    lacking = {n.op_type for n in proto.graph.node if not defs.has(n.op_type, n.domain)}
    if lacking:
        raise ValueError(f"{what} has operations that ONNX lacks: {', '.join(sorted(lacking))}.")
    return proto


def _erfc(context, node, name, _):
    """Writes erfc(x), of Keras' exact GELU, as 1 - erf(x). tf2onnx knows erf only."""
    dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    one = context.make_const(f"{name}/one", np.ones((), np.float32))
    erf = context.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype])
    context.remove_node(name)
    context.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        name=name,
        outputs=node.output,
        shapes=[shape],
        dtypes=[dtype],
    )
