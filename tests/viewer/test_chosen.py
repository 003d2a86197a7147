import numpy as np
import pytest
from pictures import NAMES, found, picture

from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.viewer import chosen


def test_small_objects_come_last():
    np.testing.assert_array_equal(chosen.shown_objects(found(), 0.0), [1, 0, 2])
    np.testing.assert_array_equal(chosen.shown_objects(found(), 0.75), [1, 0])


def test_ground_truth_has_no_scores_and_padding_no_label():
    objects = {"boxes": np.array([(0, 0, 1, 1), (0, 0, 2, 2), (0, 0, 3, 3)]), "labels": [1, 2, 0]}
    np.testing.assert_array_equal(chosen.shown_objects(objects, 0.5), [1, 0])


def test_a_label_without_a_name_is_a_number():
    assert chosen.names_of(found(), None) == list(NAMES)
    assert chosen.names_of(found(), ["cell"]) == ["cell", "2"]
    assert chosen.names_of({"labels": []}, ["cell"]) == ["cell"]


def test_masks_have_the_size_of_the_image():
    with open_source(picture()) as source:
        assert chosen.masks_of({}, source) is None
        assert chosen.masks_of(found(), source).size == (300, 400)
        whole = np.zeros((1, 300, 400), bool)
        whole[0, 7, 9] = True
        region, origin = chosen.masks_of({"masks": whole}, source).crop(0)
        assert region.tolist() == [[True]] and origin == (7, 9)
        with pytest.raises(ValueError, match=r"size of array, \(300, 400\).*size=\(400, 300\)"):
            chosen.masks_of({"masks": whole.transpose(0, 2, 1)}, source)
