import dataclasses

import keras

from keras_maskrcnn.levels import STRIDES, anchor_sizes, maps_for, strides_of_rois


def test_rois_are_pooled_from_the_first_four_maps():
    assert strides_of_rois("fpn") == {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
    assert strides_of_rois("c4") == STRIDES["c4"] == {"c4": 16}


def test_fpn_has_one_size_per_map_and_other_necks_all_on_one(tiny_config):
    assert anchor_sizes(tiny_config) == ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))
    c5 = dataclasses.replace(tiny_config, neck="c5")
    assert anchor_sizes(c5) == (tiny_config.anchor_sizes,)


def test_a_neck_gets_the_maps_that_it_reads():
    """Keras warns at each call of a network that gets more."""
    c4 = keras.Input((None, None, 3), name="c4")
    neck = keras.Model({"c4": c4}, {"p4": keras.layers.Identity()(c4)})
    maps = {"c2": 2, "c4": 4, "c5": 5}
    assert maps_for(neck, maps) == {"c4": 4}
    assert maps_for(neck, {"c5": 5}) == {"c5": 5}  # Keras names what is missing
    assert maps_for(keras.Model(c4, c4), maps) is maps_for(object(), maps) is maps
