"""Detections → COCO results → pycocotools. Every metric is pycocotools' own number (§4).

Names are `bbox/AP` (averaged over IoU 0.50:0.95), `bbox/AP50`, `bbox/AP75`, `bbox/APs`, `bbox/APm`,
`bbox/APl` (small, medium, large), `bbox/AR1`, `bbox/AR10`, `bbox/AR100`, `bbox/ARs`, `bbox/ARm`,
`bbox/ARl`, and the same under `segm/`. As in pycocotools, -1 means that there was nothing to
average: no annotated object of that size, for instance.
"""

import contextlib
import io

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn import data
from keras_maskrcnn.detections import coco_results


def evaluate(model, dataset, *, batch_size=1, max_detections=100, per_class=False, verbose=1):
    """Runs the model over a data set and returns COCO's metrics.

    Args:
        model: MaskRCNN.
        dataset: data.CocoDataset.
        batch_size: int. Images per step and replica.
        max_detections: int above 10. Detections counted per image: COCO's 100, or more for
            crowded images. It should not exceed the model's `detections_per_image`.
        per_class: bool. Adds `bbox/AP/<class name>` and `segm/AP/<class name>`.
        verbose: 0 is silent, 1 shows a progress bar.

    Returns:
        dict name → float, see the module's docstring; only `bbox/` if the model has no mask
        branch. `AR100` is named after `max_detections`.
    """
    available = model.config.detections_per_image
    if available < max_detections:
        logging.warning(
            "The model returns at most %d detections per image (config.detections_per_image), "
            "fewer than max_detections=%d; recall may be lower than it could be.",
            available,
            max_detections,
        )
    results = predict_dataset(model, dataset, batch_size=batch_size, verbose=verbose)
    return evaluate_results(
        results,
        dataset.annotations,
        max_detections=max_detections,
        iou_types=("bbox", "segm") if model.config.task == "masks" else ("bbox",),
        image_ids=dataset.image_ids,
        category_ids=dataset.category_ids,
        per_class=per_class,
    )


def predict_dataset(model, dataset, *, batch_size=1, verbose=1):
    """Runs the model over a data set and returns COCO results.

    Only run lengths are kept, so memory is bounded by a batch. The model's cached
    `predict_function` is used: a second call does not trace again.

    Args:
        model, dataset, batch_size, verbose: as for `evaluate`.

    Returns:
        list of COCO results (`detections.coco_results`), in the order of the data set. Labels
        become the model's `config.category_ids`, or the data set's if the model has none.
    """
    config, strategy = model.config, model.distribute_strategy
    category_ids = tuple(config.category_ids) or tuple(dataset.category_ids)
    replicas = strategy.num_replicas_in_sync
    batches = data.batches(
        dataset,
        batch_size * replicas,
        training=False,
        min_side=config.image_min_side,
        max_side=config.image_max_side,
        targets=False,
        resize_rule=config.resize_rule,
        padding_multiple=config.padding_multiple,
    )
    model.make_predict_function()
    num_images = len(dataset.image_ids)
    progress = keras.utils.Progbar(num_images, verbose=verbose, unit_name="image")
    results, done = [], 0
    for batch in batches:
        count = len(batch["images"])
        if replicas > 1:
            batch = _distribute(strategy, batch)
        outputs = model.predict_function([batch])
        outputs = {name: np.asarray(value) for name, value in outputs.items()}
        for i in range(count):
            image_id, (height, width) = dataset.image_ids[done + i], dataset.sizes[done + i]
            results += coco_results(
                outputs, i, image_id, int(height), int(width), category_ids, config.mask_paste
            )
        done += count
        progress.update(done)
    if done != num_images:
        raise ValueError(
            "The batches must hold every image of the data set once. "
            f"Received: {done} images, expected {num_images}."
        )
    return results


def _distribute(strategy, batch):
    """Splits a batch over the replicas in order; repeats its last image to fill the last one.

    `experimental_distribute_dataset` would hand empty batches to some replicas at the end of the
    data set. Outputs come back concatenated, so the repeated images are simply not read.
    """
    replicas, count = strategy.num_replicas_in_sync, len(batch["images"])
    share = -(-count // replicas)
    indices = np.minimum(np.arange(replicas * share), count - 1).reshape(replicas, share)
    return strategy.experimental_distribute_values_from_function(
        lambda context: {
            name: tf.gather(value, indices[context.replica_id_in_sync_group])
            for name, value in batch.items()
        }
    )


def evaluate_results(
    results,
    annotations,
    *,
    max_detections=100,
    iou_types=("bbox", "segm"),
    image_ids=None,
    category_ids=None,
    per_class=False,
):
    """Compares COCO results with an annotation file.

    Args:
        results: list of COCO results with "bbox" and, for "segm", "segmentation"; may be empty.
        annotations: path of a COCO annotation file.
        max_detections: int above 10. Detections counted per image, COCO's 100 by default.
        iou_types: subset of ("bbox", "segm").
        image_ids: sequence of ints. Images to count; None for all of the file.
        category_ids: sequence of ints. Categories to count; None for all of the file.
        per_class: bool. Adds `bbox/AP/<class name>` and so on.

    Returns:
        dict name → float: twelve numbers per IoU type. 0 where nothing was found, -1 where nothing
        was to be found.

    Raises:
        ValueError: if `max_detections` is 10 or less: AR1 and AR10 are among the twelve.
    """
    if max_detections <= 10:
        raise ValueError(
            f"max_detections must exceed 10. Received: max_detections={max_detections}."
        )
    metrics = {}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        for iou_type in iou_types:
            truth = _load_annotations(annotations, iou_type)
            coco_eval = COCOeval(truth, _load_results(truth, results, iou_type), iou_type)
            if image_ids is not None:
                coco_eval.params.imgIds = sorted(image_ids)
            if category_ids is not None:
                coco_eval.params.catIds = sorted(category_ids)
            coco_eval.params.maxDets = [1, 10, max_detections]
            coco_eval.evaluate()
            coco_eval.accumulate()
            for name, value in _summarize(coco_eval, per_class).items():
                metrics[f"{iou_type}/{name}"] = value
    return metrics


def _load_annotations(path, iou_type):
    """Reads an annotation file, and mends what pycocotools stumbles over.

    - Ids become 1, 2, ...: COCOeval takes id 0 for "not matched", and wants numbers.
    - A missing "iscrowd" is 0, a missing "area" is the mask's, or else the box's.
    - Polygons of less than 3 points are left out; pycocotools would read 2 points as a box.
    - An object without outline cannot be judged by masks: then its box is a region to ignore, as
      crowds are.
    """
    truth = COCO(path)
    for i, annotation in enumerate(truth.dataset.get("annotations", [])):
        x, y, width, height = annotation["bbox"]
        outline, area = annotation.get("segmentation"), width * height
        if isinstance(outline, list):
            outline = [polygon for polygon in outline if len(polygon) >= 6]
        annotation["segmentation"] = outline
        annotation["iscrowd"] = annotation.get("iscrowd") or 0
        annotation["id"] = i + 1
        if outline and "area" not in annotation:
            area = float(coco_mask.area(truth.annToRLE(annotation)))
        if not outline and iou_type == "segm":
            annotation["iscrowd"] = 1
            right, bottom = x + width, y + height
            annotation["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]
        annotation.setdefault("area", area)
    truth.createIndex()
    return truth


def _load_results(truth, results, iou_type):
    """Makes the COCO object of results, with the fields that one IoU type needs.

    For masks the boxes are left out: COCO would take the area of the box for that of the mask, and
    count it among small, medium or large objects accordingly.
    """
    if not results:  # COCO.loadRes([]) raises
        loaded = COCO()
        loaded.dataset = {**truth.dataset, "annotations": []}
        loaded.createIndex()
        return loaded
    shape = {"bbox": "bbox", "segm": "segmentation"}[iou_type]
    names = ("image_id", "category_id", "score", shape)
    # A copy, for loadRes writes into its argument.
    return truth.loadRes([{name: result[name] for name in names} for result in results])


def _summarize(coco_eval, per_class):
    """Reads the twelve numbers of `COCOeval.summarize`, for any number of detections.

    `summarize` itself asks for 100 detections by name in its first row, and prints -1 when the
    evaluation ran with another number.
    """
    params = coco_eval.params
    precision = coco_eval.eval["precision"]  # (IoU, recall, class, area, max_detections)
    recall = coco_eval.eval["recall"]  # (IoU, class, area, max_detections)
    all_sizes, small, medium, large = range(4)  # params.areaRngLbl
    at_50, at_75 = (np.flatnonzero(np.isclose(params.iouThrs, iou)) for iou in (0.5, 0.75))
    metrics = {
        "AP": _mean(precision[..., all_sizes, -1]),
        "AP50": _mean(precision[at_50][..., all_sizes, -1]),
        "AP75": _mean(precision[at_75][..., all_sizes, -1]),
        "APs": _mean(precision[..., small, -1]),
        "APm": _mean(precision[..., medium, -1]),
        "APl": _mean(precision[..., large, -1]),
        **{
            f"AR{count}": _mean(recall[..., all_sizes, i]) for i, count in enumerate(params.maxDets)
        },
        "ARs": _mean(recall[..., small, -1]),
        "ARm": _mean(recall[..., medium, -1]),
        "ARl": _mean(recall[..., large, -1]),
    }
    if per_class:
        for i, category_id in enumerate(params.catIds):
            name = coco_eval.cocoGt.cats.get(category_id, {}).get("name", category_id)
            metrics[f"AP/{name}"] = _mean(precision[:, :, i, all_sizes, -1])
    return metrics


def _mean(values):
    """Averages what pycocotools could compute; -1 if there is nothing."""
    values = values[values > -1]
    return float(np.mean(values)) if values.size else -1.0


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates at the end of epochs and adds the numbers to the logs, as `val_segm/AP` and so on.

    Callbacks after it in the list see the numbers, so do History, the progress bar and
    TensorBoard: `EarlyStopping(monitor="val_segm/AP", mode="max")`. Keras cannot guess the mode.
    Epochs without evaluation have no entry in the logs.

    Args:
        dataset: data.CocoDataset.
        batch_size: int. Images per step and replica.
        max_detections: int above 10. Detections counted per image.
        every: int. Evaluates after every `every`-th epoch.
        prefix: str. Stands before each name.
        verbose: 0 is silent, 1 shows a progress bar.

    Raises:
        ValueError: if `every` is below 1.
    """

    def __init__(
        self, dataset, batch_size=1, max_detections=100, every=1, prefix="val_", verbose=0
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be positive. Received: every={every}.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.max_detections = max_detections
        self.every = every
        self.prefix = prefix
        self.verbose = verbose

    def on_epoch_end(self, epoch, logs=None):
        """Writes the numbers into `logs`, which Keras hands on to the next callback."""
        if logs is None or (epoch + 1) % self.every:
            return
        metrics = evaluate(
            self.model,
            self.dataset,
            batch_size=self.batch_size,
            max_detections=self.max_detections,
            verbose=self.verbose,
        )
        logs.update({self.prefix + name: value for name, value in metrics.items()})
