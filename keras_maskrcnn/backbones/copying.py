"""Copies the layers of a network that lead to its maps, with our norms and random depth."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_maskrcnn.backbones import maps as maps_of
from keras_maskrcnn.backbones.normalizing import Pixels
from keras_maskrcnn.backbones.tracing import Step, Trace
from keras_maskrcnn.layers.bands import adapt_kernel
from keras_maskrcnn.layers.conv import BatchNorm
from keras_maskrcnn.layers.fit_to_stride import FitToStride
from keras_maskrcnn.layers.frozen_norm import FrozenBatchNorm
from keras_maskrcnn.layers.residual import LayerScale, StochasticDepth

NORMS: dict[str, Any] = {"frozen_batch": FrozenBatchNorm, "batch": BatchNorm}
# That of our ResNets. MobileNetV3's 0.999 needs thousands of steps, so a model that was trained for
# fewer from random weights would predict with the statistics that it began with.
LARGEST_MOMENTUM = 0.9


class Copy:
    """The copies of a network's operations.

    Args:
        traced: Trace. The network's graph.
        found: dict from "c2".."c5" to the number of the step of each map.
        norm: str. "frozen_batch" or "batch".
        stochastic_depth: float. Probability that the last residual branch is left out.

    Attributes:
        layers: dict from the number of a step to the copy of its operation.

    Raises:
        ValueError: if `stochastic_depth` is not 0 and the network has no layers for it.
    """

    def __init__(
        self, traced: Trace, found: Mapping[str, int], norm: str, stochastic_depth: float
    ) -> None:
        self.traced, self.found, self.norm = traced, found, norm
        self.rates = _depth_rates(traced, found, stochastic_depth)
        self.layers: dict[int, Any] = {}
        self._by_id: dict[int, Any] = {}
        self._names = {"images"}
        self._counts: dict[str, itertools.count[int]] = {}

    def run(self, images: keras.KerasTensor, last_of_pixels: int) -> dict[str, keras.KerasTensor]:
        """Builds the copy, without weights yet.

        Args:
            images: keras.KerasTensor, normalized images (B, H, W, C).
            last_of_pixels: int. Number of the last step that only normalizes images.

        Returns:
            dict from "c2".."c5" to a keras.KerasTensor.
        """
        steps = self.traced.steps
        skipped = self.traced.ancestors(last_of_pixels)
        needed = set().union(*(self.traced.ancestors(number) for number in self.found.values()))
        values = {id(x): images for number in skipped for x in steps[number].outputs}

        def fill(arguments):
            return keras.tree.map_structure(lambda x: values.get(id(x), x), arguments)

        for number in sorted(needed - skipped):
            step = steps[number]
            layer = self.layers[number] = self._copied(number, step)
            result = keras.tree.flatten(layer(*fill(step.args), **fill(step.kwargs)))
            values.update(zip(map(id, step.outputs), result, strict=True))
        maps = {}
        for name, number in self.found.items():
            step, stride = steps[number], maps_of.STRIDES[name]
            maps[name] = values[id(step.outputs[0])]
            if step.shape[1] != -(-self.traced.side // stride):
                maps[name] = FitToStride(stride, name=f"{name}_fit")([maps[name], images])
        return maps

    def _copied(self, number, step):
        operation = step.operation
        if id(operation) not in self._by_id:
            self._by_id[id(operation)] = self._copy_of(number, step)
        return self._by_id[id(operation)]

    def _copy_of(self, number, step):
        operation = step.operation
        kind, config = type(operation), operation.get_config()
        config["name"] = self._name(step)
        if isinstance(operation, keras.layers.Layer):
            config["trainable"] = True
        if number in self.rates:
            return StochasticDepth(self.rates[number], name=config["name"], dtype=config["dtype"])
        if kind.__name__ == "LayerScale" and "init_values" in config:
            return LayerScale.from_config(config)
        if isinstance(operation, keras.layers.BatchNormalization) and operation.axis in (-1, 3):
            # Our norm is over all replicas anyway.
            unused = ("synchronized", "renorm", "renorm_clipping", "renorm_momentum")
            config["momentum"] = min(config["momentum"], LARGEST_MOMENTUM)
            return NORMS[self.norm].from_config(
                {k: v for k, v in config.items() if k not in unused}
            )
        if _is_depthwise(operation):
            return _depthwise(config)
        return kind.from_config(config)

    def _name(self, step: Step) -> str:
        """Returns a name that the network does not have yet, the same in each process.

        Keras numbers layers without names by all layers of the process.
        """
        operation = step.operation
        name = operation.name
        base = re.sub(r"_\d+$", "", name)
        if base.replace("_", "") == type(operation).__name__.lower():
            number = next(self._counts.setdefault(base, itertools.count()))
            name = f"{base}_{number}" if number else base
        if name in self._names:
            name = "_".join([*step.inside[-1:], name])
        whole, number = name, 0
        while name in self._names:
            number += 1
            name = f"{whole}_{number}"
        self._names.add(name)
        return name

    def take_weights(self, pixels: Pixels, channels: int) -> None:
        """Copies the weights, and adapts the first kernel to the order and number of bands.

        Args:
            pixels: Pixels. The order of the channels of the network.
            channels: int. Bands of the images of the copy.

        Raises:
            ValueError: if the bands are others and the first layer with weights is no convolution.
        """
        changed = channels != len(pixels.mean) or pixels.order != tuple(range(len(pixels.mean)))
        first = self._first_layer() if changed else None
        for number, layer in self.layers.items():
            values = self.traced.steps[number].operation
            if not getattr(values, "weights", None):
                continue
            arrays = values.get_weights()
            if _is_depthwise(values):
                arrays[0] = arrays[0].swapaxes(2, 3)
            if number == first:
                adapt = _adapter(pixels, channels)
                arrays = [
                    adapt(array)
                    if array.ndim == 4 and array.shape[2] == len(pixels.mean)
                    else array
                    for array in arrays
                ]
            if [array.shape for array in arrays] != [tuple(v.shape) for v in layer.weights]:
                raise ValueError(
                    f"channels must be {len(pixels.mean)} for a network whose first layer with "
                    f"weights is no convolution. Received: {layer.name!r}."
                )
            layer.set_weights(arrays)

    def _first_layer(self):
        """Returns the number of the first step with weights."""
        weighted = (n for n, layer in self.layers.items() if getattr(layer, "weights", None))
        return next(weighted, None)

    def freeze(self, frozen_stages: int) -> None:
        """Freezes the first stages, counted from the images.

        Args:
            frozen_stages: int in 0..5.
        """
        by_stage = maps_of.stages(self.traced, self.found)
        for name in ("stem", "c2", "c3", "c4", "c5")[:frozen_stages]:
            for number in by_stage.get(name, ()):
                layer = self.layers.get(number)
                if isinstance(layer, keras.layers.Layer):
                    layer.trainable = False


def _is_depthwise(operation):
    """Returns whether a layer is a convolution with a kernel of its own for each channel.

    ConvNeXt has them as grouped convolutions. On CPUs Keras runs these in XLA, and training takes
    20 to 100 times as long as with the same convolution as a layer `DepthwiseConv2D`.
    """
    if type(operation) is not keras.layers.Conv2D or operation.groups == 1:
        return False
    return operation.groups == operation.filters == operation.kernel.shape[3]


def _depthwise(config):
    """Makes a depthwise convolution from the config of a grouped one; biases stay."""
    kernel = {
        name.replace("kernel", "depthwise"): value
        for name, value in config.items()
        if name.startswith("kernel_") and name != "kernel_size"
    }
    left_out = {"filters", "groups", *(name for name in config if name.startswith("kernel_"))}
    kept = {name: value for name, value in config.items() if name not in left_out}
    return keras.layers.DepthwiseConv2D.from_config(
        {**kept, **kernel, "kernel_size": config["kernel_size"]}
    )


def _adapter(pixels, channels):
    """Returns a function of the first kernel."""
    back = np.argsort(pixels.order)

    def adapt(kernel):
        kernel = kernel[..., back, :]
        if channels == kernel.shape[-2]:
            return kernel
        return adapt_kernel(kernel, channels, pixels.std)

    return adapt


def _depth_rates(traced, found, rate):
    """Returns the rate of each step that leaves out a residual branch: a dict by its number."""
    needed = sorted(set().union(*(traced.ancestors(number) for number in found.values())))
    own = {number: _own_rate(traced.steps[number].operation) for number in needed}
    own = {number: value for number, value in own.items() if value is not None}
    if rate and not own:
        raise ValueError(
            "stochastic_depth must be 0 for a network without layers for it. "
            f"Received: stochastic_depth={rate}."
        )
    most = max(own.values(), default=0.0)
    if most:  # blocks without a branch that can be left out keep their place in the order
        return {number: rate * value / most for number, value in own.items()}
    return dict(zip(own, np.linspace(0.0, rate, len(own)).tolist(), strict=True))


def _own_rate(operation):
    """Returns the rate of a layer that leaves out a residual branch; None for all others."""
    kind = type(operation).__name__
    if kind in ("StochasticDepth", "DropPath"):
        config = operation.get_config()
        return float(config.get("drop_path_rate", config.get("rate", 0.0)))
    if isinstance(operation, keras.layers.Dropout) and operation.noise_shape is not None:
        dropped = tuple(operation.noise_shape)
        return float(operation.rate) if dropped[1:] == (1, 1, 1) else None
    # ConvNeXt of keras.applications puts this layer where the rate is 0.
    if isinstance(operation, keras.layers.Activation) and operation.name.endswith("_identity"):
        return 0.0
    return None
