import numpy as np
import tensorflow as tf

from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.roi_heads import per_roi


def test_the_mask_head_runs_on_as_many_slots_as_an_image_has_positives(tiny_config, batch):
    model = MaskRCNN(tiny_config)
    inputs, gt = tf.nest.map_structure(tf.constant, batch)
    features = model.features(inputs, training=True)
    calls = []
    original = model.mask_head.call
    model.mask_head.call = lambda x, **kwargs: (calls.append(x.shape[0]), original(x, **kwargs))[1]
    proposals = tf.zeros([2, 5, 4])  # so only ground-truth boxes can be sampled
    model.roi_heads.compute_losses(features, proposals, inputs["sizes"], gt, step=0)
    fullest = int(tf.reduce_max(tf.reduce_sum(tf.cast(gt["labels"] > 0, tf.int32), axis=1)))
    assert calls == [2 * fullest] and 2 * fullest < 2 * model.config.roi_batch // 4


def test_a_head_sees_the_rois_of_all_images_as_one_batch():
    shapes = []

    def head(pooled, training):
        shapes.append(pooled.shape)
        return pooled[:, 0, 0], pooled[:, :1]

    pooled = tf.random.normal([2, 3, 4, 4, 5])
    first, second = per_roi(head, pooled)
    assert shapes == [(6, 4, 4, 5)]
    np.testing.assert_array_equal(first, pooled[:, :, 0, 0])
    np.testing.assert_array_equal(second, pooled[:, :, :1])


def test_a_head_from_another_config_serves_in_its_files(tiny_config):
    heads = MaskRCNN(tiny_config).roi_heads
    again = type(heads).from_config(heads.get_config())
    assert again.config == tiny_config and again.loss_names == ("classifier", "box", "mask")
    assert list(again.networks) == ["box_head", "mask_head"]
    assert again.box_align.get_config() == heads.box_align.get_config()
