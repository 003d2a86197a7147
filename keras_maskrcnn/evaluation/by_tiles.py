"""Runs a model over a data set of large images, tile by tile."""

import os
from typing import Any

from absl import logging

from keras_maskrcnn import distribution
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError, check_on_error
from keras_maskrcnn.detections import results_of_image
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.progress import Progress
from keras_maskrcnn.runtime import ExportedModel
from keras_maskrcnn.shares import failing_together, join_skipped
from keras_maskrcnn.tiling import predict_large
from keras_maskrcnn.typing import OnError, Size


def predict_by_tiles(
    model: MaskRCNN | ExportedModel,
    dataset: CocoDataset,
    *,
    tile: int | Size,
    overlap: int | Size | None,
    batch_size: int,
    verbose: int,
    on_error: OnError,
) -> list[dict[str, Any]]:
    """Runs `predict_large` on each image of a data set, and returns COCO results.

    Under a strategy of several workers, each predicts its share of the images.

    Args:
        model, dataset, batch_size, verbose, on_error: as in `evaluate`.
        tile, overlap: as in `predict_large`.

    Returns:
        list of COCO results, in the order of the data set.
    """
    check_on_error(on_error)
    category_ids = tuple(model.config.category_ids) or tuple(dataset.category_ids)
    strategy = getattr(model, "distribute_strategy", None)
    this_worker, workers = distribution.worker(strategy)
    share = range(this_worker, len(dataset.image_ids), workers)
    progress, found = Progress(len(share), "image", verbose), []
    options = {"tile": tile, "overlap": overlap, "batch_size": batch_size}
    alone = model if workers == 1 else _OnThisWorker(model)
    with failing_together(strategy):
        for done, index in enumerate(share):
            try:
                objects = _predict(alone, dataset, index, **options)
            except DataError as error:
                if on_error == "raise":
                    raise
                logging.warning("left out: %s", error)
                name = dataset.file_names[index]
                dataset.skipped[name] = dataset.skipped.get(name, 0) + 1
            else:
                place = {"image_id": dataset.image_ids[index]}
                found.append((index, results_of_image(objects, place, category_ids)))
                objects.close()
            progress.update(done + 1)
    if on_error == "skip":
        join_skipped(strategy, dataset)
    gathered = sorted(distribution.gather(strategy, found))
    return [result for _, results in gathered for result in results]


class _OnThisWorker:
    """A model whose predictions wait for no other worker: workers have other numbers of tiles."""

    def __init__(self, model):
        self._model, self.config = model, model.config

    def predict_on_batch(self, images):
        """Returns the outputs for a batch of tiles. Each replica of this worker computes them."""
        here = len(self._model.distribute_strategy.extended.worker_devices)
        return self._model.predict_alone([images] * here)[0]


def _predict(model, dataset, index, **options):
    """Predicts one image, and raises DataError if its file has another size than in the json."""
    path = os.path.join(getattr(dataset, "images", ""), dataset.file_names[index])
    source = path if os.path.exists(path) else dataset.load_image(index)
    orientation = Reading.of(dataset).orientation
    objects = predict_large(
        model, source, small="whole", orientation=orientation, verbose=0, **options
    )
    size = objects.record.height, objects.record.width
    if size != tuple(dataset.sizes[index]):
        raise DataError(
            f"{path}: the image must have the size of the annotations, "
            f"{tuple(map(int, dataset.sizes[index]))}. Received: size={size}."
        )
    return objects
