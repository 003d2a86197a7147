"""Times a part of the backbone in 32 and in 16 bits.

Whether 16 bits are faster depends on the processor, on TensorFlow's build and on oneDNN. No list of
features tells it as surely as a second of work.
"""

import time
from collections.abc import Callable
from typing import Any

SIDE, CHANNELS = 32, 256  # a block of res4 (ResNet-50) on an image of 512 x 512 pixels
_ROUNDS, _SECONDS = (3, 20), 2.0


def measure() -> dict[str, dict[str, float]]:
    """Times a block of ResNet-50, forward only (as `predict`) and with gradients (as `fit`).

    The dtypes take turns, so that other work on the machine slows all of them. The shortest time of
    each counts. GPUs also compute in float16, and get a batch of 32, because a single image would
    measure how long it takes to start a kernel.

    Returns:
        dict of dtype ("float32", "bfloat16", "float16") to a dict with `predict` and `fit`, in
        seconds. A dtype in which TensorFlow cannot compute here is left out.
    """
    import tensorflow as tf

    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    for dtype in ("float32", "bfloat16", *(["float16"] if on_gpu else [])):
        block = _block(tf, dtype, 32 if on_gpu else 1)
        try:
            for _ in range(2):  # the first call traces, and may choose algorithms
                [call() for call in block.values()]
        except tf.errors.OpError:
            continue
        calls |= {(dtype, name): call for name, call in block.items()}
    seconds: dict[str, dict[str, float]] = {}
    start, rounds = time.perf_counter(), 0
    while rounds < _ROUNDS[0] or (rounds < _ROUNDS[1] and time.perf_counter() - start < _SECONDS):
        for (dtype, name), call in calls.items():
            before = time.perf_counter()
            call()
            now = time.perf_counter() - before
            found = seconds.setdefault(dtype, {})
            found[name] = min(found.get(name, now), now)
        rounds += 1
    return seconds


def _block(tf, dtype, batch):
    """Returns two functions that compute a bottleneck block, and wait for the result."""
    random = tf.random.Generator.from_seed(0)  # the user's generators stay as they are
    wide = 4 * CHANNELS
    shapes = [(1, 1, wide, CHANNELS), (3, 3, CHANNELS, CHANNELS), (1, 1, CHANNELS, wide)]
    kernels = [tf.cast(random.normal(shape, stddev=0.02), dtype) for shape in shapes]
    images = tf.cast(random.normal([batch, SIDE, SIDE, wide]), dtype)

    def forward(values):
        for kernel in kernels:
            values = tf.nn.relu(tf.nn.conv2d(values, kernel, 1, "SAME"))
        return values

    @tf.function
    def predict():
        return forward(images)[0, 0, 0, 0]

    @tf.function
    def fit():
        with tf.GradientTape() as tape:
            tape.watch([images, *kernels])
            last = forward(images)
        return [one[0, 0, 0, 0] for one in tape.gradient(last, [images, *kernels])]

    return {
        "predict": lambda: predict().numpy(),
        "fit": lambda: [one.numpy() for one in fit()],
    }
