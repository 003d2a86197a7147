"""Color augmentation. It changes the image only; boxes, labels and masks stay."""

import tensorflow as tf

from keras_maskrcnn.data.augment.draws import check, uniform
from keras_maskrcnn.typing import Tensors

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601), as in torchvision and Pillow."""


def color_jitter(
    example: Tensors,
    seed: tf.Tensor,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Tensors:
    """Changes the colors of the image like torchvision's ColorJitter, but in a fixed order.

    The order is brightness, contrast, saturation, hue.

    Args:
        example: dict, see `data.augment`.
        seed: (2,) integer.
        brightness, contrast, saturation: float s in [0, 1]. The image is mixed with black
            (brightness), its mean gray (contrast), or the gray of each pixel (saturation). Its
            weight is drawn from 1 - s to 1 + s.
        hue: float in [0, 0.5]. Largest shift of the hue, as a fraction of the color circle.

    Returns:
        The changed example, with the image in its dtype.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        check(0 <= strength <= 1, f"0 <= {name} <= 1", **{name: strength})
    check(0 <= hue <= 0.5, "0 <= hue <= 0.5", hue=hue)
    draw = uniform(seed, [4], -1.0, 1.0)
    image = tf.cast(example["image"], tf.float32)

    def mix(image, other, weight):
        return tf.clip_by_value(other + (1 + weight) * (image - other), 0.0, 255.0)

    def grey(image):
        return tf.reduce_sum(image * tf.constant(LUMA), axis=-1, keepdims=True)

    if brightness:
        image = mix(image, 0.0, draw[0] * brightness)
    if contrast:
        image = mix(image, tf.reduce_mean(grey(image)), draw[1] * contrast)
    if saturation:
        image = mix(image, grey(image), draw[2] * saturation)
    if hue:
        image = tf.clip_by_value(tf.image.adjust_hue(image / 255, draw[3] * hue) * 255, 0.0, 255.0)
    return {**example, "image": tf.cast(tf.round(image), example["image"].dtype)}
