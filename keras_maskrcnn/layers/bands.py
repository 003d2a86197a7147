"""Kernels that were trained on RGB images, for images of another number of bands."""

from collections.abc import Sequence

import numpy as np


def adapt_kernel(
    kernel: np.ndarray, channels: int, std: Sequence[float] | None = None
) -> np.ndarray:
    """Makes the first kernel of a network of RGB images fit images of other bands.

    Band n takes the kernel of the RGB band n mod 3. Bands with the same source share its weight, so
    each kernel is divided by their number. With one or two bands, each takes an equal share of the
    sum of the three kernels. The adapted network gives for an image whose bands repeat R, G, B, R,
    ... exactly what the RGB network gives for R, G, B, if each band is normalized as its source.
    docs/deviations.md says why extra bands do not get a mean of the three.

    Args:
        kernel: (h, w, 3, K) float. The input channels are R, G, B.
        channels: int N, at least 1.
        std: 3 numbers that the RGB network divides R, G and B by. Only 1 or 2 bands need them: the
            result is for bands that are divided by the mean of these numbers. None: all are equal.

    Returns:
        (h, w, N, K), of the dtype of `kernel`. With 3 bands the kernel itself.

    Raises:
        ValueError: if the kernel is not one of three input channels, or there is no band.
    """
    kernel = np.asarray(kernel)
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        raise ValueError(f"kernel must be (h, w, 3, K). Received: shape={kernel.shape}.")
    if channels < 1:
        raise ValueError(f"channels must be at least 1. Received: channels={channels}.")
    if channels == 3:
        return kernel
    if channels > 3:
        source = np.arange(channels) % 3
        shares = np.bincount(source)[source]
        return (kernel[:, :, source] / shares[:, None]).astype(kernel.dtype)
    scale = np.ones(3) if std is None else np.mean(std) / np.asarray(std, np.float64)
    whole = (kernel.astype(np.float64) * scale[:, None]).sum(axis=2, keepdims=True)
    return np.repeat(whole / channels, channels, axis=2).astype(kernel.dtype)
