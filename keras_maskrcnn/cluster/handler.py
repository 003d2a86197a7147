"""The model handler with which Beam's RunInference runs an exported model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.cluster import storage
from keras_maskrcnn.cluster.extra import explained
from keras_maskrcnn.detections import coco_results
from keras_maskrcnn.runtime import ExportedModel

with explained():
    from apache_beam.ml.inference.base import ModelHandler


class ExportedModelHandler(ModelHandler):
    """Runs a SavedModel, an .onnx file or an OpenVINO .xml file in Beam's RunInference.

    Examples are images, (H, W, C) of the model's dtype, of any sizes. A prediction is a list of
    COCO results without `image_id`; or the exception that the image ended with, so that one image
    does not stop the others. Wrap it in Beam's `KeyedModelHandler` to keep names with images.

    Args:
        path: str. The model; it may be remote. Each worker process copies and loads it once.
        runtime: str or None. As in `runtime.ExportedModel`.
        threads: int or None. As in `runtime.ExportedModel`.
        batch_size: int. Most images that the model gets at once. They need the same size.
    """

    def __init__(
        self,
        path: str,
        *,
        runtime: Any = None,
        threads: int | None = None,
        batch_size: int = 1,
    ) -> None:
        super().__init__(min_batch_size=batch_size, max_batch_size=batch_size)
        self._path, self._runtime, self._threads = path, runtime, threads

    def load_model(self) -> ExportedModel:
        """Loads the model."""
        with storage.local_copy(self._path) as path:
            return ExportedModel(path, runtime=self._runtime, threads=self._threads)

    def run_inference(
        self,
        batch: Sequence[np.ndarray],
        model: ExportedModel,
        inference_args: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Predicts images.

        Args:
            batch: sequence of images.
            model: what `load_model` returned.
            inference_args: dict or None. There are none.

        Returns:
            A list of the predictions, in the order of the images.
        """
        if inference_args:
            raise ValueError(f"there are no inference_args. Received: {inference_args!r}.")
        found: dict[int, Any] = {}
        for places in _of_one_shape(batch):
            found |= _predict(model, {place: batch[place] for place in places})
        return [found[place] for place in range(len(batch))]

    def get_num_bytes(self, batch: Sequence[np.ndarray]) -> int:
        """Returns the bytes of the pixels, for Beam's metrics."""
        return sum(image.nbytes for image in batch)

    def get_metrics_namespace(self) -> str:
        """Returns the name under which Beam counts inferences."""
        return "keras_maskrcnn"


def _of_one_shape(images: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Yields the places of the images of each shape."""
    places: dict[Any, list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault((image.shape, image.dtype), []).append(place)
    yield from places.values()


def _predict(model: Any, images: Mapping[int, np.ndarray]) -> dict[int, Any]:
    """Returns the predictions of images of one shape; each is tried alone if all at once fail."""
    try:
        outputs = model.predict_on_batch(np.stack(list(images.values())))
    except (ValueError, RuntimeError, MemoryError) as error:
        if len(images) == 1:
            return dict.fromkeys(images, error)
        alone = [_predict(model, {place: image}) for place, image in images.items()]
        return {place: found for one in alone for place, found in one.items()}
    return {
        place: _results(outputs, row, image.shape[:2], model.config)
        for row, (place, image) in enumerate(images.items())
    }


def _results(outputs, row, size, config):
    """Returns the COCO results of one image of a batch, without `image_id`."""
    height, width = size
    results = coco_results(outputs, row, 0, height, width, config.ids(), config.mask_paste)
    return [{name: value for name, value in one.items() if name != "image_id"} for one in results]
