"""Training and scoring on data in memory: the numbers of files."""

import numpy as np
import pytest

import keras_maskrcnn as mrcnn
from keras_maskrcnn.model import MaskRCNN


@pytest.fixture
def sets(tmp_path):
    """Three drawn images in memory, and the same as files."""
    images, masks = [], []
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 60, (64, 96, 3), np.uint8)
        inside = np.zeros((2, 64, 96), bool)
        inside[0, 8 + i : 40, 10:44], inside[1, 20:60, 50 : 90 - i] = True, True
        image[inside[0]], image[inside[1]] = (250, 20, 20), (20, 250, 20)
        images.append(image)
        masks.append(inside)
    names = {"labels": [[1, 2]] * 3, "class_names": ["red", "green", "blue"]}
    memory = mrcnn.data.from_instances(images, masks=masks, **names)
    mrcnn.data.write_coco(memory, tmp_path)
    files = mrcnn.data.coco_json(tmp_path / "images", tmp_path / "annotations.json")
    return memory, files


@pytest.mark.slow
def test_a_model_trains_scores_and_explains_as_on_files(sets, tiny_config, eager):
    memory, files = sets
    model = MaskRCNN(tiny_config)
    model.compile(mrcnn.training.sgd(0.01, warmup_steps=0))
    batches = mrcnn.data.batches(memory, 3, training=True, **tiny_config.resizing())
    history = model.fit(batches, callbacks=[mrcnn.CocoEvaluation(memory)], verbose=0).history
    scores = mrcnn.evaluate(model, files, verbose=0)
    assert {f"val_{name}": [value] for name, value in scores.items()}.items() <= history.items()
    assert np.isfinite(history["mask"][0])
    ours, theirs = (mrcnn.explain(model, dataset, 1) for dataset in sets)
    assert ours.counts == theirs.counts and len(ours.objects) == 2
    assert [row["cause"] for row in ours.objects] == [row["cause"] for row in theirs.objects]
    assert "image 1:" in str(ours)


def test_fit_takes_numpy_dicts(sets, tiny_config, eager):
    """The arrays of docs/data_memory.md, one image more than fills the last batch."""
    memory, _ = sets
    sizes = np.tile(np.int32([64, 96]), (3, 1))
    images = np.stack([memory.load_image(i) for i in range(3)]).astype(np.float32)
    x = {"images": images, "sizes": sizes, "original_sizes": sizes}
    y = {
        "boxes": np.stack([memory.load(i)["boxes"] for i in range(3)]),
        "labels": np.int32([[1, 2]] * 3),
        "masks": np.full((3, 2, 28, 28), 255, np.uint8),
    }
    model = MaskRCNN(tiny_config)
    model.compile(mrcnn.training.sgd(0.01, warmup_steps=0))
    history = model.fit(x, y, batch_size=2, verbose=0).history
    assert {"loss", "mask", "box", "classifier"} <= history.keys()
    assert np.isfinite(history["loss"][0])
