"""Grouped and dilated convolutions that can be trained on every CPU."""

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
    """Convolves as `tf.nn.conv2d`, where need be by operations that have every gradient.

    Args:
        inputs: (B, H, W, K) float.
        kernel: (h, w, K / groups, N) float.
        strides: int. Not above 1 together with a dilation.
        padding: "SAME" or "VALID"; "SAME" with a dilation.
        groups: int. Parts of the channels that are convolved apart.
        dilation: int. Cells between two taps of the kernel; above 1, h and w are odd and equal.

    Returns:
        (B, H', W', N).
    """
    # Other runtimes have these operations, and no use for gradients.
    native = groups == dilation == 1 or is_portable() or has_every_gradient()

    def one(inputs, kernel):
        if dilation > 1 and not native:
            return dilated(inputs, kernel, dilation)
        return tf.nn.conv2d(inputs, kernel, strides, padding, dilations=dilation)

    if groups == 1 or native:
        return one(inputs, kernel)
    blocks = tf.unstack(merge_groups(kernel, groups))
    parts = zip(tf.split(inputs, len(blocks), axis=-1), blocks, strict=True)
    return tf.concat([one(part, block) for part, block in parts], axis=-1)


@functools.cache
def has_every_gradient() -> bool:
    """Returns whether TensorFlow can train grouped and dilated convolutions here.

    It can on GPUs and with oneDNN, which is off by default on CPUs without AVX-512 or AVX VNNI.
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
    """Convolves every `dilation`-th cell with every `dilation`-th one, as "SAME" does.

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
    """Merges groups of a convolution, with zeros between them, into blocks of some channels.

    A block is as fast as one group: a single group's matrix product is too small to keep the CPU
    busy.

    Args:
        kernel: (h, w, c, N) float. Of a convolution of `groups` times c channels.
        groups: int.
        channels: int. Groups are merged until a block has as many, if there are enough.

    Returns:
        (blocks, h, w, C, N / blocks): each block's kernel, C channels of the input in turn.
    """
    height, width, depth, filters = kernel.shape
    merged = max(n for n in range(1, groups + 1) if groups % n == 0 and (n - 1) * depth < channels)
    blocks = groups // merged
    kernel = tf.reshape(kernel, [height, width, depth, blocks, merged, filters // groups])
    diagonal = tf.eye(merged, dtype=kernel.dtype)
    kernel = tf.einsum("hwcbmd,nm->bhwncmd", kernel, diagonal)
    return tf.reshape(kernel, [blocks, height, width, merged * depth, filters // blocks])
