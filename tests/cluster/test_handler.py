import pickle

import numpy as np
import pytest

from keras_maskrcnn.config import MaskRCNNConfig

pytest.importorskip("apache_beam", reason="needs the extra beam")

from keras_maskrcnn.cluster.handler import ExportedModelHandler  # noqa: E402


class Model:
    """A model whose only object has the first pixel as its label; it refuses pixels of 9."""

    config = MaskRCNNConfig(num_classes=3, class_names=("a", "b", "c"), category_ids=(4, 7, 11))

    def __init__(self):
        self.shapes = []

    def predict_on_batch(self, images):
        self.shapes.append(images.shape)
        if (images == 9).any():
            raise RuntimeError("cannot run")
        count = len(images)
        return {
            "boxes": np.tile(np.array([1, 2, 4, 6], np.float32), (count, 2, 1)),
            "scores": np.full((count, 2), 0.5, np.float32),
            "labels": images[:, :1, 0, 0].repeat(2, 1).astype(np.int32),
            "num_detections": np.ones(count, np.int32),
        }


def image(label, height=8):
    return np.full((height, 8, 3), label, np.uint8)


def test_images_of_one_size_are_predicted_at_once_and_keep_their_places():
    model = Model()
    images = image(1), image(2, 6), image(3), image(1, 6)
    found = ExportedModelHandler("m", batch_size=4).run_inference(images, model)
    assert [one["category_id"] for (one,) in found] == [4, 7, 11, 4]
    assert found[0] == [{"category_id": 4, "bbox": [1, 2, 3, 4], "score": 0.5}]
    assert model.shapes == [(2, 8, 8, 3), (2, 6, 8, 3)]


def test_an_image_with_which_the_model_fails_does_not_stop_the_others():
    model = Model()
    found = ExportedModelHandler("m").run_inference([image(1), image(9), image(2)], model)
    assert found[0][0]["category_id"] == 4 and found[2][0]["category_id"] == 7
    assert isinstance(found[1], RuntimeError) and len(model.shapes) == 4


def test_batches_are_as_large_as_asked_and_the_handler_travels():
    handler = pickle.loads(pickle.dumps(ExportedModelHandler("m", batch_size=8, threads=1)))
    assert handler.batch_elements_kwargs() == {"min_batch_size": 8, "max_batch_size": 8}
    assert handler.get_num_bytes([image(1), image(2)]) == 2 * 8 * 8 * 3
    with pytest.raises(ValueError, match="no inference_args. Received: {'a': 1}"):
        handler.run_inference([], Model(), {"a": 1})


def test_a_model_that_is_none_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        ExportedModelHandler(str(tmp_path / "m")).load_model()
