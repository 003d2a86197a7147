"""Copies the weights of KerasHub's ViTDet and MiT into our networks of the same form."""

import inspect

import keras
import numpy as np

from keras_maskrcnn.backbones import transformers
from keras_maskrcnn.backbones.normalizing import Preprocess
from keras_maskrcnn.catalog import RGB

_TABLES = ("positions", "rel_pos_h", "rel_pos_w")


def as_ours(
    network: keras.Model, preprocess: Preprocess | None = None
) -> tuple[keras.Model, Preprocess | None]:
    """Replaces KerasHub's ViTDet or MiT by our network with the same weights.

    Args:
        network: Keras model.
        preprocess: function that prepares images in 0..255 for it. None: that of KerasHub's
            presets, which brings them to 0..1 for ViTDet, and normalizes them for MiT.

    Returns:
        network: Keras model: the same one if it is neither.
        preprocess: the same for the returned network. Ours does not normalize images itself.

    Raises:
        ValueError: if the network is a ViTDet with options that ours has not.
    """
    kind = type(network).__name__
    if kind not in _READ:
        return network, preprocess
    config = network.get_config()
    for name in ("use_bias", "use_abs_pos", "use_rel_pos"):
        if not config.get(name, True):
            raise ValueError(f"a ViTDet must have {name}=True. Received: {name}=False.")
    build = transformers.mit if kind == "MiTBackbone" else transformers.vitdet
    fields = {name: config[name] for name in inspect.signature(build).parameters if name != "side"}
    if kind == "ViTDetBackbone":
        fields["side"] = config["image_shape"][0]
    ours = build(**fields)
    take(ours, network)
    mean, std = (np.array(numbers, np.float32) for numbers in RGB)
    if preprocess is None:
        return ours, lambda images: (images - mean) / std
    if kind == "MiTBackbone":
        return ours, preprocess
    return ours, lambda images: (preprocess(images) - mean / 255) / (std / 255)


def take(ours: keras.Model, theirs: keras.Model) -> None:
    """Copies weights. Positions for another size of images are interpolated.

    Args:
        ours: Keras model of `transformers`.
        theirs: ViTDetBackbone or MiTBackbone of KerasHub, of the same form.
    """
    for name, arrays in _READ[type(theirs).__name__](theirs):
        layer = ours.get_layer(name)
        values = []
        for array, variable in zip(arrays, layer.weights, strict=True):
            value = keras.ops.convert_to_numpy(array)
            table = variable.name in _TABLES
            values.append(_resized(value, tuple(variable.shape)) if table else value)
        layer.set_weights(values)


def _of_vitdet(theirs):
    """Yields the name of our layer, and KerasHub's arrays in the order of its weights."""
    count = 0
    for layer in theirs.layers:
        kind = type(layer).__name__
        if kind == "ViTDetPatchingAndEmbedding":
            yield "patch_embed", layer.projection.weights
        elif kind == "AddPositionalEmbedding":
            yield "positions", [layer.pos_embed]
        elif kind == "WindowedTransformerEncoder":
            name, attention = f"transformer{count}", layer.attention
            relative = attention.add_decomposed_relative_pe
            first, last = (x for x in layer.mlp_block.dense_net.layers if x.weights)
            tables = [relative.rel_pos_h, relative.rel_pos_w]
            dense = [*attention.qkv.weights, *attention.projection.weights]
            yield f"{name}_attention_prenorm", layer.layer_norm1.weights
            yield f"{name}_attention", [*tables, *dense]
            yield f"{name}_mlp_prenorm", layer.layer_norm2.weights
            yield f"{name}_mlp_fc1", first.weights
            yield f"{name}_mlp_fc2", last.weights
            count += 1


def _of_mit(theirs):
    norms = iter([x for x in theirs.layers if isinstance(x, keras.layers.LayerNormalization)])
    count = 0
    for stage, depth in enumerate(theirs.layerwise_depths):
        patch = theirs.get_layer(f"patch_and_embed_{stage}")
        yield f"patch{stage}_conv", patch.proj.weights
        yield f"patch{stage}_norm", patch.norm.weights
        for block in range(depth):
            layer = theirs.get_layer(f"hierarchical_encoder_{stage}_{block}")
            parts = {
                "attention_prenorm": layer.norm1,
                "attention_q": layer.attn.q,
                "attention_k": layer.attn.k,
                "attention_v": layer.attn.v,
                "attention_projection": layer.attn.proj,
                "mlp_prenorm": layer.norm2,
                "mlp_fc1": layer.mlp.fc1,
                "mlp_dwconv": layer.mlp.dwconv,
                "mlp_fc2": layer.mlp.fc2,
            }
            if layer.attn.sr_ratio > 1:
                parts |= {"attention_sr": layer.attn.sr, "attention_norm": layer.attn.norm}
            for part, source in parts.items():
                yield f"transformer{count}_{part}", source.weights
            count += 1
        yield f"stage{stage}_norm", next(norms).weights


_READ = {"ViTDetBackbone": _of_vitdet, "MiTBackbone": _of_mit}


def _resized(table, shape):
    """Interpolates positions, (1, side, side, K) or (2 side - 1, K), as detectron2 does."""
    if table.shape == shape:
        return table
    absolute = table.ndim == 4
    image = table if absolute else table[None, :, None]
    size = shape[1:3] if absolute else (shape[0], 1)
    method = "bicubic" if absolute else "bilinear"
    resized = keras.ops.image.resize(image, size, interpolation=method)
    return keras.ops.convert_to_numpy(resized).reshape(shape)
