"""Builds the forward pass of a SavedModel: batch norms folded, weights in a smaller type."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_maskrcnn.catalog import BACKBONES
from keras_maskrcnn.layers.changes import apply_changes
from keras_maskrcnn.layers.conv import ConvNorm
from keras_maskrcnn.typing import Tensors

PRECISIONS = ("float32", "bfloat16", "int8")


def inference_function(
    model: keras.Model, precision: str | None = None
) -> Callable[[Tensors], Tensors]:
    """Makes a function for an export that computes the same as `model(inputs, training=False)`.

    It works on copies of the weights, so a graph that is traced from it has no variables of
    `model`.

    Args:
        model: a `MaskRCNN`.
        precision: str. None keeps the precision of `model`. "float32" computes in float32.
            "bfloat16" stores weights and computes networks in bfloat16; boxes, NMS and RoIAlign
            stay float32. "int8" stores kernels in 8 bits, with a float32 scale per channel of the
            last axis. This takes a quarter of the size, but each request converts the kernels back
            and computes in float32.

    Returns:
        Function from the inputs of `MaskRCNN` to its outputs.

    Raises:
        ValueError: if there is no such precision, or if one is given and the model has quantized
            layers or LoRA.
    """
    if precision not in (None, *PRECISIONS):
        raise ValueError(
            f"precision must be one of {', '.join(PRECISIONS)}. Received: precision={precision!r}."
        )
    copy = folded_copy(model, "float32" if precision == "int8" else precision)
    if precision != "int8":
        return lambda inputs: copy(inputs, training=False)
    kernels = [v for v in copy.weights if len(v.shape) > 1]
    stored = [[tf.Variable(part, trainable=False) for part in quantize(v)] for v in kernels]

    def forward(inputs):
        values = [tf.cast(whole, tf.float32) * scale for whole, scale in stored]
        with keras.StatelessScope(state_mapping=zip(kernels, values, strict=True)):
            return copy(inputs, training=False)

    return forward


def folded_copy(model: keras.Model, dtype: str | None = None) -> keras.Model:
    """Copies a model for inference, with batch norm folded into the convolutions before it.

    Without this, each `ConvNorm` would fold its norm again in each request.

    Args:
        model: a `MaskRCNN`.
        dtype: str. The dtype policy of the copy; None for the model's policy. Folding is done in
            float32.

    Returns:
        A `MaskRCNN`.

    Raises:
        ValueError: if a layer is quantized or has LoRA, and `dtype` is given.
    """
    config = model.config
    folds = ("frozen_batch", "batch")
    ours = BACKBONES[config.backbone].source == "ours"  # networks of Keras keep their norms
    fields = ("norm", "head_norm") if ours else ("head_norm",)
    without = {name: "" for name in fields if getattr(config, name) in folds}
    policy = dtype or model.dtype_policy
    copy = model.rebuilt(dataclasses.replace(config, **without), dtype=policy, name=model.name)
    changed = {
        path: {name: value for name, value in change.items() if name != "trainable"}
        for path, change in model.changed_layers().items()
    }
    changed = {path: change for path, change in changed.items() if change}
    if dtype is None:
        norms = {path for path in changed if path.endswith("/norm")}  # the copy may lack them
        apply_changes(copy, {path: changed[path] for path in set(changed) - norms})
    elif any(set(change) - {"dtype"} for change in changed.values()):
        raise ValueError(
            "models with quantized layers or LoRA can only be exported as a SavedModel without "
            f"`precision`. Received: layer {sorted(changed)[0]}, dtype={dtype!r}."
        )
    for name, network in copy.networks.items():
        for layer, theirs in zip(network.layers, model.networks[name].layers, strict=True):
            folded = isinstance(layer, ConvNorm) and layer.norm_name != theirs.norm_name
            layer.set_weights(theirs.folded() if folded else theirs.get_weights())
    return copy


def quantize(kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rounds a kernel to 8 bits, with one scale per channel of its last axis.

    Args:
        kernel: (..., K) float.

    Returns:
        whole: (..., K) int8 in -127..127.
        scale: (K,) float32, positive. `whole * scale` approximates the kernel.
    """
    kernel = tf.cast(kernel, tf.float32)
    greatest = tf.reduce_max(tf.abs(kernel), axis=list(range(kernel.shape.rank - 1)))
    scale = tf.where(greatest > 0, greatest / 127, 1.0)
    return tf.cast(tf.round(kernel / scale), tf.int8), scale
