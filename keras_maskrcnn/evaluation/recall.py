"""Computes the average recall of proposals with pycocotools."""

import contextlib
import io
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn import data, distribution
from keras_maskrcnn.data.coco import CocoDataset, require_data_set
from keras_maskrcnn.evaluation.coco_objects import load_annotations, load_proposals
from keras_maskrcnn.evaluation.predicting import readable_images
from keras_maskrcnn.typing import Proposals


def average_recall(
    proposals: Proposals,
    dataset: CocoDataset,
    *,
    limits: Sequence[int] = (100, 1000),
    verbose: int = 1,
) -> dict[str, float]:
    """Compares proposals with the annotated boxes of all classes (FPN §5.1).

    pycocotools matches one image at a time, so memory is needed for the proposals of one image.

    Args:
        proposals: data.ProposalFile, or a dict that maps image ids to (boxes, scores): boxes (n, 4)
            [x1, y1, x2, y2] in pixels of the original image, scores (n,).
        dataset: data.CocoDataset.
        limits: sequence of int. Numbers of best proposals per image that count.
        verbose: int. 0 is silent, 1 shows a progress bar.

    Returns:
        dict of name to float, see `keras_maskrcnn.evaluation`. For each limit one number for all
            objects and three by object size. 0 if nothing was found, -1 if there was nothing to
            find.

    Raises:
        TypeError: if `dataset` is not a data set.
        ValueError: if a limit is not positive.
        DataError: if an image has no entry in `proposals`.
    """
    require_data_set(dataset, "image_ids")
    data.proposals.check_images(proposals, dataset.image_ids)
    progress = keras.utils.Progbar(len(dataset.image_ids), verbose=verbose, unit_name="image")

    def images():
        for index in readable_images(dataset):
            image_id = dataset.image_ids[index]
            yield image_id, *proposals.get(image_id)
            progress.add(1)

    return recall_of_images(images(), dataset, limits)


def recall_of_images(
    images: Iterable[tuple[int | str, np.ndarray, np.ndarray]],
    dataset: CocoDataset,
    limits: Sequence[int] = (100, 1000),
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, float]:
    """Computes `average_recall` for proposals that are given image by image.

    Args:
        images: iterable of (image id, boxes (n, 4), scores (n,)).
        dataset: data.CocoDataset.
        limits: sequence of int. As in `average_recall`.
        strategy: tf.distribute.Strategy. If it has several workers, each gives its own images, and
            all get the recall of all images.

    Returns:
        dict of name to float. As from `average_recall`.
    """
    if not limits or min(limits) < 1:
        raise ValueError(f"limits must be positive. Received: limits={limits}.")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco_eval = COCOeval(load_annotations(dataset.annotations, "bbox"), iouType="bbox")
    params = coco_eval.params
    params.useCats, params.catIds = 0, sorted(dataset.category_ids)
    params.maxDets = limits = sorted(limits)
    found = np.zeros([len(limits), len(params.areaRng), len(params.iouThrs)])
    annotated = np.zeros([len(params.areaRng), 1])
    for image_id, boxes, scores in images:
        with contextlib.redirect_stdout(io.StringIO()):
            coco_eval.cocoDt = load_proposals(boxes, scores, image_id, params.catIds[0])
            params.imgIds = [image_id]
            coco_eval.evaluate()
        for size, matches in enumerate(coco_eval.evalImgs):  # one for each area range
            if matches is not None:  # there are objects or proposals
                annotated[size] += np.count_nonzero(matches["gtIgnore"] == 0)
                hits = (matches["dtMatches"] > 0) & ~matches["dtIgnore"]
                for i, limit in enumerate(limits):
                    found[i, size] += np.count_nonzero(hits[:, :limit], axis=1)
    counts = distribution.gather(strategy, [[found.tolist(), annotated.tolist()]])
    found, annotated = (
        np.sum([np.array(x) for x in part], axis=0) for part in zip(*counts, strict=True)
    )
    recall = np.where(annotated > 0, found / np.maximum(annotated, 1), -1)
    return {
        f"bbox/AR{size}{limit}": float(np.mean(recall[i, area]))
        for i, limit in enumerate(limits)
        for area, size in enumerate(("", "s", "m", "l"))  # as params.areaRngLbl
    }
