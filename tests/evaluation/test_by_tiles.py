import logging
import types

import numpy as np
import pytest
from drawn_objects import Finder, draw, scattered
from PIL import Image

import keras_maskrcnn as mrcnn
from keras_maskrcnn import DataError, data, distribution
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


class FinderOnTwoWorkers(Finder):
    """Fails where Keras would wait for the other worker."""

    distribute_strategy = types.SimpleNamespace(
        extended=types.SimpleNamespace(worker_devices=["CPU:0"])
    )

    def predict_on_batch(self, images):
        raise AssertionError("the other worker has another number of tiles, and would not answer")

    def predict_alone(self, parts):
        return [super(FinderOnTwoWorkers, self).predict_on_batch(part) for part in parts]


def test_each_worker_predicts_its_images_alone(dataset, monkeypatch):
    whole = predict_dataset(Finder(), dataset, tile=128, verbose=0)
    gathered = []
    monkeypatch.setattr(distribution, "gather", lambda _, items: gathered.extend(items) or items)
    shares = []
    for index in range(2):
        monkeypatch.setattr(distribution, "worker", lambda _, i=index: (i, 2))
        shares.append(predict_dataset(FinderOnTwoWorkers(), dataset, tile=128, verbose=0))
    assert shares[0] + shares[1] == whole and shares[0] and shares[1]
    broken = [[1, True, "1.png: broken."]]  # what the other worker says in its first answer
    monkeypatch.setattr(distribution, "gather", lambda _, items: [*items, *broken])
    monkeypatch.setattr(distribution, "worker", lambda _: (0, 2))
    with pytest.raises(DataError, match="1.png: broken."):
        predict_dataset(FinderOnTwoWorkers(), dataset, tile=128, verbose=0)


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
