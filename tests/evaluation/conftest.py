import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf
from oracles import CATEGORY_IDS, NUM_IMAGES, Oracle, encode
from pycocotools import mask as coco_mask

from keras_maskrcnn import data


@pytest.fixture
def dataset(tmp_path):
    """A data set of ellipses in images of different heights, and its annotation file."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(NUM_IMAGES):
        height, width = 150 + i, 200
        images.append({"id": 10 * i + 4, "height": height, "width": width, "file_name": f"{i}.png"})
        y, x = np.mgrid[:height, :width] + 0.5
        for side in rng.uniform(12, 110, 4):
            radius = np.array([side, side * rng.uniform(0.6, 1)]) / 2
            center = rng.uniform(radius, np.array([width, height]) - radius)
            mask = ((x - center[0]) / radius[0]) ** 2 + ((y - center[1]) / radius[1]) ** 2 < 1
            segmentation = encode(mask)
            annotation = {
                "id": len(annotations) + 1,
                "image_id": images[-1]["id"],
                "category_id": int(rng.choice(CATEGORY_IDS[:2])),  # none of the third category
                "bbox": coco_mask.toBbox(segmentation).tolist(),
                "segmentation": segmentation,
                "area": float(mask.sum()),
                "iscrowd": 0,
            }
            annotations.append(annotation)
    names = ("cell", "nucleus", "nothing")
    categories = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, names, strict=True)]
    path = tmp_path / "annotations.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return types.SimpleNamespace(
        annotations=str(path),
        image_ids=[image["id"] for image in images],
        sizes=[(image["height"], image["width"]) for image in images],
        class_names=names,
        category_ids=CATEGORY_IDS,
        content=content,
    )


@pytest.fixture(autouse=True)
def fake_batches(monkeypatch):
    """Replaces data.batches: all images are black, and the original height identifies an image."""

    def batches(
        dataset,
        batch_size,
        *,
        training,
        min_side,
        max_side,
        targets,
        resize_rule,
        padding_multiple,
        proposals,
        max_proposals,
    ):
        assert not training and not targets and (min_side, max_side) == (64, 96)
        assert (resize_rule, padding_multiple) == ("detectron2", 32)
        sizes = np.array(dataset.sizes, np.int32)
        images = np.zeros((len(sizes), 64, 96, 3), np.float32)
        x = {"images": images, "sizes": sizes // 2, "original_sizes": sizes}
        if proposals is not None:
            boxes = [proposals.get(image_id)[0][:max_proposals] for image_id in dataset.image_ids]
            x["proposals"] = np.array(boxes, np.float32)
        return tf.data.Dataset.from_tensor_slices(x).batch(batch_size)

    monkeypatch.setattr(data, "batches", batches, raising=False)


@pytest.fixture
def broken(dataset, monkeypatch):
    """The data set with an unreadable third image, and batches that read it."""
    made = data.batches

    def load_image(index):
        if index == 2:
            raise data.DataError("2.png: image cannot be decoded.")
        return np.zeros([*dataset.sizes[index], 3], np.uint8)

    class Broken(types.SimpleNamespace):
        def __len__(self):
            return len(self.image_ids)

    def batches(dataset, batch_size, **options):
        assert [dataset.load_image(i).shape for i in range(NUM_IMAGES)] == [
            (*size, 3) for size in dataset.sizes
        ]
        return made(dataset, batch_size, **options)

    monkeypatch.setattr(data, "batches", batches)
    names = [f"{i}.png" for i in range(NUM_IMAGES)]
    return Broken(**vars(dataset), file_names=names, skipped={}, load_image=load_image)


@pytest.fixture
def named(dataset):
    """A model with class names."""
    model = Oracle(dataset)
    model.config = dataclasses.replace(
        model.config, category_ids=CATEGORY_IDS, class_names=tuple(dataset.class_names)
    )
    return model
