"""Resizes and pads images, the same way in the input pipeline and in the exported model."""

import tensorflow as tf


def resized_size(height, width, min_side, max_side):
    """Scales a size so that its shorter side is `min_side`, or its longer side `max_side` if less.

    The rule of detectron2: one scale, each side rounded half up, never to zero.

    Args:
        height, width: () or (B,) int. Size of the image.
        min_side, max_side: int. Wanted shorter side; limit of the longer side.

    Returns:
        The new height and width, int32, shaped as given.
    """
    height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    shorter, longer = tf.minimum(height, width), tf.maximum(height, width)
    # float64, because in float32 a side of exactly n.5 pixels rounds either way.
    scale = tf.minimum(
        tf.cast(min_side, tf.float64) / shorter, tf.cast(max_side, tf.float64) / longer
    )
    new_height = tf.cast(tf.floor(scale * height + 0.5), tf.int32)
    new_width = tf.cast(tf.floor(scale * width + 0.5), tf.int32)
    return tf.maximum(new_height, 1), tf.maximum(new_width, 1)


def resize(image, min_side, max_side):
    """Resizes an image as `resized_size` says, antialiased where it shrinks.

    Within one grey level of Pillow's bilinear resize of 8-bit images, which detectron2 uses.

    Args:
        image: (H, W, 3) or (B, H, W, 3) uint8 or float in 0..255.
        min_side, max_side: int. As in `resized_size`.

    Returns:
        (H', W', 3) or (B, H', W', 3) float32 of whole numbers in 0..255.
    """
    shape = tf.shape(image)
    size = resized_size(shape[-3], shape[-2], min_side, max_side)
    # No XLA kernel with antialias=True: keep this outside compiled functions.
    resized = tf.image.resize(tf.cast(image, tf.float32), tf.stack(size), antialias=True)
    return tf.round(resized)


def pad_to_multiple(images, multiple):
    """Pads images with zeros, right and bottom, until both sides are multiples of `multiple`.

    Args:
        images: (..., H, W, K). Any dtype.
        multiple: int. 32 is the stride of the coarsest convolution of FPN.

    Returns:
        (..., H', W', K), static where the sides of `images` are.
    """
    if multiple < 1:
        raise ValueError(f"multiple must be positive. Received: multiple={multiple}.")
    shape = tf.shape(images)
    bottom, right = -shape[-3] % multiple, -shape[-2] % multiple
    around = [[0, 0]] * (images.shape.rank - 3)
    padded = tf.pad(images, tf.convert_to_tensor([*around, [0, bottom], [0, right], [0, 0]]))
    sides = [None if side is None else side + -side % multiple for side in images.shape[-3:-1]]
    return tf.ensure_shape(padded, [*images.shape[:-3], *sides, images.shape[-1]])
