import numpy as np
import pytest
from pycocotools import mask as coco_mask

from keras_maskrcnn.analysis.change_pictures import as_detections, side_by_side

NAMES = {3: "cell", 8: "dot"}
SQUARE = {"category_id": 8, "segmentation": [[4, 2, 14, 2, 14, 12, 4, 12]]}


def test_coco_entries_become_detections():
    mask = np.zeros((30, 40), np.uint8, order="F")
    mask[5:9, 6:8] = 1
    rle = coco_mask.encode(mask)
    rle["counts"] = rle["counts"].decode()
    result = {"category_id": 3, "segmentation": rle, "bbox": [6, 5, 2, 4], "score": 0.5}
    found = as_detections([result, {**SQUARE, "score": 0.25}], (30, 40), NAMES)
    assert found["boxes"].tolist() == [[6, 5, 8, 9], [4, 2, 14, 12]]
    assert found["labels"].tolist() == [1, 2] and found["scores"].tolist() == [0.5, 0.25]
    np.testing.assert_array_equal(np.asarray(found["masks"])[0], mask)
    nothing = as_detections([], (30, 40), NAMES)
    assert nothing["boxes"].shape == (0, 4) and "masks" not in nothing


def test_three_pictures_stand_beside_each_other():
    image = np.full((30, 40, 3), 90, np.uint8)
    box = {"category_id": 3, "bbox": [20, 10, 10, 10], "score": 0.9}
    titles = {"a": "A: 0.000", "b": "B: 1.000"}
    picture = side_by_side(image, [SQUARE], {"a": [], "b": [box]}, NAMES, titles)
    assert picture.shape[1] > 3 * 512 and picture.dtype == np.uint8
    width = picture.shape[1] / 3
    parts = [picture[60:-20, int(i * width) + 20 : int((i + 1) * width) - 20] for i in range(3)]
    colored = [float((np.ptp(part.astype(int), axis=2) > 30).mean()) for part in parts]
    assert colored[0] > 0.01 and colored[1] == pytest.approx(0) and colored[2] > 0.001
