import logging

import numpy as np
import pytest
from drawn_objects import Finder, draw, scattered
from PIL import Image

import keras_maskrcnn as mrcnn
from keras_maskrcnn import DataError, data
from keras_maskrcnn.evaluation.predicting import predict_dataset
from keras_maskrcnn.instance_masks import InstanceMasks

SIZE = (400, 500)


@pytest.fixture
def dataset(tmp_path):
    """Two images with drawn objects."""
    annotations, images = [], []
    for i in range(2):
        truth = scattered(SIZE, 20, 10, 70, seed=i)
        Image.fromarray(draw(SIZE, truth)).save(tmp_path / f"{i}.png")
        images.append({"id": i + 5, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]})
        masks = InstanceMasks([region for region, _ in truth], [at for _, at in truth], SIZE)
        for j, (region, (y, x)) in enumerate(masks.crops()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 5,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x, y, region.shape[1], region.shape[0]],
                    "area": int(region.sum()),
                    "segmentation": masks.rle(j),
                }
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}],
    }
    return data.coco_dict(tmp_path, content)


@pytest.mark.parametrize(
    "options", [{"tile": 128, "overlap": 40}, {"tile": (200, 150), "batch_size": 3}]
)
def test_a_perfect_model_has_ap_1(dataset, options):
    metrics = mrcnn.evaluate(Finder(), dataset, verbose=0, **options)
    assert metrics["segm/AP"] == metrics["bbox/AP"] == 1


def test_results_have_the_ids_of_the_data_set(dataset):
    results = predict_dataset(Finder(), dataset, tile=128, overlap=40, verbose=0)
    assert [result["image_id"] for result in results] == [5] * 20 + [6] * 20
    assert {result["category_id"] for result in results} == {1}


def test_unreadable_images_are_named_or_left_out(dataset, tmp_path, caplog):
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png"):
        predict_dataset(Finder(), dataset, tile=128, verbose=0)
    with caplog.at_level(logging.WARNING):
        results = predict_dataset(Finder(), dataset, tile=128, verbose=0, on_error="skip")
    assert {result["image_id"] for result in results} == {6} and list(dataset.skipped) == ["0.png"]
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(DataError, match=r"0\.png.*size of the annotations, \(400, 500\)"):
        predict_dataset(Finder(), dataset, tile=128, verbose=0)
