"""data/lvis.py: LVIS json is COCO json with an address for each image."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.lvis import lvis_json


def write(folder, **changes):
    """One image in val2017/ and its LVIS json, without iscrowd and file_name."""
    (folder / "val2017").mkdir()
    Image.new("RGB", (30, 20)).save(folder / "val2017/000000397133.jpg")
    image = {
        "id": 397133,
        "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
        "height": 20,
        "width": 30,
        "neg_category_ids": [5],
        "not_exhaustive_category_ids": [],
        **changes,
    }
    annotation = {"id": 1, "image_id": 397133, "category_id": 3, "area": 60, "bbox": [4, 5, 10, 6]}
    annotation["segmentation"] = [[4, 5, 14, 5, 14, 11, 4, 11]]
    categories = [{"id": i, "name": f"c{i}", "frequency": "r"} for i in (3, 5)]
    content = {"images": [image], "annotations": [annotation], "categories": categories}
    (folder / "lvis.json").write_text(json.dumps(content))
    return folder, folder / "lvis.json"


def test_images_lie_where_their_address_ends(tmp_path):
    dataset = lvis_json(*write(tmp_path), mask_size=10)
    assert dataset.file_names == ("val2017/000000397133.jpg",)
    assert dataset.annotations["images"][0]["neg_category_ids"] == [5]
    example = dataset.load(0)
    assert example["image"].shape == (20, 30, 3)
    np.testing.assert_array_equal(example["boxes"], [[4, 5, 14, 11]])


@pytest.mark.parametrize("address", ["http://x/../../secret.jpg", 5, None, ""])
def test_an_address_that_is_no_file_of_the_folder_is_refused(tmp_path, address):
    with pytest.raises(DataError, match=r"lvis.json: image 397133: file_name must "):
        lvis_json(*write(tmp_path, coco_url=address))
