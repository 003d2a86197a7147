import pytest

from analysis.made_sets import CATEGORIES, box
from keras_maskrcnn.analysis.reading import read_objects
from keras_maskrcnn.data import DataError


def content(**changes):
    one = {"id": 1, "image_id": "a", "category_id": 3, **box(2, 3, 12, 9), **changes}
    images = [{"id": "a", "height": 48, "width": 64}, {"id": 4, "file_name": 7}]
    return {"images": images, "annotations": [one], "categories": CATEGORIES[:1]}


def test_what_a_file_leaves_out():
    frame, columns, shapes = read_objects(content(), "bbox")
    assert frame.image_ids == (4, "a") and frame.file_names == ("7", "")
    assert frame.sizes.tolist() == [[0, 0], [48, 64]]
    assert columns["image"].tolist() == [1] and shapes == [[2, 3, 10, 6]]


def test_a_missing_outline_is_ignored_as_a_mask():
    _, columns, _ = read_objects(content(segmentation=None), "segm")
    assert columns["ignore"].tolist() == [True]
    _, columns, _ = read_objects(content(segmentation=None), "bbox")
    assert columns["ignore"].tolist() == [False]


def test_an_outline_that_cannot_be_read_is_named():
    broken = {"size": [48, 64], "counts": [5]}
    with pytest.raises(DataError, match=r"annotations\[0\]: counts must be run lengths"):
        read_objects(content(segmentation=broken), "segm")
