"""Pastes masks into their images with TensorFlow operations, as `ops/masks.py` does in NumPy."""

import tensorflow as tf

from keras_maskrcnn.export import rle_in_graph
from keras_maskrcnn.typing import Tensors


def paste_region(
    mask: tf.Tensor, box: tf.Tensor, size: tf.Tensor, rule: str = "detectron2"
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pastes a mask exactly as `ops.masks.paste` does, and thresholds it at 0.5 (§3.1).

    Args:
        mask: (m, m) float32 in [0, 1].
        box: (4,) float32 [x1, y1, x2, y2] in pixels of the image.
        size: (2,) int. Height and width of the image.
        rule: "detectron2" or "torchvision".

    Returns:
        region: (h, w) bool. The part of the image that the box touches.
        origin: (2,) int64 [y, x]. Position of the region's upper left pixel. A box without area,
            or outside the image, gives a region of size 0 at [0, 0].
    """
    if rule == "torchvision":
        mask, box = _on_whole_pixels(mask, box)
    cells = mask.shape[0]
    # From here on, y comes before x.
    first, last = tf.split(tf.gather(tf.cast(box, tf.float64), [1, 0, 3, 2]), 2)
    reach = (last - first) / cells / 2
    begin = tf.maximum(tf.floor(first - reach), 0.0)
    end = tf.minimum(tf.math.ceil(last + reach), tf.cast(size, tf.float64))
    filled = tf.reduce_all((reach > 0) & (begin < end))
    begin, end = tf.where(filled, begin, 0.0), tf.where(filled, end, 0.0)
    rows, columns = (
        _tents(
            (tf.range(begin[axis], end[axis]) + 0.5 - first[axis])
            / (last[axis] - first[axis])
            * cells,
            cells,
        )
        for axis in (0, 1)
    )
    pasted = tf.matmul(rows @ mask, columns, transpose_b=True)
    return pasted >= 0.5, tf.cast(begin, tf.int64)


def _tents(positions, cells):
    """Returns (n, cells) weights of unit cells for bilinear sampling at (n,) float64 positions."""
    distance = tf.abs(positions[:, None] - (tf.range(cells, dtype=tf.float64) + 0.5))
    return tf.cast(tf.maximum(1.0 - distance, 0.0), tf.float32)


def _on_whole_pixels(mask, box):
    """Changes mask and box so that detectron2's rule gives torchvision's result (`ops.masks`)."""
    corner, opposite = tf.split(box, 2)
    half = (opposite - corner) * 0.5 * ((mask.shape[0] + 2) / mask.shape[0])
    center = (opposite + corner) * 0.5
    # A cast rounds toward zero, as torchvision does.
    first, last = (tf.cast(x, tf.int32) for x in (center - half, center + half))
    box = tf.concat([first, tf.maximum(last, first) + 1], axis=0)
    return tf.pad(mask, [[1, 1], [1, 1]]), tf.cast(box, tf.float32)


def paste_binary(outputs: Tensors, sizes: tf.Tensor, rule: str) -> tf.Tensor:
    """Pastes each mask of a batch into a separate image.

    Args:
        outputs: dict of a model's outputs, with masks (B, D, m, m).
        sizes: (B, 2) int32. Height and width of the images; boxes are in their pixels.
        rule: as in `paste_region`.

    Returns:
        (B, D, H, W) uint8 of 0 and 1. H and W are the greatest height and width in `sizes`. Zeros
            outside each image and in empty slots.
    """
    canvas = tf.reduce_max(tf.cast(sizes, tf.int64), axis=0)

    def place(region, origin, _):
        beyond = canvas - origin - tf.shape(region, tf.int64)
        return tf.pad(tf.cast(region, tf.uint8), tf.stack([origin, beyond], axis=1))

    return _for_each(place, outputs, sizes, rule, tf.TensorSpec([None, None], tf.uint8))


def paste_rle(outputs: Tensors, sizes: tf.Tensor, rule: str) -> tf.Tensor:
    """Pastes each mask of a batch and encodes it as COCO's run lengths.

    Args:
        outputs, sizes, rule: as in `paste_binary`.

    Returns:
        (B, D) string, COCO's compressed counts; in empty slots those of an empty mask.
    """
    return _for_each(rle_in_graph.encode_region, outputs, sizes, rule, tf.TensorSpec([], tf.string))


def _for_each(finish, outputs, sizes, rule, spec):
    """Pastes a few detections at a time, so that memory does not grow with their number.

    Args:
        finish: function from a region, its origin and its image's size to a tensor like `spec`.
        outputs, sizes, rule: as in `paste_binary`.
        spec: tf.TensorSpec.

    Returns:
        (B, D, ...), the results of `finish`.
    """
    labels, boxes, masks = (outputs[name] for name in ("labels", "boxes", "masks"))
    batch, count = tf.shape(labels)[0], labels.shape[1]
    # Slots without a detection have masks too: set them to 0.
    masks = tf.where((labels > 0)[..., None, None], masks, 0.0)
    slots = (
        tf.reshape(masks, [-1, *masks.shape[2:]]),
        tf.reshape(boxes, [-1, 4]),
        tf.repeat(tf.cast(sizes, tf.int64), count, axis=0),
    )

    def paste(slot):
        mask, box, size = slot
        region, origin = paste_region(mask, box, size, rule)
        return finish(region, origin, size)

    with tf.device("CPU:0"):  # GPUs multiply float32 as TF32, which moves a mask's outline
        found = tf.map_fn(paste, slots, fn_output_signature=spec)
    found = tf.reshape(found, tf.concat([[batch, count], tf.shape(found)[1:]], axis=0))
    return tf.ensure_shape(found, [None, count, *spec.shape])
