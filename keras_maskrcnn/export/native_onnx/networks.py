"""Translates Keras networks to ONNX nodes, layer by layer."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_maskrcnn.export.native_onnx.foreign import translate_foreign
from keras_maskrcnn.export.native_onnx.graph import Graph, Value
from keras_maskrcnn.layers.conv import BatchNorm, ConvNorm
from keras_maskrcnn.layers.upsample import Deconv


class _Map(NamedTuple):
    """The output of a layer.

    Attributes:
        value: Value. Maps are (B, K, H, W).
        form: what the value lacks to be the layer's output. "": nothing. "flat": its channels come
            before its cells, not after them; `detail` is (cells, channels). "apart": the four
            cells that `Deconv` makes of a cell are in four maps, (4 B, K, H, W); `detail` is
            (H, W). "padded": its padding with zeros, which is `detail`.
        detail: see `form`.
        positive: whether no element is below 0.
    """

    value: Value
    form: str = ""
    detail: Any = None
    positive: bool = False


class _UnknownLayerError(Exception):
    """A layer that is not translated here."""


def translate(
    graph: Graph,
    network: keras.Model,
    inputs: Value | dict[str, Value],
    name: str,
    suffix: str = "",
) -> Any:
    """Adds the nodes of a network. A network with other layers than ours goes through tf2onnx.

    Args:
        graph: Graph.
        network: functional Keras model.
        inputs: Value (B, K, H, W), or a dict of these as the network's input.
        name: str. Nodes are named "<name>/<layer><suffix>".
        suffix: str. Tells apart several uses of the network, which share their weights.

    Returns:
        What the network returns, with maps (B, K, H, W): a Value, a list or a dict.
    """
    nodes = len(graph.nodes)
    try:
        return _translate(graph, network, inputs, name, suffix)
    except _UnknownLayerError:
        del graph.nodes[nodes:]
        return translate_foreign(graph, network, inputs, name + suffix)


def _translate(graph, network, inputs, name, suffix):
    found = {}
    for given, tensor in _pairs(network.input, inputs):
        found[id(given)] = _Map(tensor)
    for layer in network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        handler = _HANDLERS.get(type(layer))
        tensors = layer.input if isinstance(layer.input, list) else [layer.input]
        if handler is None or any(id(x) not in found for x in tensors):
            raise _UnknownLayerError
        maps = [found[id(x)] for x in tensors]
        place = _Place(graph, f"{name}/{layer.name}", suffix)
        found[id(layer.output)] = handler(place, layer, *maps)

    def result(tensor):
        if id(tensor) not in found or found[id(tensor)].form:
            raise _UnknownLayerError
        return found[id(tensor)].value

    return keras.tree.map_structure(result, network.output)


def _pairs(structure, values):
    if isinstance(structure, dict):
        return [(structure[key], values[key]) for key in structure]
    return [(structure, values)]


class _Place(NamedTuple):
    """Where a layer's nodes go: graph, name of the layer, and suffix of this use of it."""

    graph: Graph
    name: str
    suffix: str

    def weight(self, array, part):
        """Makes a constant that all uses of the layer share."""
        return self.graph.constant(np.asarray(array), (self.name, part), f"{self.name}/{part}")

    def add(self, operation, *inputs, part="", **attributes):
        """Adds a node; the layer's main one has no `part`."""
        name = f"{self.name}{self.suffix}" + (f"/{part}" if part else "")
        return self.graph.add(operation, *inputs, name=name, **attributes)


def _plain(given):
    if given.form:
        raise _UnknownLayerError
    return given.value


def _conv(place, layer, given):
    if given.form not in ("", "apart") or given.form and layer.kernel_size != 1:
        raise _UnknownLayerError
    if isinstance(layer.norm, BatchNorm):
        kernel, bias = (keras.ops.convert_to_numpy(x) for x in layer.folded())
    else:
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        bias = None if layer.norm is not None else keras.ops.convert_to_numpy(layer.bias)
    weights = [place.weight(kernel.transpose(3, 2, 0, 1), "kernel")]
    if bias is not None:
        weights.append(place.weight(bias, "bias"))
    pad = layer.dilation * (layer.kernel_size // 2)
    value = place.add(
        "Conv",
        given.value,
        *weights,
        kernel_shape=[layer.kernel_size] * 2,
        strides=[layer.strides] * 2,
        dilations=[layer.dilation] * 2,
        pads=[pad] * 4,
        group=layer.groups,
    )
    if isinstance(layer.norm, keras.layers.GroupNormalization):
        value = _group_norm(place, layer.norm, value)
    elif isinstance(layer.norm, keras.layers.LayerNormalization):
        value = _layer_norm(place, layer.norm, value)
    if layer.relu:
        value = place.add("Relu", value, part="relu")
    return _Map(value, given.form, given.detail, layer.relu)


def _group_norm(place, norm, value):
    groups = norm.groups
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    shape = place.graph.add("Shape", value)
    scaled = place.add(
        "InstanceNormalization",
        value.reshape(0, groups, -1),
        ones,
        zeros,
        part="norm",
        epsilon=norm.epsilon,
    )
    return _affine(place, norm, place.graph.add("Reshape", scaled, shape))


def _layer_norm(place, norm, value):
    """Normalizes over the channels, axis 1. ONNX' LayerNormalization does it over the last axes."""
    mean = place.graph.add("ReduceMean", value, [1])
    apart = value - mean
    variance = place.graph.add("ReduceMean", apart * apart, [1])
    spread = place.graph.add("Sqrt", variance + norm.epsilon)
    return _affine(place, norm, apart / spread)


def _affine(place, norm, scaled):
    gamma, beta = (
        place.weight(keras.ops.convert_to_numpy(x).reshape(-1, 1, 1), part)
        for x, part in ((norm.gamma, "gamma"), (norm.beta, "beta"))
    )
    return scaled * gamma + beta


def _deconv(place, layer, given):
    # As a 1x1 convolution to four cells per cell, which then count as four maps each: it is faster
    # than ConvTranspose, and can be quantized.
    kernel, bias = (keras.ops.convert_to_numpy(x) for x in (layer.kernel, layer.bias))
    height, width = layer.input.shape[1:3]
    kernel = kernel.reshape(-1, kernel.shape[-1], 1, 1)
    value = place.add(
        "Conv",
        _plain(given),
        place.weight(kernel, "kernel"),
        place.weight(np.tile(bias, 4), "bias"),
        kernel_shape=[1, 1],
    )
    value = place.add("Relu", value, part="relu")
    return _Map(value.reshape(-1, layer.filters, height, width), "apart", (height, width))


def _up(place, layer, given):
    if layer.kernel_size != layer.strides or layer.activation.__name__ != "linear":
        raise _UnknownLayerError
    kernel, bias = (keras.ops.convert_to_numpy(x) for x in (layer.kernel, layer.bias))
    value = place.add(
        "ConvTranspose",
        _plain(given),
        place.weight(kernel.transpose(3, 2, 0, 1), "kernel"),
        place.weight(bias, "bias"),
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.strides),
    )
    return _Map(value)


def _norm_of_channels(place, layer, given):
    if list(layer.axis) not in ([-1], [len(layer.input.shape) - 1]):
        raise _UnknownLayerError
    return _Map(_layer_norm(place, layer, _plain(given)))


def _activation(place, layer, given):
    if layer.activation.__name__ != "gelu":
        raise _UnknownLayerError
    value = _plain(given)
    return _Map(value * 0.5 * (place.add("Erf", value * 0.5**0.5) + 1.0))


def _dense(place, layer, given):
    kernel, bias = (keras.ops.convert_to_numpy(x) for x in (layer.kernel, layer.bias))
    activation = layer.activation.__name__
    if activation not in ("relu", "linear") or given.form not in ("", "flat"):
        raise _UnknownLayerError
    if given.form == "flat":
        cells, channels = given.detail
        kernel = (
            kernel.reshape(cells, channels, -1).transpose(1, 0, 2).reshape(cells * channels, -1)
        )
    value = place.add(
        "Gemm", given.value, place.weight(kernel, "kernel"), place.weight(bias, "bias")
    )
    if activation == "relu":
        value = place.add("Relu", value, part="relu")
    return _Map(value, positive=activation == "relu")


def _flatten(place, layer, given):
    _, height, width, channels = layer.input.shape
    flat = place.add("Flatten", _plain(given), axis=1)
    return _Map(flat, "flat", (height * width, channels), given.positive)


def _reshape(place, layer, given):
    if given.form == "apart":  # of `upsample.interleave`
        return given if layer.name != "masks" else _Map(_interleave(given))
    if len(layer.input.shape) != 2 or None in layer.target_shape:
        raise _UnknownLayerError
    value = place.add("Reshape", _plain(given), [0, *layer.target_shape])
    if len(layer.target_shape) == 3:
        value = value.transpose(0, 3, 1, 2)
    return _Map(value)


def _permute(place, layer, given):
    if given.form != "apart":
        raise _UnknownLayerError
    return given


def _interleave(given):
    """Moves the four maps of each map to their 2 x 2 places: (4 n, K, H, W) -> (n, K, 2 H, 2 W)."""
    height, width = given.detail
    channels = given.value.side(1)
    apart = given.value.reshape(-1, 2, 2, channels, height, width)
    together = apart.transpose(0, 3, 4, 1, 5, 2)
    return together.reshape(-1, channels, 2 * height, 2 * width)


def _add(place, layer, *given):
    return _Map(place.add("Add", *map(_plain, given)))


def _relu(place, layer, given):
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        raise _UnknownLayerError
    return _Map(place.add("Relu", _plain(given)), positive=True)


def _zero_padding(place, layer, given):
    (top, bottom), (left, right) = layer.padding
    return _Map(_plain(given), "padded", [top, left, bottom, right], given.positive)


def _max_pool(place, layer, given):
    # A MaxPool ignores its own padding, which equals zeros where no cell is below 0.
    padded = given.form == "padded" and given.positive
    if layer.padding != "valid" or given.form and not padded:
        raise _UnknownLayerError
    value = place.add(
        "MaxPool",
        given.value,
        kernel_shape=list(layer.pool_size),
        strides=list(layer.strides),
        pads=given.detail if padded else [0] * 4,
    )
    return _Map(value, positive=given.positive)


def _upsample(place, layer, given):
    if layer.interpolation != "nearest":
        raise _UnknownLayerError
    value = place.add(
        "Resize",
        _plain(given),
        None,
        np.array([1, 1, *layer.size], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return _Map(value, positive=given.positive)


def _global_average(place, layer, given):
    value = place.add("GlobalAveragePool", _plain(given))
    return _Map(place.add("Flatten", value, part="flatten", axis=1), positive=given.positive)


_HANDLERS = {
    ConvNorm: _conv,
    Deconv: _deconv,
    keras.layers.Conv2DTranspose: _up,
    keras.layers.LayerNormalization: _norm_of_channels,
    keras.layers.Activation: _activation,
    keras.layers.Dense: _dense,
    keras.layers.Flatten: _flatten,
    keras.layers.Reshape: _reshape,
    keras.layers.Permute: _permute,
    keras.layers.Add: _add,
    keras.layers.ReLU: _relu,
    keras.layers.ZeroPadding2D: _zero_padding,
    keras.layers.MaxPooling2D: _max_pool,
    keras.layers.UpSampling2D: _upsample,
    keras.layers.GlobalAveragePooling2D: _global_average,
}
