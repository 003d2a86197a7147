import numpy as np
import pytest
from pycocotools import mask as coco_mask

from analysis.made_sets import made
from keras_maskrcnn import analysis
from keras_maskrcnn.analysis import thumbnails


def test_an_outline_runs_around_the_pixels():
    mask = np.zeros([6, 8], np.uint8, order="F")
    mask[2:4, 3:7] = 1
    outline = thumbnails._outline(coco_mask.encode(mask), (8, 6), (8, 6))
    assert outline == "M3 2H7V4H3Z"


@pytest.mark.parametrize("name", ["PICTURE_BYTES", "OUTLINE_BYTES"])
def test_budgets_end_pictures_and_outlines(tmp_path, monkeypatch, name):
    content, results = made(num_images=4, seed=3)
    numbers = analysis.report_numbers(results, content)
    monkeypatch.setattr(thumbnails, name, 0)
    entries = thumbnails.gallery(numbers, results, content, tmp_path, {})
    assert all(entry["picture"] is None for entry in entries)  # there are no files in the folder
    outlines = [d.get("outline") for entry in entries for d in entry["detections"]]
    assert any(outlines) == (name == "PICTURE_BYTES")
