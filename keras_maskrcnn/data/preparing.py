"""Prepares one image of a batch: reads it by its index, augments, pastes, resizes, flips."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_maskrcnn.data import augment, batching
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.typing import Augmentation, Tensors

# The random choices for one image. Each has its own seed.
DRAWS = ("augment", "partner", "augment_partner", "paste", "instances", "side", "flip")


@dataclasses.dataclass(frozen=True, eq=False)
class Preparation:
    """The steps from an image's index in the data set to its entry in a batch.

    Args:
        read: function of an index in the data set, see `graph_reader.reader`.
        count: int. Number of images in the data set.
        sides: list of int, one or several values of `min_side`.
        augmentations: the argument `augment`.
        whole: whether resizing rounds pixels to whole numbers, see `ops.images.resize`.
        training, targets, max_side, resize_rule, max_instances, max_proposals, copy_paste, flip:
            as in `data.batches`.
    """

    read: Callable[[tf.Tensor], Tensors]
    count: int
    training: bool
    targets: bool
    sides: list[int]
    max_side: int
    resize_rule: str
    max_instances: int | None
    max_proposals: int | None
    augmentations: Sequence[Augmentation]
    copy_paste: Callable[[Tensors, Tensors, tf.Tensor], Tensors] | None
    flip: bool
    whole: bool = True

    def prepare(self, index: tf.Tensor, seed: tf.Tensor) -> Any:
        """Prepares one image.

        Args:
            index: () int64. Its index in the data set.
            seed: (2,) int32.

        Returns:
            x, or (x, y), as `batching.entry` returns them.
        """
        draws = dict(zip(DRAWS, tf.unstack(tf.random.split(seed, len(DRAWS))), strict=True))
        place, example = self._augmented(index, draws["augment"])
        if self.copy_paste is not None:
            partner = tf.random.stateless_uniform([], draws["partner"], 0, self.count, tf.int64)
            _, other = self._augmented(partner, draws["augment_partner"])
            example = self.copy_paste(example, other, draws["paste"])
        if self.targets and self.max_instances is not None:
            example = self._limited(example, self.max_instances, draws["instances"])
        side = self._side(draws["side"])
        example = _resize(example, side, self.max_side, self.resize_rule, self.whole)
        if "proposals" in example:
            example["proposals"] = _keep_inside(example)[: self.max_proposals]
        if self.flip:
            example = augment.random_flip(example, draws["flip"])
        place = place if self.training else None
        return batching.entry(example, place=place, targets=self.targets)

    def or_blank(self, spec: Any) -> Callable[[tf.Tensor, tf.Tensor], Any]:
        """Makes a function like `prepare` that takes an index of -1 too, and then reads nothing.

        Args:
            spec: nested tf.TensorSpec of what `prepare` returns.

        Returns:
            Function of (index, seed). For -1 it returns an image of 0 x 0 pixels without objects,
                in a canvas of one pixel.
        """

        def blank():
            made = tf.nest.map_structure(
                lambda x: tf.zeros([side or 0 for side in x.shape], x.dtype), spec
            )
            inputs = made[0] if isinstance(made, tuple) else made
            inputs["images"] = tf.pad(inputs["images"], [[0, 1], [0, 1], [0, 0]])
            return made

        def prepare(index, seed):
            return tf.cond(index >= 0, lambda: self.prepare(index, seed), blank)

        return prepare

    def _augmented(self, index, seed):
        """Returns the index of the image that was read, and the augmented example."""
        example = self.read(index)
        place = example.pop("index")
        return place, augment.apply(example, seed, self.augmentations)

    def _limited(self, example, limit, seed):
        """Keeps `limit` instances: random ones in training, otherwise the first."""
        if self.training:
            example = augment.at_most(example, limit, seed)
        names = augment.instances(example)
        return example | {name: example[name][:limit] for name in names}

    def _side(self, seed):
        return augment.random_side(seed, self.sides) if len(self.sides) > 1 else self.sides[0]


def _resize(example, min_side, max_side, rule, whole):
    """Resizes the image and scales all boxes. Masks stay: they are relative to their boxes."""
    original_size = tf.shape(example["image"])[:2]
    image = image_ops.resize(example["image"], min_side, max_side, rule, whole)
    if whole and rule == "detectron2" and example["image"].dtype == tf.uint8:
        image = tf.cast(image, tf.uint8)  # whole numbers: the copies that follow move a quarter
    resized = {**example, "image": image, "original_size": original_size}
    scale = tf.cast(tf.shape(image)[:2], tf.float32) / tf.cast(original_size, tf.float32)
    for name in augment.BOXES & example.keys():
        resized[name] = example[name] * tf.gather(scale, [1, 0, 1, 0])
    return resized


def _keep_inside(example):
    """Clips the proposals to the image, and leaves out those without an area inside it."""
    size = tf.shape(example["image"])[:2]
    boxes = box_ops.clip(example["proposals"][None], size[None])[0]
    return tf.boolean_mask(boxes, box_ops.shorter_side(boxes) > 0)
