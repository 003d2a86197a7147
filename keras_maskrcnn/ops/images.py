"""Scales, resizes and pads images, in the same way in the input pipeline and in exported models."""

import numpy as np
import tensorflow as tf


def scale_pixels(images: tf.Tensor, pixel_max: float) -> tf.Tensor:
    """Multiplies pixels by 255 / pixel_max, so that they are in 0..255 as those of 8-bit images.

    Args:
        images: any shape and dtype, pixels in units of `pixel_max`.
        pixel_max: float. As in `MaskRCNNConfig`.

    Returns:
        float32 of the same shape. If pixel_max is 255, the images unchanged, in their dtype.
    """
    if pixel_max == 255:
        return tf.convert_to_tensor(images)
    return tf.cast(images, tf.float32) * np.float32(255 / pixel_max)


def are_whole(image_dtype: str, pixel_max: float) -> bool:
    """Returns whether resizing rounds to whole numbers, as Pillow does for 8 bits.

    Args:
        image_dtype: str. As in `MaskRCNNConfig`.
        pixel_max: float. As in `MaskRCNNConfig`.

    Returns:
        bool. False for 16 bits, for floats, and for 8 bits that `scale_pixels` changes.
    """
    return image_dtype == "uint8" and pixel_max == 255


def resized_size(
    height: int | np.ndarray | tf.Tensor,
    width: int | np.ndarray | tf.Tensor,
    min_side: int | tf.Tensor,
    max_side: int,
    rule: str = "detectron2",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales a size to a shorter side of `min_side`, or to a longer side of `max_side` if smaller.

    Both sides have the same scale. detectron2 rounds half up, torchvision down. A side is at least
    one pixel.

    Args:
        height, width: () or (B,) int. Size of the image.
        min_side, max_side: int. Wanted shorter side; limit of the longer side.
        rule: "detectron2" or "torchvision".

    Returns:
        The new height and width, int32, in the shapes of `height` and `width`.
    """
    height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    shorter, longer = tf.minimum(height, width), tf.maximum(height, width)
    # float64, because in float32 a side of exactly n.5 pixels may round up or down.
    scale = tf.minimum(
        tf.cast(min_side, tf.float64) / shorter, tf.cast(max_side, tf.float64) / longer
    )
    half = 0.0 if rule == "torchvision" else 0.5
    new_height = tf.cast(tf.floor(scale * height + half), tf.int32)
    new_width = tf.cast(tf.floor(scale * width + half), tf.int32)
    return tf.maximum(new_height, 1), tf.maximum(new_width, 1)


def resize(
    image: tf.Tensor,
    min_side: int | tf.Tensor,
    max_side: int,
    rule: str = "detectron2",
    whole: bool = True,
) -> tf.Tensor:
    """Resizes an image to the size that `resized_size` returns.

    detectron2's rule equals Pillow's bilinear resizing, of 8-bit images to the last bit. It
    antialiases when an image shrinks. torchvision's rule does not antialias, and does not round
    values to integers.

    Args:
        image: (H, W, C) or (B, H, W, C) of any dtype, in 0..255; integers with `whole`.
        min_side, max_side, rule: as in `resized_size`.
        whole: bool. Whether detectron2's rule rounds to integers, as Pillow does for 8 bits. If
            not, it does what Pillow does for floats. See `are_whole`.

    Returns:
        (H', W', C) or (B, H', W', C) float32 in 0..255; integers by detectron2's rule with `whole`.
    """
    image = tf.convert_to_tensor(image)
    shape = tf.shape(image)
    size = resized_size(shape[-3], shape[-2], min_side, max_side, rule)
    if rule == "torchvision":
        return tf.image.resize(tf.cast(image, tf.float32), tf.stack(size))
    # Pillow resizes along rows first, rounds 8 bits to integers, and then resizes along columns.
    image = tf.cast(image, tf.float32)
    for axis, side in ((-2, size[1]), (-3, size[0])):
        resampled = tf.cond(
            tf.equal(shape[axis], side),
            lambda image=image: image,
            lambda image=image, axis=axis, side=side: _resample(image, axis, side, whole),
        )
        sides = image.shape.as_list()
        sides[axis] = tf.get_static_value(side)
        image = tf.ensure_shape(resampled, sides)
    return image


def _resample(image, axis, size, whole):
    """Resizes one axis as Pillow's bilinear filter does, to the last bit (libImaging/Resample.c).

    Args:
        image: (..., H, W, C) in 0..255, integers with `whole`.
        axis: -3 or -2.
        size: () int32. New length of the axis.
        whole: bool. Whether to round as Pillow does for 8 bits.

    Returns:
        float32 in 0..255, integers with `whole`, `size` long along `axis`.
    """
    length = tf.shape(image)[axis]
    scale = tf.cast(length, tf.float64) / tf.cast(size, tf.float64)
    # The filter is a triangle. It is as wide as two pixels of the result or of the image,
    # whichever are larger.
    support = tf.maximum(scale, 1.0)
    center = (tf.range(tf.cast(size, tf.float64), dtype=tf.float64)[:, None] + 0.5) * scale
    first = tf.maximum(tf.floor(center - support + 0.5), 0.0)
    last = tf.minimum(tf.floor(center + support + 0.5), tf.cast(length, tf.float64))
    taps = tf.range(2 * tf.math.ceil(support) + 1, dtype=tf.float64)
    weights = tf.nn.relu(1 - tf.abs((taps + first - center + 0.5) / support))
    weights *= tf.cast(first + taps < last, tf.float64)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    if whole:
        # With 22 bits per weight and 8 per pixel, float64 holds all products and sums exactly. The
        # order of the sums then does not matter.
        weights = tf.floor(weights * 2**22 + 0.5) / 2**22
    read = tf.where(weights > 0)
    columns = read[:, 1] + tf.gather(tf.cast(first[:, 0], tf.int64), read[:, 0])
    matrix = tf.SparseTensor(
        tf.stack([read[:, 0], columns], axis=1),
        tf.gather_nd(weights, read),
        tf.cast([size, length], tf.int64),
    )
    rank = image.shape.rank
    order = [rank + axis, *(i for i in range(rank) if i != rank + axis)]
    back = [order.index(i) for i in range(rank)]
    lines = tf.transpose(tf.cast(image, tf.float64), order)
    rest = tf.shape(lines)[1:]
    lines = tf.reshape(lines, [length, tf.reduce_prod(rest)])  # -1 fails without images
    lines = tf.sparse.sparse_dense_matmul(matrix, lines)
    lines = tf.cast(tf.floor(lines + 0.5) if whole else lines, tf.float32)
    return tf.transpose(tf.reshape(lines, tf.concat([[size], rest], axis=0)), back)


def pad_to_multiple(images: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pads images with zeros at the right and bottom until both sides are multiples of `multiple`.

    Args:
        images: (..., H, W, K). Any dtype.
        multiple: int. FPN needs 32, the stride of its coarsest convolution.

    Returns:
        (..., H', W', K). Sides that are static in `images` are static here.

    Raises:
        ValueError: if `multiple` is below 1.
    """
    if multiple < 1:
        raise ValueError(f"multiple must be positive. Received: multiple={multiple}.")
    shape = tf.shape(images)
    bottom, right = -shape[-3] % multiple, -shape[-2] % multiple
    around = [[0, 0]] * (images.shape.rank - 3)
    padded = tf.pad(images, tf.convert_to_tensor([*around, [0, bottom], [0, right], [0, 0]]))
    sides = [None if side is None else side + -side % multiple for side in images.shape[-3:-1]]
    return tf.ensure_shape(padded, [*images.shape[:-3], *sides, images.shape[-1]])
