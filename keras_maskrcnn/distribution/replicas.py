"""The parts of a step on several replicas that Keras lacks.

A batch means that of all replicas together. Averages over it, random draws for it and clipping do
not depend on the number of replicas that share it. With one replica, all of this costs nothing.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_maskrcnn.distribution.processes import worker
from keras_maskrcnn.keras_private import without_summing
from keras_maskrcnn.ops.python import gradients_of_graph
from keras_maskrcnn.pixel_checks import ensure
from keras_maskrcnn.typing import Tensors


def mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Averages a tensor over the replicas that run this step; it has no gradient."""
    context = _shared()
    return value if context is None else _all_reduce(context, "MEAN", value)


def moments(x: tf.Tensor, axes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes mean and variance over the values of all replicas.

    Replicas may have different numbers of values. The total variance is the weighted mean of each
    replica's variance plus the squared distance of its mean from the total mean (Chan, Golub,
    LeVeque, 1979). This way no large numbers cancel.

    Args:
        x: float32 tensor.
        axes: list of int. The axes to reduce.

    Returns:
        mean, variance: float32 tensors without these axes.
    """
    mean, variance = tf.nn.moments(x, axes)
    context = _shared()
    if context is None:
        return mean, variance
    sum_up = functools.partial(_all_reduce, context, "SUM")
    count = tf.cast(tf.size(x) // tf.size(mean), tf.float32)
    share = count / sum_up(count)
    whole = sum_up(share * mean)
    return whole, sum_up(share * (variance + tf.square(mean - whole)))


def part_of_batch(strategy: tf.distribute.Strategy, replica: int) -> int:
    """Returns which part of a batch a replica gets.

    `fit` splits a batch over the workers, and then over the replicas of each worker. With two
    workers of two replicas, the first worker gets parts 0 and 2. `predict` of Keras expects this.

    Args:
        strategy: tf.distribute.Strategy.
        replica: int. The replica's id in the whole cluster.

    Returns:
        int in 0..replicas - 1.
    """
    replicas, here = strategy.num_replicas_in_sync, len(strategy.extended.worker_devices)
    return replica % here * (replicas // here) + replica // here


def rows_of_worker(strategy: tf.distribute.Strategy, batch_size: int) -> list[np.ndarray]:
    """Returns the rows of a batch that each replica of this worker gets, see `part_of_batch`.

    Args:
        strategy: tf.distribute.Strategy.
        batch_size: int B, of all replicas together.

    Returns:
        list of (b,) int in [0, B), one for each replica of this worker. The first parts of a batch
            have one row more if the replicas cannot share it equally.
    """
    parts = np.array_split(np.arange(batch_size), strategy.num_replicas_in_sync)
    here = len(strategy.extended.worker_devices)
    first = worker(strategy)[0] * here
    return [parts[part_of_batch(strategy, first + replica)] for replica in range(here)]


def on_common_canvas(inputs: Tensors) -> Tensors:
    """Pads the images of this replica to the size that the whole batch needs.

    Workers that read their own images only cannot know it before. It matters: what lies in the
    padding changes the features beside it, and each position is an anchor.

    Args:
        inputs: dict of tensors. The inputs of this replica's batch. `canvases` (b, K, 2) int32 says
            that workers must agree: on the first of these sizes, smallest area first, that all
            images fit on, or with K = 0 on the smallest size that holds all. Only
            `data.assembly.Assembly.share` adds it, so all workers have it or none.

    Returns:
        inputs without `canvases`. Where there were none they are as they were.
    """
    if "canvases" not in inputs:
        return inputs
    inputs = dict(inputs)
    canvases, images = inputs.pop("canvases"), tf.convert_to_tensor(inputs["images"])
    if not canvases.shape[1]:
        height, width = tf.unstack(_largest(tf.shape(images)[1:3]))
    else:
        needed, canvases = _largest(tf.reduce_max(inputs["sizes"], axis=0)), canvases[0]
        fits = tf.reduce_all(canvases >= needed, axis=1)
        fits = ensure(
            fits,
            [
                (
                    tf.reduce_any(fits),
                    "the images of a batch must fit on a canvas.",
                    {"size": needed, "canvases": canvases},
                )
            ],
        )
        height, width = tf.unstack(canvases[tf.argmax(fits)])
        images = images[:, :height, :width]
    missing = [[0, 0], [0, height - tf.shape(images)[1]], [0, width - tf.shape(images)[2]], [0, 0]]
    # With nothing to add, tf.pad does not copy.
    padded = tf.pad(images, tf.convert_to_tensor(missing))
    padded = tf.ensure_shape(padded, [images.shape[0], None, None, images.shape[3]])
    return {**inputs, "images": padded}


def _largest(numbers):
    """Returns the largest value over all replicas of each of these numbers, (n,) int32."""
    largest = tf.reduce_max(concat_over_replicas(numbers[None]), axis=0)
    return tf.ensure_shape(largest, numbers.shape)  # gathering over workers forgets it


def first_image(count: tf.Tensor) -> tf.Tensor | int:
    """Returns the position in the whole batch of this replica's first image.

    Args:
        count: () int32. The number of images of this replica.

    Returns:
        () int32 tensor, or 0 with one replica.
    """
    context = _shared()
    if context is None:
        return 0
    counts = concat_over_replicas(tf.reshape(count, [1]))  # (replicas,)
    strategy, here = context.strategy, context.replica_id_in_sync_group
    part = part_of_batch(strategy, here)
    before = [part_of_batch(strategy, i) < part for i in range(strategy.num_replicas_in_sync)]
    return tf.reduce_sum(tf.boolean_mask(counts, before))


def images_before(count: tf.Tensor) -> tf.Tensor | int:
    """Returns what `first_image` returns, if all replicas have equally many images.

    It needs no communication, so that each layer can ask.

    Args:
        count: () int32. The number of images of this replica.

    Returns:
        () int32 tensor, or 0 with one replica.
    """
    context = _shared()
    if context is None:
        return 0
    return count * part_of_batch(context.strategy, context.replica_id_in_sync_group)


def not_empty(inputs: Tensors, gt: Tensors, training: bool) -> tuple[Tensors, Tensors]:
    """Makes sure that this replica has an image, because TensorFlow's convolutions need one.

    At inference and in evaluation, the last batch may be short. A replica without an image then
    gets one of zeros whose size is 0 x 0, and no loss counts it. In training this is an error,
    because the image would count in batch norm.

    Args:
        inputs, gt: dicts of tensors with a common first axis.
        training: bool.

    Returns:
        inputs, gt.
    """
    count = tf.shape(inputs["images"])[0]
    if training:
        # `checks.plain_errors` recognizes a line of ours by this form.
        line = "each replica needs an image of every batch that is trained on. Received: none."
        with tf.control_dependencies([tf.raw_ops.Assert(condition=count > 0, data=[line])]):
            return {**inputs, "images": tf.identity(inputs["images"])}, gt

    def fill(value):
        if value.shape[0]:
            return value
        around = [[0, tf.maximum(1 - count, 0)], *[[0, 0]] * (len(value.shape) - 1)]
        # With nothing to add, tf.pad does not copy.
        return tf.ensure_shape(tf.pad(value, around), [None, *value.shape[1:]])

    return tf.nest.map_structure(fill, (inputs, gt))


def sum_gradients(gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Sums gradients over the replicas before the optimizer sees them.

    Keras optimizers sum them last. Clipping would then use the norm of one replica's gradients, and
    LossScaleOptimizer would apply a step in which another replica overflowed.

    Args:
        gradients: list of tensors, and of None for variables that the losses do not use.

    Returns:
        list of tensors and None. Call the optimizer within `summed_before`.
    """
    context = _shared()
    found = [x for x in gradients if x is not None]
    if context is None or not found:
        return gradients
    summed = iter(_all_reduce(context, "SUM", found))
    return [x if x is None else next(summed) for x in gradients]


@contextlib.contextmanager
def summed_before(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Keeps an optimizer from summing gradients, because `sum_gradients` has done so.

    This is needed with one replica too: TensorFlow would never free what Keras calls to sum, nor
    its graph.
    """
    with without_summing(optimizer):
        yield


def concat_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Concatenates (n, ...) tensors of all replicas that run this step along the first axis."""
    context = _shared()
    if context is None:
        return value
    return gradients_of_graph(context.all_gather(value, axis=0))


def choose(
    condition: tf.Tensor, then: Callable[..., Any], otherwise: Callable[..., Any], *args: Any
) -> None:
    """Runs one of two functions that change variables, within a step.

    A `tf.cond` inside a replica must not merge replicas, and optimizers merge them. Therefore one
    `tf.cond` decides for all replicas, as in keras.optimizers.LossScaleOptimizer.

    Args:
        condition: () bool, the same in all replicas.
        then, otherwise: functions of `args`. Their results are ignored.
        args: nested tensors of this replica.
    """

    def decide(strategy, condition, *args):
        def branch(function):
            strategy.extended.call_for_each_replica(function, args=args)

        condition = strategy.experimental_local_results(condition)[0]
        tf.cond(condition, lambda: branch(then), lambda: branch(otherwise))

    tf.distribute.get_replica_context().merge_call(decide, args=(condition, *args))


def _shared():
    """Returns the context of this replica if there are several replicas, else None."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def _all_reduce(context, operation, values):
    reduced = context.all_reduce(getattr(tf.distribute.ReduceOp, operation), values)
    return gradients_of_graph(reduced)
