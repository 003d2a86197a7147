"""The transformers ViTDet and MiT, with weights as in KerasHub, for images of any size.

KerasHub's MiT takes square images of one size only, and cannot be read from files as a part of a
model. Its ViTDet takes one size too, and has no stochastic depth. So these are networks of Keras'
layers and ours, which compute the same.
"""

from collections.abc import Sequence

import keras

from keras_maskrcnn.layers.attention import Attend, Positions, WindowedAttention, tanh_gelu
from keras_maskrcnn.layers.residual import StochasticDepth

# Rate of the last block; `from_keras` scales all of them to the rate that it is given.
_RATE = 0.1


def vitdet(
    *,
    side: int,
    hidden_size: int,
    num_layers: int,
    intermediate_dim: int,
    num_heads: int,
    global_attention_layer_indices: Sequence[int],
    patch_size: int = 16,
    window_size: int = 14,
) -> keras.Model:
    """Builds a plain ViT with attention in windows (Li et al., 2022, §3), without SAM's neck.

    Args:
        side: int. Largest side of an image in pixels; a multiple of `patch_size`. There are
            positions for images up to this size.
        hidden_size: int. Channels of the map.
        num_layers: int. Number of blocks.
        intermediate_dim: int. Units of the hidden layer of a block's MLP.
        num_heads: int. Divides `hidden_size`.
        global_attention_layer_indices: list of int. Blocks, from 0, whose attention is over the
            whole map. All others have windows.
        patch_size: int. Side of a cell in pixels.
        window_size: int. Cells per side of a window.

    Returns:
        Keras model: images (B, H, W, 3), normalized -> (B, H / patch_size, W / patch_size,
            hidden_size). H and W are multiples of `patch_size`, at most `side`.
    """
    cells = side // patch_size
    images = x = keras.Input((None, None, 3), name="images")
    x = keras.layers.Conv2D(
        hidden_size, patch_size, patch_size, kernel_initializer=_normal(), name="patch_embed"
    )(x)
    x = Positions(cells, name="positions")(x)
    for i in range(num_layers):
        window = 0 if i in global_attention_layer_indices else window_size

        def attention(x, name, window=window):
            return WindowedAttention(num_heads, window, cells, name=name)(x)

        def mlp(x, name):
            x = _dense(x, intermediate_dim, f"{name}_fc1")
            x = keras.layers.Activation("gelu", name=f"{name}_gelu")(x)
            return _dense(x, hidden_size, f"{name}_fc2")

        x = _block(x, i, num_layers, attention, mlp)
    return keras.Model(images, x, name="vitdet")


def mit(
    *,
    hidden_dims: Sequence[int],
    layerwise_depths: Sequence[int],
    layerwise_num_heads: Sequence[int],
    layerwise_sr_ratios: Sequence[int],
    layerwise_patch_sizes: Sequence[int],
    layerwise_strides: Sequence[int],
) -> keras.Model:
    """Builds the encoder of SegFormer, a Mix Transformer (Xie et al., 2021, §3.1).

    Args:
        hidden_dims: list of int. Channels of each stage.
        layerwise_depths: list of int. Blocks of each stage.
        layerwise_num_heads: list of int. Heads of each stage.
        layerwise_sr_ratios: list of int. Keys and values are reduced by this factor per side.
        layerwise_patch_sizes: list of int. Kernel of the convolution that begins a stage.
        layerwise_strides: list of int. Its stride.

    Returns:
        Keras model: images (B, H, W, 3), normalized -> list of a map per stage, with strides 4, 8,
            16 and 32. H and W are multiples of 32. `pyramid_outputs` has names for the maps, as
            KerasHub's networks have.
    """
    images = x = keras.Input((None, None, 3), name="images")
    stages = zip(
        hidden_dims,
        layerwise_depths,
        layerwise_num_heads,
        layerwise_sr_ratios,
        layerwise_patch_sizes,
        layerwise_strides,
        strict=True,
    )
    maps, count = [], 0
    for stage, (channels, depth, heads, ratio, patch, stride) in enumerate(stages):
        x = keras.layers.ZeroPadding2D(patch // 2, name=f"patch{stage}_pad")(x)
        x = keras.layers.Conv2D(channels, patch, stride, name=f"patch{stage}_conv")(x)
        x = _norm(x, f"patch{stage}_norm", 1e-5)

        def attention(x, name, channels=channels, heads=heads, ratio=ratio):
            queries, reduced = _dense(x, channels, f"{name}_q"), x
            if ratio > 1:
                reduced = keras.layers.Conv2D(channels, ratio, ratio, name=f"{name}_sr")(x)
                reduced = _norm(reduced, f"{name}_norm", 1e-5)
            keys, values = (_dense(reduced, channels, f"{name}_{part}") for part in "kv")
            x = Attend(heads, name=name)([queries, keys, values])
            return _dense(x, channels, f"{name}_projection")

        def mlp(x, name, channels=channels):
            x = _dense(x, 4 * channels, f"{name}_fc1")
            x = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_dwconv")(x)
            # As in KerasHub. SegFormer's own has the exact GELU.
            x = keras.layers.Activation(tanh_gelu, name=f"{name}_gelu")(x)
            return _dense(x, channels, f"{name}_fc2")

        for _ in range(depth):
            x = _block(x, count, sum(layerwise_depths), attention, mlp)
            count += 1
        x = _norm(x, f"stage{stage}_norm", 1e-5)
        maps.append(x)
    network = keras.Model(images, maps, name="mit")
    network.pyramid_outputs = {f"P{i}": x for i, x in enumerate(maps, 2)}
    return network


def _block(x, number, blocks, attention, mlp):
    """Adds both residual branches of a block, functions of a map and a name, to a map."""
    rate = _RATE * number / max(1, blocks - 1)
    for part, branch in (("attention", attention), ("mlp", mlp)):
        name = f"transformer{number}_{part}"  # `training.layer_decay` reads this name
        y = branch(_norm(x, f"{name}_prenorm", 1e-6), name)
        y = StochasticDepth(rate, name=f"{name}_drop")(y)
        x = keras.layers.Add(name=f"{name}_add")([x, y])
    return x


def _normal():
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _dense(x, units, name):
    return keras.layers.Dense(units, kernel_initializer=_normal(), name=name)(x)


def _norm(x, name, epsilon):
    return keras.layers.LayerNormalization(epsilon=epsilon, name=name)(x)
