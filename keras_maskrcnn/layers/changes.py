"""Records how a model's layers were changed after it was built, so that a file can restore them."""

import reprlib
from collections.abc import Mapping
from typing import Any

import keras

from keras_maskrcnn.keras_private import layers_inside

# Modes of `quantize` that need only the weights; gptq and awq also need data.
_QUANTIZED = ("int8", "int4", "float8")


def state_of_layers(model: keras.Model) -> dict[str, dict[str, Any]]:
    """Reads each layer's changeable settings: trainable, precision, quantization and LoRA.

    Args:
        model: MaskRCNN.

    Returns:
        dict from each layer's path to a dict of plain values. Parents come before their children;
            the path "" is the model.
    """
    return {path: _state(layer) for path, layer in _by_path(model).items()}


def changes(model: keras.Model, built: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Compares the model's layers with their state after building.

    Args:
        model: MaskRCNN.
        built: dict. What `state_of_layers` returned when the model was built.

    Returns:
        dict like `state_of_layers`, with only the layers and values that differ from `built`.

    Raises:
        ValueError: if a layer has a quantization that cannot be restored from a file.
    """
    found = {}
    for path, layer in _by_path(model).items():
        before = built.get(path, {})
        differs = {
            name: value for name, value in _state(layer).items() if value != before.get(name)
        }
        mode = layer.dtype_policy.quantization_mode
        if mode not in (None, *_QUANTIZED):
            raise ValueError(
                f"only models quantized to {', '.join(_QUANTIZED)} can be saved; save_weights can "
                f"save this model's weights. Received: {path} with quantization={mode!r}."
            )
        if differs:
            found[path] = differs
    return found


def apply_changes(model: keras.Model, changed: Mapping[str, dict[str, Any]]) -> None:
    """Applies the result of `changes` to a newly built model, before its weights are loaded.

    Args:
        model: MaskRCNN.
        changed: dict. What `changes` returned, perhaps read back from a file.

    Raises:
        ValueError: if the model lacks one of the layers, or a layer does not allow the change.
    """
    if not isinstance(changed, dict):
        raise ValueError(
            f"changes must be a dict, by layer. Received: changed={reprlib.repr(changed)}."
        )
    layers = _by_path(model)
    trainable = {path: layer.trainable for path, layer in layers.items()}
    for path, change in changed.items():
        if path not in layers:
            received = reprlib.repr(path)
            raise ValueError(f"the model has no layer with this path. Received: path={received}.")
        try:
            _change(layers[path], **change)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ValueError(
                f"the layer {path} does not allow this change: {str(error)[:200]} "
                f"Received: {reprlib.repr(change)}."
            ) from error
        trainable[path] = change.get("trainable", trainable[path])
    for path, layer in layers.items():  # parents first: setting a parent sets its children
        if layer.trainable != trainable[path]:
            layer.trainable = trainable[path]
        if getattr(layer, "lora_enabled", False):
            _begin_lora_anew(layer)


def _change(layer, trainable=None, dtype=None, quantization=None, lora_rank=0, lora_alpha=None):
    """Applies a file's changes to one layer, except `trainable`, which the caller sets last."""
    if quantization is not None:
        if quantization["module"] != "keras.quantizers":
            raise ValueError("the quantization must be one of keras.quantizers.")
        config = keras.saving.deserialize_keras_object(quantization)
        layer.quantize(config.mode, config=config)
    if dtype is not None and layer.dtype_policy.name != dtype:
        layer.dtype_policy = dtype
    if lora_rank and not layer.lora_enabled:  # a network that was passed in may have it already
        most = max(layer.kernel.shape)
        if not 1 <= lora_rank <= most:
            raise ValueError(f"lora_rank must be in 1..{most}, the kernel's longer side.")
        layer.enable_lora(lora_rank, lora_alpha=lora_alpha)


def _by_path(model):
    layers = {"": model}

    def visit(path, layer):
        layers[path] = layer
        for inner in layers_inside(layer):
            visit(f"{path}/{inner.name}", inner)

    for name, network in model.networks.items():
        visit(name, network)
    return layers


def _state(layer):
    state = {"trainable": layer.trainable, "dtype": layer.dtype_policy.name}
    if getattr(layer, "lora_enabled", False):
        state |= {"lora_rank": layer.lora_rank, "lora_alpha": layer.lora_alpha}
    if getattr(layer, "quantization_config", None) is not None:
        state["quantization"] = keras.saving.serialize_keras_object(layer.quantization_config)
    return state


def _begin_lora_anew(layer):
    """Gives a LoRA layer new random values for its first factor, after its weights are loaded.

    Keras adds LoRA's product to the kernel when it saves, and loads both factors as zeros. With
    both at 0, neither would ever get a gradient. LoRA starts with one factor that is not 0.
    """
    load = layer.load_own_variables

    def load_own_variables(store):
        load(store)
        factor = layer.lora_kernel_a
        factor.assign(keras.initializers.HeUniform()(factor.shape, factor.dtype))

    layer.load_own_variables = load_own_variables
