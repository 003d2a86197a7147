"""Runs a model over a data set, image by image."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn import checks, data, distribution
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import check_on_error
from keras_maskrcnn.detections import coco_results
from keras_maskrcnn.distribution.replicas import part_of_batch
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.typing import OnError, Proposals


def predict_dataset(
    model: MaskRCNN,
    dataset: CocoDataset,
    *,
    batch_size: int = 1,
    proposals: Proposals | None = None,
    verbose: int = 1,
    on_error: OnError = "raise",
) -> list[dict[str, Any]]:
    """Runs the model over a data set and returns COCO results.

    Only run lengths are kept, so memory is bounded by a batch. The model's cached
    `predict_function` is used: a second call does not trace again.

    Args:
        model, dataset, batch_size, proposals, verbose, on_error: as for `evaluate`.

    Returns:
        list of COCO results (`detections.coco_results`), in the order of the data set. Labels
        become the model's `config.category_ids`, or the data set's if the model has none.
    """
    config = model.config
    category_ids = tuple(config.category_ids) or tuple(dataset.category_ids)
    this_worker, workers = distribution.worker(model.distribute_strategy)
    images = predict_images(model, dataset, batch_size, proposals, verbose, on_error)
    found = []  # (index, COCO results) of the images that are this worker's share
    for index, outputs, row in images:
        if index % workers == this_worker:
            image_id, (height, width) = dataset.image_ids[index], dataset.sizes[index]
            results = coco_results(
                outputs, row, image_id, int(height), int(width), category_ids, config.mask_paste
            )
            found.append((index, results))
    found = sorted(distribution.gather(model.distribute_strategy, found))
    return [result for _, results in found for result in results]


def predict_images(
    model: MaskRCNN,
    dataset: CocoDataset,
    batch_size: int,
    proposals: Proposals | None,
    verbose: int,
    on_error: OnError,
) -> Iterator[tuple[int, dict[str, np.ndarray], int]]:
    """Runs the model over a data set, batch by batch in its order.

    Args:
        model, dataset, batch_size, proposals, verbose, on_error: as for `evaluate`.

    Yields:
        for each image but those that `on_error="skip"` leaves out: its index in the data set; the
        outputs of its batch, NumPy arrays; its row in them.
    """
    config, strategy = model.config, model.distribute_strategy
    check_on_error(on_error)
    checks.check_given_proposals(config.proposals, proposals)
    with_blanks = _WithBlanks(dataset) if on_error == "skip" else None
    batches = data.batches(
        dataset if with_blanks is None else with_blanks,
        batch_size * strategy.num_replicas_in_sync,
        training=False,
        targets=False,
        proposals=proposals,
        max_proposals=config.test_proposals,
        **config.resizing(),
    )
    model.make_predict_function()
    num_images = len(dataset.image_ids)
    progress = keras.utils.Progbar(num_images, verbose=verbose, unit_name="image")
    done = 0
    with checks.plain_errors():
        for batch in batches:
            count = len(batch["images"])
            if strategy.num_replicas_in_sync > 1:
                batch = _distribute(strategy, batch, config.padding_multiple)
            outputs = model.predict_function([batch])
            outputs = {name: np.asarray(value) for name, value in outputs.items()}
            for row in range(count):
                if with_blanks is None or done + row not in with_blanks.blank:
                    yield done + row, outputs, row
            done += count
            progress.update(done)
    if done != num_images:
        raise ValueError(
            "The batches must hold every image of the data set once. "
            f"Received: {done} images, expected {num_images}."
        )


def readable_images(dataset: CocoDataset) -> Sequence[int]:
    """Returns the indices of the images that no run left out."""
    skipped = getattr(dataset, "skipped", {})
    if not skipped:
        return range(len(dataset.image_ids))
    return [i for i, name in enumerate(dataset.file_names) if name not in skipped]


class _WithBlanks:
    """A data set in which a blank image takes the place of one that cannot be read."""

    def __init__(self, dataset):
        self._dataset, self.blank = dataset, set()

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def __len__(self):
        return len(self._dataset)

    def load_image(self, index):
        """Reads an image; or logs why not, and counts it."""
        dataset = self._dataset
        try:
            return dataset.load_image(index)
        except data.DataError as error:
            logging.warning("left out: %s", error)
            name = dataset.file_names[index]
            dataset.skipped[name] = dataset.skipped.get(name, 0) + 1
            self.blank.add(index)
            if len(self.blank) == len(dataset):
                raise data.DataError(f"none of {len(dataset)} images can be read.") from error
            return np.zeros([*dataset.sizes[index], 3], np.uint8)


def _distribute(strategy, batch, padding_multiple):
    """Splits a batch over the replicas in order; repeats its last image to fill the last ones.

    `experimental_distribute_dataset` would hand empty batches to some replicas at the end of the
    data set. Outputs come back concatenated, so the repeated images are simply not read.
    """
    part = functools.partial(part_of_batch, strategy)
    replicas, count = strategy.num_replicas_in_sync, len(batch["images"])
    share = -(-count // replicas)
    indices = np.minimum(np.arange(replicas * share), count - 1).reshape(replicas, share)

    def values(context):
        rows = indices[part(context.replica_id_in_sync_group)]
        own = {name: tf.gather(value, rows) for name, value in batch.items()}
        # Without the padding that only other replicas' images need, and that biases would fill.
        height, width = np.max(own["sizes"], axis=0)
        images = own["images"][:, :height, :width]
        return {**own, "images": image_ops.pad_to_multiple(images, padding_multiple)}

    return strategy.experimental_distribute_values_from_function(values)
