"""A loss of one bias, for tests of the graph of a step that claim nothing about the network.

To trace the tiny model's losses and their gradients, TensorFlow needs more than 10 s of CPU time.
"""

import contextlib

import pytest
import tensorflow as tf

from keras_maskrcnn.model import MaskRCNN


@contextlib.contextmanager
def quick_losses():
    """In the block models have one loss, of the mask head's last bias, and the usual shares."""

    def losses(self, inputs, gt, training=True):
        # The gradient needs the images. Otherwise the optimizer would step after the last batch.
        one = tf.clip_by_value(tf.reduce_max(inputs["images"]), 1.0, 1.0)
        for name in self.shares:
            self.count_share(name, gt["labels"] > 1, gt["labels"] > 0)
        return {"mask": one * tf.reduce_sum(self.mask_head.trainable_weights[-1]) + 1.0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskRCNN, "compute_losses", losses)
        yield
