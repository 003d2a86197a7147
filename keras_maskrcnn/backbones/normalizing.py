"""Finds out which pixels a network expects: it measures what happens to them before its layers."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_maskrcnn.backbones.tracing import Trace

Preprocess = Callable[[np.ndarray], Any]

# Names of networks of keras.applications, in small letters, and the module whose
# `preprocess_input` they need. Networks that are not here normalize images themselves. A longer
# name, such as resnet50_of_mine, says nothing about the pixels.
_MODULES = {
    r"inception_resnet_v2": "inception_resnet_v2",
    r"inception_v3": "inception_v3",
    r"mobilenetv2(_[\d.]+_(\d+|none))?": "mobilenet_v2",
    r"mobilenet(_[\d.]+_(\d+|none))?": "mobilenet",
    r"resnet(50|101|152)v2": "resnet_v2",
    r"resnet(50|101|152)": "resnet",
    r"densenet\d*": "densenet",
    r"nasnet(_mobile|_large)?": "nasnet",
    r"vgg16": "vgg16",
    r"vgg19": "vgg19",
    r"xception": "xception",
}

# Layers that change images at random in training. Boxes would not follow, so none may stay.
RANDOM = tuple(
    getattr(keras.layers, name)
    for name in dir(keras.layers)
    if re.fullmatch("Random(?!Crop).*|RandAugment|AugMix|CutMix|MixUp", name)
)


class Pixels(NamedTuple):
    """How a network expects its images.

    Attributes:
        mean: tuple of floats. Subtracted from each channel of an image in 0..255.
        std: tuple of floats. Divides it afterwards.
        order: tuple of int. The channel of RGB that each of the network's channels is; (2, 1, 0)
            for BGR.
        last: int. Number of the last step of the network's own normalization, 0 if it has none.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: tuple[int, ...]
    last: int


def checked(preprocess: Preprocess) -> Preprocess:
    """Wraps a user's function: if it fails, or returns no images, one line names it.

    Args:
        preprocess: function from images (B, H, W, C) float32 in 0..255 to images of this shape.

    Returns:
        function that raises ValueError in these cases.
    """
    expected = (
        "preprocess must be a function from images (B, H, W, C), a float32 array, to images of the "
        f"same shape. Received: preprocess={_name(preprocess)}, which"
    )

    @functools.wraps(preprocess, updated=())
    def run(images):
        shape = images.shape
        try:
            found = np.asarray(preprocess(images), np.float32)
        except Exception as error:  # a user's function may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise ValueError(f"{expected} raised {reason}") from error
        if found.shape != shape:
            raise ValueError(f"{expected} made an array of shape {found.shape} of one of {shape}.")
        return found

    return run


def pixels_of(traced: Trace, name: str, preprocess: Preprocess | None) -> Pixels:
    """Measures the normalization of a network's images.

    Args:
        traced: Trace. The network's graph.
        name: str. The network's name. It tells those of keras.applications.
        preprocess: function from images (B, H, W, C) float32 in 0..255 to what the network takes;
            None for what its layers, or its name, say.

    Returns:
        `Pixels`.

    Raises:
        ValueError: if the normalization is not one factor and one offset per channel. If it is
            neither given nor known.
    """
    chain = _chain(traced)
    if preprocess is None:
        normalizes = any(not isinstance(traced.steps[n].operation, RANDOM) for n in chain[1:])
        preprocess = _unchanged if normalizes else _known(name)
    if preprocess is None:
        raise ValueError(
            "preprocess must be the function that prepares images in 0..255 for this network, as "
            "keras.applications.resnet.preprocess_input; with preprocess=lambda images: images "
            f"they stay as they are. Received: preprocess=None for the network {name!r}."
        )
    channels = traced.steps[0].shape[-1]
    found = None
    for last in chain:  # as far as it is affine
        measured = _affine(preprocess, traced, last, channels)
        if measured is None:
            break
        mean, std, order = measured
        found = Pixels(mean, std, order, last)
    if found is None:
        raise ValueError(
            "preprocess must give each channel one factor and one offset. "
            f"Received: preprocess={_name(preprocess)}, which does something else."
        )
    return found


def _chain(traced):
    """Returns the numbers of the images, and of the steps that replace them for all later steps.

    They keep the shape, and have no weights that are trained. Several steps can do so together:
    BGR images of `preprocess_input` are three slices and a stack.
    """
    chain, reach = [0], 0
    for number, step in enumerate(traced.steps[1:], 1):
        if not _is_plain(step.operation):
            break
        reach = max([reach, *traced.consumers(number - 1)])
        if reach <= number and step.shape == traced.steps[0].shape:
            chain.append(number)
    return chain


def _is_plain(operation):
    if not isinstance(operation, keras.layers.Layer):
        return True  # an operation of keras.ops, which has no weights
    kinds = (
        keras.layers.Rescaling,
        keras.layers.Normalization,
        keras.layers.Lambda,
        keras.layers.Activation,
        keras.layers.Identity,
        *RANDOM,
    )
    return isinstance(operation, kinds)


def _known(name):
    """Returns the function for a network of keras.applications; None if it is none of them."""
    for pattern, module in _MODULES.items():
        if re.fullmatch(pattern, name.lower()):
            return getattr(keras.applications, module).preprocess_input
    return None


def _name(function):
    """Returns the name of a function, or of the class of another callable."""
    return getattr(function, "__qualname__", type(function).__name__)


def _unchanged(images):
    return images


def _affine(preprocess, traced, last, channels):
    """Returns (mean, std, order) of a function of images and the steps up to `last`.

    None if they are not affine per channel.
    """
    numbers = sorted(traced.ancestors(last))[1:]

    def run(images):
        x = keras.ops.convert_to_tensor(np.asarray(preprocess(images.copy()), np.float32))
        values = {id(traced.steps[0].outputs[0]): x}
        for number in numbers:
            step = traced.steps[number]
            args, kwargs = _with(step.args, values), _with(step.kwargs, values)
            random = isinstance(step.operation, RANDOM)
            found = args[0] if random else _in_float32(step.operation)(*args, **kwargs)
            values.update(zip(map(id, step.outputs), keras.tree.flatten(found), strict=True))
        return np.asarray(values[id(traced.steps[last].outputs[0])], np.float64)

    one = np.zeros((1, 4, 4, channels), np.float32)
    offset = run(one)[0, 0, 0]
    factors = np.zeros((channels, channels))  # from each channel to each other
    for channel in range(channels):
        one[:] = 0
        one[..., channel] = 255
        factors[channel] = (run(one)[0, 0, 0] - offset) / 255
    order = np.abs(factors).argmax(axis=0)
    scale = factors[order, range(channels)]
    images = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, channels)).astype(np.float32)
    expected = images[..., order] * scale + offset
    if (
        sorted(order) != list(range(channels))
        or not (scale > 0).all()
        or not np.allclose(run(images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    ):
        return None
    back = np.argsort(order)  # the numbers belong to our channels, not to the network's
    mean, std = (-offset / scale)[back], (1 / scale)[back]
    # float32 has 7 digits: what was 123.675 in the network's source is so again.
    mean, std = (tuple(float(f"{x:.7g}") + 0.0 for x in values) for values in (mean, std))
    return mean, std, tuple(map(int, order))


def _in_float32(operation):
    """Returns a copy that computes in float32; the weights of Normalization are few numbers."""
    if not isinstance(operation, keras.layers.Layer):
        return operation
    copy = type(operation).from_config({**operation.get_config(), "dtype": "float32"})
    if operation.weights:
        copy.build(operation.input.shape)
        copy.set_weights(operation.get_weights())
        copy.finalize_state()
    return copy


def _with(arguments, values):
    """Replaces the stand-ins of tensors by their values, a dict by their ids."""
    return keras.tree.map_structure(lambda x: values.get(id(x), x), arguments)
