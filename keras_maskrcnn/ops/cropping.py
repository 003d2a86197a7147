"""CropAndResize, hidden from TensorFlow's cost model."""

from collections.abc import Sequence

import tensorflow as tf


def crop_and_resize(
    images: tf.Tensor, boxes: tf.Tensor, owners: tf.Tensor, size: Sequence[int | tf.Tensor]
) -> tf.Tensor:
    """Reads a grid of points in each box, bilinearly; `tf.image.crop_and_resize` without gradient.

    With an unknown number of boxes, TensorFlow's cost model multiplies by a negative number, calls
    that an overflow, and logs 1 to 6 kB per call (tensorflow/tensorflow#56904). So the operation is
    in a function of its own, which is neither inlined nor optimized. One operation has nothing to
    optimize.

    Args:
        images: (B, H, W, K) float32.
        boxes: (n, 4) float32 [y1, x1, y2, x2]. 0 is the first pixel of an image and 1 the last.
        owners: (n,) int32 in [0, B). The image of each box.
        size: 2 ints. Height and width of the grid; its outermost points lie on the box's edges.

    Returns:
        (n, height, width, K) float32. Points outside an image read 0.
    """
    if tf.executing_eagerly():  # the cost model sees graphs only
        return tf.stop_gradient(tf.image.crop_and_resize(images, boxes, owners, size))
    inputs = [tf.convert_to_tensor(x) for x in (images, boxes, owners)]

    @tf.function(autograph=False, experimental_attributes={"_noinline": True})
    def crop(images, boxes, owners):
        return tf.image.crop_and_resize(images, boxes, owners, size)

    function = crop.get_concrete_function(*(tf.TensorSpec(x.shape, x.dtype) for x in inputs))
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    points = tf.raw_ops.PartitionedCall(
        args=[*inputs, *function.captured_inputs],  # tensors in `size` are captured
        Tout=[tf.float32],
        f=function,
        config_proto=config.SerializeToString(),
    )[0]
    points.set_shape(function.output_shapes)
    return tf.stop_gradient(points)
