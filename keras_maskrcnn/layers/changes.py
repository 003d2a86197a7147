"""What is changed of a model's layers after it was built, so that it comes back from a file."""

import reprlib
from collections.abc import Mapping
from typing import Any

import keras

from keras_maskrcnn.keras_private import layers_inside

# Modes of `quantize` that need nothing but the weights; gptq and awq also take data.
_QUANTIZED = ("int8", "int4", "float8")


def state_of_layers(model: keras.Model) -> dict[str, dict[str, Any]]:
    """Looks at what Keras lets one change of a layer: trainable, precision, quantization, LoRA.

    Args:
        model: MaskRCNN.

    Returns:
        dict of each layer's path, parents first, "" being the model, to a dict of plain values.
    """
    return {path: _state(layer) for path, layer in _by_path(model).items()}


def changes(model: keras.Model, built: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns what of `state_of_layers` is not as it was, `built`: of each path what differs.

    Raises:
        ValueError: if a layer has a quantization that does not come back from a file.
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
                f"models quantized to {', '.join(_QUANTIZED)} can be saved; the weights can be, by "
                f"save_weights. Received: {path} with quantization={mode!r}."
            )
        if differs:
            found[path] = differs
    return found


def apply_changes(model: keras.Model, changed: Mapping[str, dict[str, Any]]) -> None:
    """Changes a model that was just built as `changes` found it; weights come later.

    Args:
        model: MaskRCNN.
        changed: dict, what `changes` returned, or a file has.

    Raises:
        ValueError: if the model has no such layer, or a layer cannot be changed so.
    """
    if not isinstance(changed, dict):
        raise ValueError(f"changes are a dict, by layer. Received: {reprlib.repr(changed)}.")
    layers = _by_path(model)
    trainable = {path: layer.trainable for path, layer in layers.items()}
    for path, change in changed.items():
        if path not in layers:
            received = reprlib.repr(path)
            raise ValueError(f"a changed layer is none of the model's. Received: {received}.")
        try:
            _change(layers[path], **change)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ValueError(
                f"the layer {path} cannot be changed so: {str(error)[:200]} "
                f"Received: {reprlib.repr(change)}."
            ) from error
        trainable[path] = change.get("trainable", trainable[path])
    for path, layer in layers.items():  # parents first, for they set their children
        if layer.trainable != trainable[path]:
            layer.trainable = trainable[path]
        if getattr(layer, "lora_enabled", False):
            _begin_lora_anew(layer)


def _change(layer, trainable=None, dtype=None, quantization=None, lora_rank=0, lora_alpha=None):
    """What a file says of a layer; `trainable` is for later."""
    if quantization is not None:
        if quantization["module"] != "keras.quantizers":
            raise ValueError("a quantization is Keras'.")
        config = keras.saving.deserialize_keras_object(quantization)
        layer.quantize(config.mode, config=config)
    if dtype is not None and layer.dtype_policy.name != dtype:
        layer.dtype_policy = dtype
    if lora_rank and not layer.lora_enabled:  # else a part that was passed in brought it along
        most = max(layer.kernel.shape)
        if not 1 <= lora_rank <= most:
            raise ValueError(f"a rank is at most {most}, the longer side of the kernel.")
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
    """Keras saves LoRA's product as a part of the kernel, and then zeros both of its factors.

    Neither would ever get a gradient; one that is not 0 is how LoRA begins.
    """
    load = layer.load_own_variables

    def load_own_variables(store):
        load(store)
        factor = layer.lora_kernel_a
        factor.assign(keras.initializers.HeUniform()(factor.shape, factor.dtype))

    layer.load_own_variables = load_own_variables
