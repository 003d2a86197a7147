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

    The order is brightness, contrast, saturation, hue. With more than three bands, the first three
    count as RGB, and the others stay as they are. Images of one or two bands have no colors: all of
    their bands get brightness and contrast, and neither saturation nor hue.

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
    dtype, bands = tf.as_dtype(example["image"].dtype), example["image"].shape[-1]
    stored = tf.cast(example["image"], tf.float32)
    # Of more than three bands, the first three are the colors.
    image, others = (stored[..., :3], stored[..., 3:]) if bands > 3 else (stored, None)
    # What lies in 0..255 stays there. Values beyond, as floats may have, move no farther away.
    lowest, highest = 0.0, 255.0
    if not dtype.is_integer:
        lowest, highest = tf.minimum(image, 0.0), tf.maximum(image, 255.0)

    def mix(image, other, weight):
        return tf.clip_by_value(other + (1 + weight) * (image - other), lowest, highest)

    def grey(image):
        return tf.reduce_sum(image * tf.constant(LUMA), axis=-1, keepdims=True)

    if brightness:
        image = mix(image, 0.0, draw[0] * brightness)
    if contrast:
        mean = tf.reduce_mean(grey(image) if bands >= 3 else image)
        image = mix(image, mean, draw[1] * contrast)
    if saturation and bands >= 3:
        image = mix(image, grey(image), draw[2] * saturation)
    if hue and bands >= 3:
        turned = tf.image.adjust_hue(image / 255, draw[3] * hue) * 255
        image = tf.clip_by_value(turned, lowest, highest)
    image = image if others is None else tf.concat([image, others], axis=-1)
    image = tf.round(image) if dtype.is_integer else image
    return {**example, "image": tf.cast(image, dtype)}
