"""data/set_writing.py: a data set in memory as files, without loss."""

import numpy as np
import pytest
from in_memory import IDS, lists_of
from test_instances import check_same

from keras_maskrcnn.data import coco_json, from_instances, write_coco


def test_written_files_are_the_data_set(dataset, tmp_path):
    images, given = lists_of(dataset)
    found = from_instances(images, class_names=IDS, mask_size=14, **given)
    write_coco(found, tmp_path / "set")
    again = coco_json(tmp_path / "set/images", tmp_path / "set/annotations.json", mask_size=14)
    check_same(again, dataset)
    assert again.image_ids == tuple(range(5)) and again.file_names[3] == "000003.png"


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint16"), (5, "uint8"), (3, "float32")])
def test_any_bands_and_dtypes_come_back(tmp_path, channels, dtype):
    reading = {"channels": channels, "image_dtype": dtype}
    image = (np.arange(20 * 30 * channels) % 250).reshape(20, 30, channels).astype(dtype)
    found = from_instances([image], boxes=[[[1, 2, 9, 8]]], class_names=["a"], **reading)
    write_coco(found, tmp_path)
    again = coco_json(tmp_path / "images", tmp_path / "annotations.json", masks=False, **reading)
    np.testing.assert_array_equal(again.load_image(0), image)
    np.testing.assert_array_equal(again.boxes, found.boxes)
