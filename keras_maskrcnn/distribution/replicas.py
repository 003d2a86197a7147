"""What a step does on several replicas beyond Keras.

A batch is that of all replicas together: what is averaged over it, drawn for it or clipped is the
same however many replicas share it. With one replica all of this costs nothing.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.keras_private import without_summing
from keras_maskrcnn.ops.python import gradients_of_graph
from keras_maskrcnn.typing import Tensors


def mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Averages a tensor, without gradient, over the replicas that run this step."""
    context = _shared()
    return value if context is None else _all_reduce(context, "MEAN", value)


def moments(x: tf.Tensor, axes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes mean and variance of the values in all replicas.

    Shares may differ in size. The parts' variances are put together with the squared distances of
    their means from the whole's (Chan, Golub, LeVeque, 1979): no large numbers cancel.

    Args:
        x: float32 tensor.
        axes: list of int.

    Returns:
        mean, variance: float32, without these axes.
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
    """Which part of a batch a replica gets.

    `fit` deals a batch out over the workers, and then over the replicas of each: of two workers
    with two replicas, the first worker gets the parts 0 and 2. Keras' `predict` expects the same.

    Args:
        strategy: tf.distribute.Strategy.
        replica: int, the replica's id in all of the cluster.

    Returns:
        int in 0..replicas - 1.
    """
    replicas, here = strategy.num_replicas_in_sync, len(strategy.extended.worker_devices)
    return replica % here * (replicas // here) + replica // here


def first_image(count: tf.Tensor) -> tf.Tensor | int:
    """Returns the place in the whole batch of the first of the `count` () int32 images here."""
    context = _shared()
    if context is None:
        return 0
    counts = concat_over_replicas(tf.reshape(count, [1]))  # by replica
    strategy, here = context.strategy, context.replica_id_in_sync_group
    part = part_of_batch(strategy, here)
    before = [part_of_batch(strategy, i) < part for i in range(strategy.num_replicas_in_sync)]
    return tf.reduce_sum(tf.boolean_mask(counts, before))


def not_empty(inputs: Tensors, gt: Tensors, training: bool) -> tuple[Tensors, Tensors]:
    """Makes sure that this replica has an image, for TensorFlow's convolutions fail on none.

    At inference, and in evaluation, where the last batch may be short, a replica without one gets
    one of zeros, of size 0 x 0, which no loss counts. In training it would count in batch norm, and
    is an error.

    Args:
        inputs, gt: dicts of tensors with a common first axis.
        training: bool.

    Returns:
        inputs, gt.
    """
    count = tf.shape(inputs["images"])[0]
    if training:
        # Of the form that `checks.plain_errors` takes for a line of ours.
        line = "each replica needs an image of every batch that is trained on. Received: none."
        with tf.control_dependencies([tf.raw_ops.Assert(condition=count > 0, data=[line])]):
            return {**inputs, "images": tf.identity(inputs["images"])}, gt

    def fill(value):
        if value.shape[0]:
            return value
        around = [[0, tf.maximum(1 - count, 0)], *[[0, 0]] * (len(value.shape) - 1)]
        # Without anything to add, tf.pad does not even copy.
        return tf.ensure_shape(tf.pad(value, around), [None, *value.shape[1:]])

    return tf.nest.map_structure(fill, (inputs, gt))


def sum_gradients(gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Sums gradients over replicas before the optimizer sees them.

    Keras' optimizers sum them last: clipping would go by the norm of each replica's own, and
    LossScaleOptimizer would apply a step in which another replica overflowed.

    Args:
        gradients: list of tensors.

    Returns:
        list of tensors, for an optimizer that is called within `summed_before`.
    """
    context = _shared()
    return gradients if context is None else _all_reduce(context, "SUM", gradients)


@contextlib.contextmanager
def summed_before(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """A Keras optimizer that is called inside leaves the summing to `sum_gradients`.

    With one replica too: what Keras would call there, TensorFlow keeps for ever with its graph.
    """
    with without_summing(optimizer):
        yield


def concat_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Puts (n, ...) tensors of the replicas that run this step together, along the first axis."""
    context = _shared()
    if context is None:
        return value
    return gradients_of_graph(context.all_gather(value, axis=0))


def choose(
    condition: tf.Tensor, then: Callable[..., Any], otherwise: Callable[..., Any], *args: Any
) -> None:
    """Runs one of two functions that change variables, in a step.

    A replica's own `tf.cond` must not hold what merges replicas, as optimizers do; so one for all
    decides, as in keras.optimizers.LossScaleOptimizer.

    Args:
        condition: () bool, the same in all replicas.
        then, otherwise: functions of `args`. What they return is ignored.
        args: nested tensors, those of the replica.
    """

    def decide(strategy, condition, *args):
        def branch(function):
            strategy.extended.call_for_each_replica(function, args=args)

        condition = strategy.experimental_local_results(condition)[0]
        tf.cond(condition, lambda: branch(then), lambda: branch(otherwise))

    tf.distribute.get_replica_context().merge_call(decide, args=(condition, *args))


def _shared():
    """The context of a replica that is one of several, or None."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def _all_reduce(context, operation, values):
    reduced = context.all_reduce(getattr(tf.distribute.ReduceOp, operation), values)
    return gradients_of_graph(reduced)
