"""Makes a backbone from any convolutional network of Keras: a copy with a few changes."""

from collections.abc import Mapping, Sequence

import keras

from keras_maskrcnn.backbones import maps as maps_of
from keras_maskrcnn.backbones.copying import NORMS, Copy
from keras_maskrcnn.backbones.hub_weights import as_ours
from keras_maskrcnn.backbones.normalizing import RANDOM, Preprocess, checked, pixels_of
from keras_maskrcnn.catalog import for_bands


def from_keras(
    model: keras.Model,
    *,
    preprocess: Preprocess | None = None,
    norm: str = "frozen_batch",
    frozen_stages: int = 0,
    stochastic_depth: float = 0.0,
    channels: int = 3,
    maps: Mapping[str, str] | Sequence[str] | None = None,
) -> keras.Model:
    """Makes a backbone from a network of keras.applications, of KerasHub, or of yours.

    The network is copied with its weights, and stays unchanged. KerasHub's ViTDet and MiT become
    those of `transformers`, which take images of any size. In the copy:

    - The outputs are the last maps with strides 4, 8, 16 and 32, which are found by their shapes.
    - The normalization of the images at its beginning is left out. `MaskRCNN` does it instead.
      Random augmentations there are left out, too: boxes would not follow them.
    - Batch norm is ours: its statistics are fixed, or those of the batch of all replicas.
    - Random depth at the end of residual branches has the given rate.
    - All layers are trained but those of the frozen stages and fixed norms.

    Args:
        model: functional or Sequential Keras model with one input, images (B, H, W, 3). It may
            have a classifier, which is left out.
        preprocess: function that prepares images (B, H, W, 3), float32 RGB in 0..255, for the
            network, as keras.applications.resnet.preprocess_input. None: that of keras.applications
            for the networks whose names it knows, and that of KerasHub's presets for its ViTDet and
            MiT; else what the network's first layers do.
        norm: "frozen_batch" or "batch", as in `MaskRCNNConfig`.
        frozen_stages: int in 0..5. Stages that are not trained. 1: what leads to the last map of
            stride 2 (the stem). 2: also what leads to the map of stride 4. And so on.
        stochastic_depth: float in [0, 0.9]. Probability that the last residual branch is left out
            in a training step; it rises linearly from the first one on.
        channels: int in 1..32. Bands of the images. See `layers.bands` for other numbers than 3.
        maps: dict from "c2".."c5" to names of layers, or list of names of layers: the outputs
            instead of those that are found. None: `pyramid_outputs` of a network of KerasHub, else
            those that are found.

    Returns:
        Functional Keras model: normalized images (B, H, W, channels) -> dict of "c2".."c5", as far
            as the network has them, (B, ceil(H / stride), ceil(W / stride), K). Its attributes
            `pixel_mean` and `pixel_std`, tuples of numbers in 0..255, say how to normalize: a
            `MaskRCNN` takes them over. Its attribute `maps` has the names of the layers in
            `model` that the maps are from.

    Raises:
        ValueError: if the network has another form, or no map with such a stride. If `preprocess`
            is not known, fails, or is no factor and offset per channel. If an argument is out of
            its range, or the network has no layers for `stochastic_depth`.
    """
    _check(model, preprocess, norm, frozen_stages, stochastic_depth, channels, maps)
    model, preprocess = as_ours(model, preprocess and checked(preprocess))
    traced, side, found = _find(model, maps)
    pixels = pixels_of(traced, model.name, preprocess)
    _check_geometry(traced, found, pixels.last)
    copy = Copy(traced, found, norm, stochastic_depth)
    images = keras.Input((side, side, channels), name="images")
    outputs = copy.run(images, pixels.last)
    copy.take_weights(pixels, channels)
    copy.freeze(frozen_stages)
    backbone = keras.Model(images, outputs, name=model.name)
    backbone.pixel_mean, backbone.pixel_std = (
        _for_bands(numbers, channels) for numbers in (pixels.mean, pixels.std)
    )
    backbone.maps = {name: traced.steps[number].name for name, number in found.items()}
    return backbone


def _check(model, preprocess, norm, frozen_stages, stochastic_depth, channels, maps):
    inputs, outputs = (getattr(model, name, None) for name in ("inputs", "outputs"))
    if not isinstance(model, keras.Model) or not inputs or not outputs:
        raise ValueError(
            "the network must be a functional Keras model; make one from another model or layer "
            f"with keras.Model(inputs, layer(inputs)). Received: {model!r}."
        )
    shapes = [tensor.shape for tensor in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] is None:
        raise ValueError(
            f"the network must take images (B, H, W, channels) only. Received: inputs={shapes}."
        )
    for name, value, holds, expected in (
        ("norm", norm, norm in NORMS, "'frozen_batch' or 'batch' for a network of Keras"),
        ("frozen_stages", frozen_stages, frozen_stages in range(6), "in 0..5"),
        (
            "stochastic_depth",
            stochastic_depth,
            isinstance(stochastic_depth, (int, float)) and 0 <= stochastic_depth <= 0.9,
            "in 0..0.9",
        ),
        ("preprocess", preprocess, preprocess is None or callable(preprocess), "a function"),
        ("maps", maps, not isinstance(maps, str), "a dict or list of names of layers"),
        ("channels", channels, channels in range(1, 33), "in 1..32"),
        (
            "channels",
            channels,
            channels == shapes[0][-1] or shapes[0][-1] == 3,
            f"{shapes[0][-1]}, as many as the network has; only those of RGB images are adapted",
        ),
    ):
        if not holds:
            raise ValueError(f"{name} must be {expected}. Received: {name}={value!r}.")


def _check_geometry(traced, found, last_of_pixels):
    """Refuses layers that move or resize what is in the images."""
    needed = set().union(*(traced.ancestors(number) for number in found.values()))
    kinds = (keras.layers.Resizing, keras.layers.CenterCrop, keras.layers.RandomCrop, *RANDOM)
    for number in sorted(needed - traced.ancestors(last_of_pixels)):
        step = traced.steps[number]
        if isinstance(step.operation, kinds):
            raise ValueError(
                "the network must not resize, crop or augment images, because boxes would not "
                f"follow; leave the layer out. Received: {step.name!r}, a "
                f"{type(step.operation).__name__}."
            )


def _for_bands(numbers, channels):
    """Returns numbers of R, G and B for a network of this many bands."""
    if len(numbers) == channels:
        return numbers
    return (sum(numbers) / 3,) if channels == 1 else for_bands(numbers, channels)


def _find(model, wanted):
    """Returns the trace, the side of its images if it is fixed, and the steps of the maps."""
    channels = model.inputs[0].shape[-1]
    pyramid = getattr(model, "pyramid_outputs", None)
    if wanted is None and pyramid:
        tensors = [pyramid[key] for key in sorted(pyramid)]
        traced, side = maps_of.trace_at(keras.Model(model.inputs, tensors), channels)
        return traced, side, maps_of.by_their_stride(traced, traced.outputs)
    traced, side = maps_of.trace_at(model, channels)
    named = maps_of.find_maps(traced) if wanted is None else maps_of.chosen_maps(traced, wanted)
    return traced, side, named
