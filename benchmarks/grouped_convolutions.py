"""Times grouped convolutions of ResNeXt on this CPU: TensorFlow's kernel, and merged groups.

    python benchmarks/grouped_convolutions.py

It times the 3x3 convolutions of ResNeXt-50-32x4d and 101-32x8d on two images of 256 x 256. The
table has milliseconds, the best of five: TensorFlow's grouped kernel (forward), and blocks of
merged groups by their number of channels (forward, and with the gradient). The narrowest blocks are
single groups. `layers/grouped_conv.py` uses blocks of 16 channels where TensorFlow has no gradient
of groups.
"""

import time

import tensorflow as tf

from keras_maskrcnn.layers.grouped_conv import merge_groups

GROUPS = 32
MAPS = ((64, 128), (32, 256), (16, 512), (64, 256), (32, 512), (16, 1024))  # side, channels
CHANNELS = (1, 16, 32, 64, 128)


def in_blocks(x, kernel, channels):
    """Computes the convolution as `ConvNorm` does."""
    blocks = tf.unstack(merge_groups(kernel, GROUPS, channels))
    parts = zip(tf.split(x, len(blocks), axis=-1), blocks, strict=True)
    return tf.concat([tf.nn.conv2d(part, block, 1, "SAME") for part, block in parts], axis=-1)


def milliseconds(function, *args):
    """Returns the shortest of five times."""
    function, times = tf.function(function), []
    function(*args)
    for _ in range(5):
        start = time.perf_counter()
        tf.nest.map_structure(lambda x: x[..., :1].numpy(), function(*args))
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def main():
    """Prints the table."""
    names = ["a group", *(f"blocks of {n}" for n in CHANNELS[1:])]
    print("| map | groups, forward |", " | ".join(names), "|")
    print("| --- | --- |", " | ".join(["---"] * len(CHANNELS)), "|")
    for side, depth in MAPS:
        x = tf.random.normal([2, side, side, depth])
        kernel = tf.random.normal([3, 3, depth // GROUPS, depth])
        native = milliseconds(lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"), x, kernel)
        cells = []
        for channels in CHANNELS:

            def trained(x, kernel, channels=channels):
                with tf.GradientTape() as tape:
                    tape.watch([x, kernel])
                    outputs = in_blocks(x, kernel, channels)
                return tape.gradient(outputs, [x, kernel])

            forward = milliseconds(lambda x, k, n=channels: in_blocks(x, k, n), x, kernel)
            cells.append(f"{forward:.0f}, {milliseconds(trained, x, kernel):.0f}")
        print(f"| {side} x {side} x {depth} | {native:.0f} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
