"""Small networks of Keras for the tests of backbones, and weights that show each mistake."""

import keras
import numpy as np


def residual(stages=4, channels=3, name="small", preprocess=True):
    """A network with a stem of stride 2 and residual stages of strides 4, 8, ... and a classifier.

    Its first layer divides images by 127.5 and subtracts 1. Each stage is `conv{i}` with its norm,
    and a branch that can be left out.
    """
    layers = keras.layers
    x = images = keras.Input((None, None, channels))
    if preprocess:
        x = layers.Rescaling(1 / 127.5, -1, name="pixels")(x)
    x = layers.Conv2D(4, 3, 2, padding="same", name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    for i in range(2, 2 + stages):
        x = layers.Conv2D(4, 3, 2, padding="same", name=f"conv{i}")(x)
        branch = layers.BatchNormalization(momentum=0.8, epsilon=0.01, name=f"bn{i}")(x)
        branch = layers.Activation("relu", name=f"relu{i}")(branch)
        branch = layers.Dropout(0.1 * i, noise_shape=(None, 1, 1, 1), name=f"drop{i}")(branch)
        x = layers.Add(name=f"add{i}")([x, branch])
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return perturbed(keras.Model(images, layers.Dense(2, name="classes")(x), name=name))


def perturbed(network, seed=0, gamma=(0.7, 1.4)):
    """Gives norms and biases weights that are not their first ones, so that no mistake hides."""
    rng = np.random.default_rng(seed)
    for variable in network.weights:
        name, shape = variable.path.split("/")[-1], variable.shape
        if name in ("moving_mean", "beta", "bias"):
            variable.assign(rng.normal(0, 0.1, shape))
        elif name in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(*(gamma if name == "gamma" else (0.7, 1.4)), shape))
    return network


def photo(side=64, channels=3, seed=0):
    """Two images of noise, (2, side, 1.5 side, channels) float32 in 0..255."""
    shape = (2, side, side * 3 // 2, channels)
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def normalized(backbone, images):
    """What `MaskRCNN` gives to its backbone."""
    mean, std = (np.array(x, images.dtype) for x in (backbone.pixel_mean, backbone.pixel_std))
    return (images - mean) / std
