import numpy as np
import pytest
from drawn_masks import SIZE, box, content, entry

from keras_maskrcnn.data import DataError
from keras_maskrcnn.evaluation.measures.image_objects import read_images


def test_masks_of_an_image():
    crowd = entry(box(20, 0, 40, 60), iscrowd=1)
    without = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}
    truth = content([entry(box(0, 0, 10, 10)), crowd, without], images=2)
    results = [entry(box(0, 0, 10, 8), score=s) for s in (0.6, 0.9, 0.2)]
    first, second = read_images(results, truth, score_threshold=0.5)
    assert first.scores.tolist() == [0.9, 0.6] and len(first.true) == 1
    assert len(first.crowds) == 2  # an object without an outline cannot be judged
    np.testing.assert_allclose(first.ious(), [[0.8], [0.8]])
    assert second.ious().shape == (0, 0) and second.overlaps().tolist() == [[SIZE[0] * SIZE[1]]]


def test_each_pixel_has_one_owner():
    truth = content([entry(box(0, 0, 4, 4)), entry(box(0, 0, 10, 10))])  # the small one is on top
    results = [entry(box(0, 0, 10, 10), score=0.6), entry(box(0, 0, 10, 5), score=0.9)]
    (image,) = read_images(results, truth, score_threshold=0)
    overlaps = image.overlaps()  # found: first the better one
    assert overlaps[1].tolist() == [0, 16, 0] and overlaps[2].tolist() == [0, 34, 50]
    assert overlaps.sum() == SIZE[0] * SIZE[1]


def test_what_is_missing_is_named():
    truth = content([])
    with pytest.raises(DataError, match="results of image 1: segmentation is missing"):
        list(
            read_images(
                [{**entry(box(0, 0, 4, 4), score=1), "segmentation": None}],
                truth,
                score_threshold=0,
            )
        )
    del truth["images"][0]["height"]
    with pytest.raises(DataError, match="image 1: height and width are missing"):
        list(read_images([], truth, score_threshold=0))
