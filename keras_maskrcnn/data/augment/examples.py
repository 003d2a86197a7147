"""Chooses and joins the instances of examples; `data.augment` says what an example is."""

import tensorflow as tf

from keras_maskrcnn.data.augment.draws import uniform
from keras_maskrcnn.typing import Tensors

BOXES = {"boxes", "ignored", "proposals"}
"""Entries of an example that hold boxes, which move with the image."""
INSTANCES = ("boxes", "labels", "masks")
"""Entries of an example that have one row per instance."""
MIN_VISIBLE = 0.1
"""Share of an instance's mask that must stay visible; below it the instance is dropped."""


def instances(example: Tensors) -> list[str]:
    """Returns the names of an example's entries that have one row per instance."""
    return [name for name in INSTANCES if name in example]


def at_most(example: Tensors, limit: int, seed: tf.Tensor) -> Tensors:
    """Keeps `limit` random instances, in their order, if there are more."""
    order = tf.argsort(uniform(seed, tf.shape(example["labels"])))
    kept = tf.sort(order[:limit])
    return {**example, **{name: tf.gather(example[name], kept) for name in instances(example)}}


def keep(example: Tensors, chosen: tf.Tensor) -> Tensors:
    """Removes the instances where `chosen` (n,) is False."""
    kept = {name: tf.boolean_mask(example[name], chosen) for name in instances(example)}
    return {**example, **kept}


def join(*examples: Tensors) -> Tensors:
    """Returns the instances of several examples, one example after the other."""
    names = instances(examples[0])
    return {name: tf.concat([e[name] for e in examples], axis=0) for name in names}
