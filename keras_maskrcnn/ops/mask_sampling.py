"""Samples the masks of boxes on other grids, and selects them by class, in TensorFlow's graph."""

import tensorflow as tf

from keras_maskrcnn.ops.cropping import crop_and_resize


def sample(
    masks: tf.Tensor,
    boxes: tf.Tensor,
    owners: tf.Tensor,
    windows: tf.Tensor,
    height: int,
    width: int,
) -> tf.Tensor:
    """Reads masks at the cell centers of a regular grid over each window.

    As in `ops.masks.paste`, values are bilinear between the centers of a mask's cells, and zero
    outside its box.

    Args:
        masks: (n, A, B) uint8 or float32.
        boxes: (n, 4) float32. The box of each mask.
        owners: (k,) int32 in [0, n). The mask that each window reads.
        windows: (k, 4) float32, in the same pixels as `boxes`.
        height, width: int. Cells of the grid.

    Returns:
        (k, height, width) float32, in the range of `masks`.
    """
    cells = tf.cast(tf.gather(tf.shape(masks), [2, 1]), tf.float32)  # x, y
    boxes = tf.gather(boxes, owners)
    scale = cells / tf.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    count = tf.cast(tf.stack([width, height]), tf.float32)
    first = (windows[:, :2] - boxes[:, :2]) * scale
    step = (windows[:, 2:] - windows[:, :2]) * scale / count
    first = first + step / 2 + 0.5  # 0.5 = -0.5 for the cells' centers + 1 for the border of zeros
    last = first + step * (count - 1)
    corners = tf.concat([first, last], axis=1) / (tf.tile(cells, [2]) + 1)
    corners = tf.gather(corners, [1, 0, 3, 2], axis=1)  # TF wants [y1, x1, y2, x2]
    padded = tf.pad(tf.cast(masks, tf.float32), [[0, 0], [1, 1], [1, 1]])[..., None]
    return crop_and_resize(padded, corners, owners, [height, width])[..., 0]


def of_class(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Selects each RoI's mask by its class: (B, F, m, m, C), (B, F) in 1..C -> (B, F, m, m).

    Slots without a class (label below 1) get the mask of the first class. If there is only one
    channel, all slots get it.
    """
    if logits.shape[-1] == 1:
        return logits[..., 0]
    # Not a gather, because the gradient of a gather is a scatter, which TF runs on one core.
    channel = tf.one_hot(tf.maximum(labels - 1, 0), logits.shape[-1], dtype=logits.dtype)
    return tf.einsum("bfhwc,bfc->bfhw", logits, channel)
