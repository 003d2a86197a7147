"""Weights of models of RGB images, for models of images of other bands."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_maskrcnn.catalog import for_bands
from keras_maskrcnn.layers.bands import adapt_kernel


def first_kernel(model: keras.Model) -> str | None:
    """Names the kernel that convolves the images, if it is not one of three bands.

    Args:
        model: MaskRCNN.

    Returns:
        str, "backbone/" and the variable's path. None if the backbone takes three bands, or no
            convolution of Keras comes first.
    """
    channels = model.backbone.input.shape[-1]
    if channels == 3:
        return None
    kernels = [v for v in model.backbone.weights if v.name == "kernel" and len(v.shape) == 4]
    fitting = [v for v in kernels if v.shape[2] == channels]
    return f"backbone/{fitting[0].path}" if fitting else None


def fit_kernel(
    kernel: np.ndarray | None, shape: Sequence[int], std: Sequence[float] | None
) -> np.ndarray | None:
    """Adapts a first kernel of RGB images to a shape, see `layers.bands.adapt_kernel`.

    Args:
        kernel: array of any shape, or None.
        shape: (h, w, N, K), the shape that is needed.
        std: 3 numbers, what the RGB network divides its channels by; or None.

    Returns:
        (h, w, N, K); None if the kernel is none of h x w of three bands, or N is 3.
    """
    height, width, channels, filters = shape
    if channels == 3 or kernel is None or kernel.shape != (height, width, 3, filters):
        return None
    return adapt_kernel(kernel, channels, std)


def expected_numbers(numbers: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Returns the pixel_mean or pixel_std that adapted weights expect.

    Args:
        numbers: tuple of the RGB model.
        count: int. How many numbers the other model has.

    Returns:
        tuple of `count` numbers; `numbers` itself if they are not those of RGB.
    """
    if len(numbers) != 3 or count == 3:
        return numbers
    return (sum(numbers) / 3,) if count == 1 else for_bands(numbers, count)
