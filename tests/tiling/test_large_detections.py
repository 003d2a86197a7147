import copy
import gc
import os
import pickle
import tempfile

import numpy as np
import pytest
from drawn_objects import Finder, draw, scattered

from keras_maskrcnn import visualize
from keras_maskrcnn.tiling import predict_large

SIZE = (300, 400)


@pytest.fixture
def truth():
    return scattered(SIZE, 30, 8, 40)


@pytest.fixture
def found(truth):
    return predict_large(Finder(), draw(SIZE, truth), tile=128, overlap=40, verbose=0)


def test_it_is_like_the_result_of_predict_image(found, truth):
    assert dict(found).keys() == {"boxes", "scores", "labels", "masks"}
    assert found["boxes"].shape == (30, 4) and found["boxes"].dtype == np.float32
    assert found["scores"].dtype == np.float32 and found["labels"].dtype == np.int32
    assert found["masks"].shape == (30, 300, 400)
    assert repr(found) == "LargeDetections(30 objects in 300 x 400 pixels)"
    visible = np.zeros(SIZE, bool)
    for region, (y, x) in truth:
        visible[y : y + region.shape[0], x : x + region.shape[1]] |= region
    picture = visualize.draw(np.zeros((*SIZE, 3), np.uint8), found, alpha=1, max_labels=0, scale=1)
    assert (picture.any(-1) | ~visible).all()


def test_a_window_has_the_objects_in_it_in_its_pixels(found):
    window = found.window(50, 100, 80, 60)
    whole = np.asarray(found["masks"])[:, 50:130, 100:160]
    seen = whole.any((1, 2))
    assert 0 < seen.sum() < 30 and window["masks"].size == (80, 60)
    masks = np.asarray(window["masks"])
    np.testing.assert_array_equal(masks[masks.any((1, 2))], whole[seen])
    corners = window["boxes"][masks.any((1, 2))] + np.float32([100, 50, 100, 50])
    np.testing.assert_array_equal(corners, found["boxes"][seen])


def test_a_window_beyond_the_image_holds_what_there_is(found):
    assert found.window(290, 390, 1000, 1000)["masks"].size == (1000, 1000)
    assert len(found.window(400, 500, 10, 10)["scores"]) == 0


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The temporary folders of this test, and not those of tests that run at the same time."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda: os.listdir(tmp_path)


@pytest.mark.parametrize(
    "change", [dict, copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_outlive_the_result(found, change):
    masks, boxes = np.asarray(found["masks"]), found["boxes"]
    copied = change(found)
    del found
    gc.collect()
    np.testing.assert_array_equal(copied["masks"], masks)
    np.testing.assert_array_equal(copied["boxes"], boxes)


def test_the_temporary_file_does_not_outlive_an_error(truth, folders):
    with pytest.raises(KeyboardInterrupt) as error:
        predict_large(Finder(fail_after=2), draw(SIZE, truth), tile=128, verbose=0)
    assert not folders() and error  # its traceback still holds the file


def test_the_temporary_file_lives_as_long_as_the_result(truth, folders):
    found = predict_large(Finder(), draw(SIZE, truth), tile=128, verbose=0)
    masks = found["masks"]
    assert len(folders()) == 1 and masks.areas().min() > 0
    found.close()
    assert not folders()
    masks = predict_large(Finder(), draw(SIZE, truth), tile=128, verbose=0)["masks"]
    gc.collect()
    assert masks.areas().min() > 0  # also if only the masks are kept
    del masks
    gc.collect()
    assert not folders()
