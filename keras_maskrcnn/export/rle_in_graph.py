"""Encodes COCO's compressed run lengths with TensorFlow operations, as `ops/rle.py` in NumPy."""

import tensorflow as tf

DIGITS = 7  # digits of 5 bits: differences of runs below 2**32 need 33 bits and a sign


def encode_region(region: tf.Tensor, origin: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Encodes a mask that is given only inside a window, as `pycocotools.mask.encode` does.

    Args:
        region: (h, w) bool. The mask inside its window; it is zero outside. h and w may be 0.
        origin: (2,) int64 [y, x]. Position of the window's upper left pixel.
        size: (2,) int64. Height and width of the image, below 2**32 pixels in total.

    Returns:
        () string, the compressed counts; for an empty window those of an empty mask.
    """
    # COCO's runs go down the columns. A zero before each column ends all runs at column borders.
    length = tf.shape(region, tf.int64)[0] + 1
    columns = tf.reshape(tf.pad(tf.transpose(region), [[0, 0], [1, 0]]), [-1])
    steps = tf.where(tf.not_equal(columns, tf.concat([columns[1:], [False]], axis=0)))[:, 0]
    # Begin, end, begin, end, ... as pixels of the image.
    edges = (steps // length + origin[1]) * size[0] + steps % length + origin[0]
    # At the image's bottom, a run may go on in the next column: its end equals the next begin.
    joined = tf.equal(edges[1:], edges[:-1])
    inside = tf.concat([[False], joined], axis=0) | tf.concat([joined, [False]], axis=0)
    edges = tf.boolean_mask(edges, ~inside[: tf.size(edges)])
    counts = tf.concat([edges, [tf.reduce_prod(size)]], 0) - tf.concat([[0], edges], 0)
    # The last run is empty only if the last pixel belongs to the mask. It is then left out.
    return _compress(counts[: tf.size(counts) - tf.cast(counts[-1] == 0, tf.int32)])


def _compress(counts):
    """Writes (R,) int64 runs as COCO's string; see `ops.rle.run_lengths` for the format."""
    differences = counts - tf.concat([tf.zeros_like(counts[:3]), counts[1:-2]], axis=0)
    shifted = tf.bitwise.right_shift(differences[:, None], 5 * tf.range(DIGITS + 1, dtype=tf.int64))
    digits, rest = shifted[:, :-1] & 31, shifted[:, 1:]
    # A number ends with the digit whose sign (the bit of value 16) equals all bits after it.
    more = tf.not_equal(rest, -tf.cast(digits & 16 > 0, tf.int64))
    written = tf.concat([tf.ones_like(more[:, :1]), more[:, :-1]], axis=1)
    codes = tf.boolean_mask(digits + 32 * tf.cast(more, tf.int64) + 48, written)
    return tf.strings.unicode_encode(tf.cast(codes, tf.int32), "UTF-8")  # all are ASCII
