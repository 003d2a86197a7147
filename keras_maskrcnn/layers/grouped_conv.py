"""Convolutions that can be trained on every CPU.

Without oneDNN, TensorFlow has no gradients of grouped and dilated ones on CPUs. With oneDNN, those
of some strided ones are wrong. They are then computed from plain convolutions.
"""

import functools

import tensorflow as tf

from keras_maskrcnn.ops.portable import is_portable


def convolve(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    strides: int = 1,
    padding: str = "SAME",
    groups: int = 1,
    dilation: int = 1,
) -> tf.Tensor:
    """Convolves as `tf.nn.conv2d`, by plain convolutions where TensorFlow's gradients fail.

    Args:
        inputs: (B, H, W, K) float.
        kernel: (h, w, K / groups, N) float.
        strides: int. Must be 1 if `dilation` is above 1.
        padding: "SAME" or "VALID". Must be "SAME" if `dilation` is above 1.
        groups: int. Number of channel groups that are convolved separately.
        dilation: int. Distance in cells between two taps of the kernel. If it is above 1, h and w
            must be odd and equal.

    Returns:
        (B, H', W', N).
    """
    # In a portable export the native operations are fine: other runtimes need no gradients.
    native = groups == dilation == 1 or is_portable() or has_every_gradient()

    def one(inputs, kernel):
        if dilation > 1 and not native:
            return dilated(inputs, kernel, dilation)
        if strides > 1 and kernel.shape[:2] == (1, 1) and inputs.shape[-1] < 16:
            # The same cells without a stride: below 16 channels, oneDNN's gradient of the
            # kernel writes outside its memory and ends the process (TensorFlow 2.20 to 2.22).
            return tf.nn.conv2d(inputs[:, ::strides, ::strides], kernel, 1, padding)
        return tf.nn.conv2d(inputs, kernel, strides, padding, dilations=dilation)

    if groups == 1 or native:
        return one(inputs, kernel)
    blocks = tf.unstack(merge_groups(kernel, groups))
    parts = zip(tf.split(inputs, len(blocks), axis=-1), blocks, strict=True)
    return tf.concat([one(part, block) for part, block in parts], axis=-1)


@functools.cache
def has_every_gradient() -> bool:
    """Returns whether TensorFlow can train grouped and dilated convolutions on this machine.

    It can on GPUs, and on CPUs with oneDNN. By default, oneDNN is off on CPUs without AVX-512 or
    AVX VNNI.
    """
    if tf.config.list_physical_devices("GPU"):
        return True
    with tf.init_scope():
        one = tf.ones([1, 1, 1, 2])
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=one.shape, filter=one, out_backprop=one, strides=[1] * 4, padding="SAME"
            )
        except tf.errors.InvalidArgumentError:
            return False
    return True


def dilated(inputs: tf.Tensor, kernel: tf.Tensor, dilation: int) -> tf.Tensor:
    """Computes a dilated convolution with "SAME" padding by a plain convolution.

    Cells that are `dilation` apart are brought together (space_to_batch), convolved, and put back.

    Args:
        inputs: (B, H, W, K) float.
        kernel: (h, w, K, N) float, h and w odd and equal.
        dilation: int.

    Returns:
        (B, H, W, N).
    """
    reach = dilation * (kernel.shape[0] // 2)
    rest = -tf.shape(inputs)[1:3] % dilation
    pads = tf.stack([[reach, reach], reach + rest], axis=1)
    apart = tf.space_to_batch(inputs, [dilation] * 2, pads)
    apart = tf.nn.conv2d(apart, kernel, 1, "VALID")
    return tf.batch_to_space(apart, [dilation] * 2, tf.stack([[0, 0], rest], axis=1))


def merge_groups(kernel: tf.Tensor, groups: int, channels: int = 16) -> tf.Tensor:
    """Merges the groups of a convolution into fewer, larger blocks, filled up with zeros.

    A block is as fast as one group: a single group's matrix product is too small to keep the CPU
    busy.

    Args:
        kernel: (h, w, c, N) float. The kernel of a convolution of `groups` * c channels.
        groups: int. Number of groups.
        channels: int. Groups are merged until a block has this many input channels, or until no
            groups are left.

    Returns:
        (blocks, h, w, C, N / blocks), the kernels of the blocks. Block i convolves the input's
            i-th C channels.
    """
    height, width, depth, filters = kernel.shape
    merged = max(n for n in range(1, groups + 1) if groups % n == 0 and (n - 1) * depth < channels)
    blocks = groups // merged
    kernel = tf.reshape(kernel, [height, width, depth, blocks, merged, filters // groups])
    diagonal = tf.eye(merged, dtype=kernel.dtype)
    kernel = tf.einsum("hwcbmd,nm->bhwncmd", kernel, diagonal)
    return tf.reshape(kernel, [blocks, height, width, merged * depth, filters // blocks])
