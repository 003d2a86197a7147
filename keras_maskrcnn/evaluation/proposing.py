"""Runs an RPN over a data set and stores its proposals."""

from collections.abc import Iterator

import numpy as np

from keras_maskrcnn import data, distribution
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.proposals import ProposalFile
from keras_maskrcnn.evaluation.dataset_checks import check_dataset
from keras_maskrcnn.evaluation.predicting import predict_images
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.runtime import ExportedModel
from keras_maskrcnn.typing import OnError, Path


def propose(
    model: MaskRCNN | ExportedModel,
    dataset: CocoDataset,
    path: Path,
    *,
    batch_size: int = 1,
    overwrite: bool = False,
    verbose: int = 1,
    on_error: OnError = "raise",
) -> ProposalFile:
    """Runs an RPN over a data set and writes its proposals into a folder (docs/proposals.md).

    Args:
        model: MaskRCNN or `runtime.ExportedModel` with task="proposals".
        dataset: data.CocoDataset.
        path: str or PathLike. The folder.
        batch_size: int. Images per step and replica, as in `evaluate`.
        overwrite: bool. Whether to replace proposals that the folder holds.
        verbose: int. 0 is silent, 1 shows a progress bar.
        on_error: str. "raise" or "skip", as in `evaluate`. A skipped image gets 0 proposals.

    Returns:
        data.ProposalFile, as from `data.read_proposals`.

    Raises:
        FileExistsError: if the folder holds proposals and `overwrite` is False.
        TypeError: if `dataset` is not a data set.
        ValueError: if the model has another task, the data set does not fit it, or there are
            several workers.
    """
    if model.config.task != "proposals":
        raise ValueError(
            f"the model must have task='proposals'. Received: task={model.config.task!r}."
        )
    check_dataset(model, dataset)
    if distribution.worker(getattr(model, "distribute_strategy", None))[1] > 1:
        raise ValueError("propose must run in a single process. Received: several workers.")
    with data.ProposalWriter(path, dataset.image_ids, overwrite=overwrite) as writer:
        ids, nothing = iter(dataset.image_ids), (np.zeros([0, 4]), np.zeros([0]))
        found = proposals_of_images(model, dataset, batch_size, verbose, on_error)
        for found_id, boxes, scores in found:
            for image_id in ids:
                writer.add(image_id, *((boxes, scores) if image_id == found_id else nothing))
                if image_id == found_id:
                    break
        for image_id in ids:
            writer.add(image_id, *nothing)
    return data.read_proposals(path)


def proposals_of_images(
    model: MaskRCNN | ExportedModel,
    dataset: CocoDataset,
    batch_size: int,
    verbose: int,
    on_error: OnError,
) -> Iterator[tuple[int | str, np.ndarray, np.ndarray]]:
    """Runs an RPN over a data set. Yields the id, boxes (n, 4) and scores (n,) of each image."""
    for index, outputs, row in predict_images(model, dataset, batch_size, None, verbose, on_error):
        count = outputs["num_proposals"][row]
        boxes, scores = outputs["boxes"][row][:count], outputs["scores"][row][:count]
        yield dataset.image_ids[index], boxes, scores
