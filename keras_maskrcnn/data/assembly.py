"""Assembles prepared images into batches: whole ones, or one worker's share of each."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_maskrcnn.data import batching, order
from keras_maskrcnn.data.preparing import Preparation


@dataclasses.dataclass(frozen=True, eq=False)
class Assembly:
    """The steps from the positions of images to padded batches.

    Args:
        preparation: Preparation, of one image.
        batch_size: int B, of all workers together.
        groups: (I,) int as in `order.epoch_order`; None outside of training.
        shapes: as from `batching.shapes`.
        canvases: (K, 2) int, see `batching.ascending`.
        padding_multiple: int, as in `data.batches`.
        seed, shuffle, repeat, first_step, steps: as in `data.batches`.
        epochs: iterator over the numbers of the epochs, shared by the batches and all shares.
    """

    preparation: Preparation
    batch_size: int
    groups: np.ndarray | None
    shapes: Any
    canvases: np.ndarray
    padding_multiple: int
    seed: int
    shuffle: bool
    repeat: bool
    first_step: int
    steps: int | None = None
    epochs: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def batches(self) -> tf.data.Dataset:
        """Returns the whole batches. Outside of training the last one may be short."""
        training, count = self.preparation.training, self.preparation.count
        if training:
            positions = self._training_positions(None)
        else:
            positions = order.positions_in_turn(count, repeat=self.repeat)
        prepare = self.preparation.prepare
        examples = positions.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        batched = examples.padded_batch(self.batch_size, self.shapes, drop_remainder=bool(training))
        padded = self._padded(batched, self.canvases)
        return self._counted(padded).prefetch(tf.data.AUTOTUNE)

    def share(self, rows: Sequence[np.ndarray]) -> tf.data.Dataset:
        """Returns the part of each batch that one worker computes, and reads nothing else.

        The images have the size and the padding that these rows need, and other rows of the batch
        may need more. Unless all batches have one canvas, `canvases` (b, K, 2) int32 is among the
        inputs, K >= 0, and `distribution.replicas.on_common_canvas` adds what is missing.

        Args:
            rows: sequence of (b,) int. The rows of each batch for each replica of this worker.
                Outside of training they may be B or more: such rows hold an image of 0 x 0 pixels,
                and so do rows that the last batch has too few images for. No loss counts them.

        Returns:
            tf.data.Dataset. For each batch one element per replica, in the order of `rows`.
        """
        preparation, own = self.preparation, np.concatenate(rows)
        if preparation.training:
            positions = self._training_positions(own)
            prepare = preparation.prepare
        else:
            count, repeat = preparation.count, self.repeat
            positions = order.rows_in_turn(count, self.batch_size, own, repeat=repeat)
            prepare = preparation.or_blank(positions.map(preparation.prepare).element_spec)
        examples = positions.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        batched = examples.padded_batch(len(own), self.shapes, drop_remainder=True)
        if len(self.canvases) == 1:
            padded = self._padded(batched, self.canvases)
        else:
            multiple = 1 if len(self.canvases) else self.padding_multiple
            padded = self._padded(batched, self.canvases[:0], multiple).map(self._with_canvases)
        if len(rows) > 1:
            sizes = [len(rows_of_replica) for rows_of_replica in rows]
            equal = len(set(sizes)) == 1
            padded = padded.rebatch(sizes[0] if equal else sizes, drop_remainder=equal)
        return self._counted(padded, len(rows)).prefetch(tf.data.AUTOTUNE)

    def _training_positions(self, rows):
        count, size = self.preparation.count, self.batch_size
        drawing = {
            "groups": self.groups,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "first_step": self.first_step,
            "rows": rows,
        }
        if self.steps is not None:
            return order.drawn_positions(count, size, steps=self.steps, **drawing)
        repeat, epochs = self.repeat, self.epochs
        return order.training_positions(count, size, repeat=repeat, epochs=epochs, **drawing)

    def _padded(self, batched, canvases, multiple=None):
        multiple = self.padding_multiple if multiple is None else multiple
        fill_slots = self.preparation.max_instances is None
        pad = functools.partial(batching.pad, canvases, multiple, fill_slots)
        return batched.map(pad, num_parallel_calls=tf.data.AUTOTUNE)

    def _with_canvases(self, inputs, *targets):
        """Adds the canvases to the inputs of a batch, once per image."""
        canvases = tf.constant(self.canvases, tf.int32, [1, len(self.canvases), 2])
        canvases = tf.tile(canvases, [tf.shape(inputs["sizes"])[0], 1, 1])
        inputs = {**inputs, "canvases": canvases}
        return (inputs, *targets) if targets else inputs

    def _counted(self, padded, elements=1):
        """Tells TensorFlow how many elements there are, of which each batch has `elements`."""
        count, size = self.preparation.count, self.batch_size
        number = count // size if self.preparation.training else -(-count // size)
        number = number if self.steps is None else self.steps - self.first_step
        number = tf.data.INFINITE_CARDINALITY if self.repeat else number * elements
        return padded.apply(tf.data.experimental.assert_cardinality(number))
