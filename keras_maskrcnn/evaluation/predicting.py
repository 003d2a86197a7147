"""Runs a model over a data set, image by image."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn import checks, data, distribution, shares
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import CocoDataset, require_data_set
from keras_maskrcnn.data.errors import check_on_error
from keras_maskrcnn.detections import coco_results
from keras_maskrcnn.distribution.replicas import part_of_batch
from keras_maskrcnn.evaluation.by_tiles import predict_by_tiles
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.runtime import ExportedModel
from keras_maskrcnn.typing import OnError, Proposals, Size


def predict_dataset(
    model: MaskRCNN | ExportedModel,
    dataset: CocoDataset,
    *,
    batch_size: int = 1,
    proposals: Proposals | None = None,
    verbose: int = 1,
    on_error: OnError = "raise",
    tile: int | Size | None = None,
    overlap: int | Size | None = None,
) -> list[dict[str, Any]]:
    """Runs the model over a data set and returns COCO results.

    Masks are kept as run lengths, so memory for images and masks is that of one batch. A second
    call does not trace again, because the model's cached `predict_function` is used.

    Args:
        model: MaskRCNN or ExportedModel.
        dataset: data.CocoDataset.
        batch_size: int. As in `evaluate`.
        proposals: data.ProposalFile, for a model without an RPN.
        verbose: int. As in `evaluate`.
        on_error: str. As in `evaluate`.
        tile, overlap: int, or (height, width). As in `evaluate`.

    Returns:
        list of COCO results (`detections.coco_results`), in the order of the data set. Labels
            become the category ids of the model's config, or of the data set if the config has
            none.

    Raises:
        TypeError: if `dataset` is not a data set.
    """
    require_data_set(dataset, "image_ids")
    if tile is not None:
        return predict_by_tiles(
            model,
            dataset,
            tile=tile,
            overlap=overlap,
            batch_size=batch_size,
            verbose=verbose,
            on_error=on_error,
        )
    config = model.config
    category_ids = tuple(config.category_ids) or tuple(dataset.category_ids)
    strategy = getattr(model, "distribute_strategy", None)
    images = predict_images(model, dataset, batch_size, proposals, verbose, on_error)
    found = []  # (index, COCO results) of this worker's share of the images
    for index, outputs, row in images:
        image_id, (height, width) = dataset.image_ids[index], dataset.sizes[index]
        results = coco_results(
            outputs, row, image_id, int(height), int(width), category_ids, config.mask_paste
        )
        found.append((index, results))
    found = sorted(distribution.gather(strategy, found))
    return [result for _, results in found for result in results]


def predict_images(
    model: MaskRCNN | ExportedModel,
    dataset: CocoDataset,
    batch_size: int,
    proposals: Proposals | None,
    verbose: int,
    on_error: OnError,
) -> Iterator[tuple[int, dict[str, np.ndarray], int]]:
    """Runs the model over a data set, batch by batch, in the order of the data set.

    Under a strategy of several workers, each reads and yields its share of the images.

    Args:
        model: MaskRCNN or ExportedModel.
        dataset: data.CocoDataset.
        batch_size: int. As in `evaluate`.
        proposals: data.ProposalFile or None. As in `evaluate`.
        verbose: int. As in `evaluate`.
        on_error: str. As in `evaluate`. With "skip", unreadable images are not yielded.

    Yields:
        For each image: its index in the data set; the outputs of its batch as NumPy arrays; and its
            row in them.
    """
    check_on_error(on_error)
    checks.check_given_proposals(model.config.proposals, proposals)
    whole = isinstance(model, ExportedModel)
    checks.check_reading(dataset, model.config.reading(), whole=whole)
    with_blanks = _WithBlanks(dataset) if on_error == "skip" else None
    readable: Any = dataset if with_blanks is None else with_blanks
    if isinstance(model, ExportedModel):
        images = _images_of_exported(model, readable, batch_size, verbose)
    else:
        images = _images_of_model(model, readable, batch_size, proposals, verbose)
    strategy = getattr(model, "distribute_strategy", None)
    with shares.failing_together(strategy):
        for index, outputs, row in images:
            if with_blanks is None or index not in with_blanks.blank:
                yield index, outputs, row
    if with_blanks is not None:
        _join_blanks(strategy, dataset, with_blanks.blank)


def _images_of_model(model, dataset, batch_size, proposals, verbose):
    """Does what `predict_images` does, for a model and a data set whose images can be read."""
    config, strategy = model.config, model.distribute_strategy
    size = batch_size * strategy.num_replicas_in_sync
    batches = data.batches(
        dataset,
        size,
        training=False,
        targets=False,
        proposals=proposals,
        max_proposals=config.test_proposals,
        **config.resizing(),
    )
    _, workers = distribution.worker(strategy)
    num_images = len(dataset.image_ids)
    progress = keras.utils.Progbar(num_images, verbose=verbose, unit_name="image")
    done = 0
    with checks.plain_errors():
        for outputs, indices in (_outputs_of_worker if workers > 1 else _outputs)(model, batches):
            for row, index in enumerate(indices):
                yield index, outputs, row
            done += len(indices)
            progress.update(min(done * workers, num_images))
    if workers == 1 and done != num_images:
        raise ValueError(
            "the batches must hold every image of the data set once. "
            f"Received: {done} images, expected {num_images}."
        )


def _images_of_exported(model, dataset, batch_size, verbose):
    """Does what `predict_images` does, for an exported model, which resizes images itself."""
    if batch_size != 1:
        raise ValueError(
            "an exported model gets its images one by one, each in its own size. "
            f"Received: batch_size={batch_size}."
        )
    count = len(dataset.image_ids)
    progress = keras.utils.Progbar(count, verbose=verbose, unit_name="image")
    for index in range(count):
        image = dataset.load_image(index)
        yield index, model.predict_on_batch(image[None]), 0
        progress.update(index + 1)


def _join_blanks(strategy, dataset, blank):
    """Tells all workers which images could not be read; DataError if that is all of them."""
    shares.join_skipped(strategy, dataset)
    if sum(distribution.gather(strategy, [len(blank)])) == len(dataset):
        raise data.DataError(f"none of {len(dataset)} images can be read.")


def readable_images(dataset: CocoDataset) -> Sequence[int]:
    """Returns the indices of all images that are not in `dataset.skipped`."""
    skipped = getattr(dataset, "skipped", {})
    if not skipped:
        return range(len(dataset.image_ids))
    return [i for i, name in enumerate(dataset.file_names) if name not in skipped]


class _WithBlanks:
    """A data set that replaces images that cannot be read by blank ones."""

    def __init__(self, dataset):
        self._dataset, self.blank = dataset, set()

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def __len__(self):
        return len(self._dataset)

    def load_image(self, index):
        """Reads an image. If that fails, logs why and returns a blank image."""
        dataset = self._dataset
        try:
            return dataset.load_image(index)
        except data.DataError as error:
            logging.warning("left out: %s", error)
            name = dataset.file_names[index]
            dataset.skipped[name] = dataset.skipped.get(name, 0) + 1
            self.blank.add(index)
            reading = Reading.of(dataset)
            return np.zeros([*dataset.sizes[index], reading.channels], reading.image_dtype)


def _outputs(model, batches):
    """Yields the outputs of each batch, and the indices of the images in their first rows."""
    strategy, done = model.distribute_strategy, 0
    model.make_predict_function()
    for batch in batches:
        count = len(batch["images"])
        if strategy.num_replicas_in_sync > 1:
            batch = _distribute(strategy, batch, model.config.padding_multiple)
        outputs = model.predict_function([batch])
        yield {name: np.asarray(x) for name, x in outputs.items()}, range(done, done + count)
        done += count


def _outputs_of_worker(model, batches):
    """Does what `_outputs` does, for the images that this worker reads."""
    multiple = model.config.padding_multiple
    for parts, indices in shares.steps_of_worker(model.distribute_strategy, batches):
        found = model.predict_alone([_without_padding(part, multiple) for part in parts])
        outputs = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        yield outputs, indices.tolist()


def _distribute(strategy, batch, padding_multiple):
    """Splits a batch over the replicas in order, and repeats its last image to fill the last ones.

    `experimental_distribute_dataset` would give some replicas empty batches at the end of the data
    set. Outputs come back concatenated, so the outputs of repeated images are at the end and are
    ignored.
    """
    part = functools.partial(part_of_batch, strategy)
    replicas, count = strategy.num_replicas_in_sync, len(batch["images"])
    share = -(-count // replicas)
    indices = np.minimum(np.arange(replicas * share), count - 1).reshape(replicas, share)

    def values(context):
        rows = indices[part(context.replica_id_in_sync_group)]
        own = {name: tf.gather(value, rows) for name, value in batch.items()}
        return _without_padding(own, padding_multiple)

    return strategy.experimental_distribute_values_from_function(values)


def _without_padding(batch, padding_multiple):
    """Removes the padding of a replica's images that only the images of other replicas need.

    Convolutions with biases would not keep it at zero.
    """
    height, width = np.max(batch["sizes"], axis=0)
    if not height:  # nothing but rows without images: convolutions still need a pixel
        return batch
    images = batch["images"][:, :height, :width]
    return {**batch, "images": image_ops.pad_to_multiple(images, padding_multiple)}
