"""Translates networks of a user's own layers, by tf2onnx."""

from typing import Any

import keras
import onnx
import tensorflow as tf
from onnx import compose

from keras_maskrcnn.export.native_onnx.graph import Graph, Value
from keras_maskrcnn.export.with_tf2onnx import convert


def translate_foreign(
    graph: Graph, network: keras.Model, inputs: Value | dict[str, Value], name: str
) -> Any:
    """Adds the nodes that tf2onnx makes of a network.

    Args:
        graph: Graph.
        network: functional Keras model.
        inputs: Value, or a dict of these, as in `networks.translate`.
        name: str. Names of nodes begin with it and a slash.

    Returns:
        As `networks.translate`.

    Raises:
        ImportError, ValueError: as `with_tf2onnx.convert`.
    """
    given = inputs if isinstance(inputs, dict) else {"input": inputs}
    shapes = network.input if isinstance(inputs, dict) else {"input": network.input}
    specs = [tf.TensorSpec(shapes[key].shape, tf.float32, name=key) for key in given]
    outputs = keras.tree.flatten(network.output)
    maps = [f"out{i}" for i in range(len(outputs))]

    @tf.function(autograph=False)
    def run(*tensors):
        tensors = dict(zip(given, tensors, strict=True))
        found = network(tensors if isinstance(inputs, dict) else tensors["input"], training=False)
        found = keras.tree.flatten(found)
        return {key: tf.identity(x) for key, x in zip(maps, found, strict=True)}

    are_maps = [key for key, x in zip(maps, outputs, strict=True) if len(x.shape) == 4]
    model = convert(
        run,
        specs,
        f"the network {name}",
        opset=graph.opset,
        inputs_as_nchw=list(given),
        outputs_as_nchw=are_maps,
    )
    inner = compose.add_prefix(model, f"{name}/").graph
    for key, value in given.items():
        graph.nodes.append(
            onnx.helper.make_node("Identity", [value.name], [f"{name}/{key}"], name=f"{name}/{key}")
        )
    graph.nodes.extend(inner.node)
    graph.constants.update({tensor.name: tensor for tensor in inner.initializer})
    values = [Value(graph, f"{name}/{key}") for key in maps]
    return keras.tree.pack_sequence_as(network.output, values)
