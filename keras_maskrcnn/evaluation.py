"""Detections → COCO results → pycocotools. Every metric is pycocotools' own number (§4).

Names are `bbox/AP` (averaged over IoU 0.50:0.95), `bbox/AP50`, `bbox/AP75`, `bbox/APs`, `bbox/APm`,
`bbox/APl` (small, medium, large), `bbox/AR1`, `bbox/AR10`, `bbox/AR100`, `bbox/ARs`, `bbox/ARm`,
`bbox/ARl`, and the same under `segm/`. As in pycocotools, -1 means that there was nothing to
average: no annotated object of that size, for instance.

Proposals have no class; theirs are `bbox/AR100` and `bbox/AR1000`, recall averaged over the same
IoU among the best 100 or 1000 of an image, and `bbox/ARs100`, `bbox/ARm100`, ... by object size.
"""

import collections
import contextlib
import copy
import functools
import io
import reprlib

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn import checks, data, distribution
from keras_maskrcnn.data.coco import (
    compare_names,
    has_area,
    long_polygons,
    read_json,
    read_segmentation,
    require_instances,
    source_of,
)
from keras_maskrcnn.data.images import DataError
from keras_maskrcnn.data.pipeline import check_positive
from keras_maskrcnn.detections import coco_box, coco_results
from keras_maskrcnn.model import LOSSES
from keras_maskrcnn.ops import images as image_ops


def evaluate(
    model,
    dataset,
    *,
    batch_size=1,
    max_detections=100,
    per_class=False,
    proposals=None,
    verbose=1,
    on_error="raise",
):
    """Runs the model over a data set and returns COCO's metrics.

    Under a strategy the images are divided among the replicas. Several workers must all call it,
    and all get the same numbers.

    Args:
        model: MaskRCNN.
        dataset: data.CocoDataset.
        batch_size: int. Images per step and replica. Those of one batch share a canvas, which
            moves detections a little (docs/serving.md); with 1 each has its own.
        max_detections: int above 10. Detections counted per image: COCO's 100, or more for
            crowded images. It should not exceed the model's `detections_per_image`.
        per_class: bool. Adds `bbox/AP/<class name>` and `segm/AP/<class name>`.
        proposals: data.ProposalFile, for a model that has no RPN.
        verbose: 0 is silent, 1 shows a progress bar.
        on_error: what becomes of an image that cannot be read: "raise", or "skip": the numbers are
            without it; it is logged, and named in `dataset.skipped`.

    Returns:
        dict name → float, see the module's docstring; only `bbox/` if the model has no mask
        branch. `AR100` is named after `max_detections`. For an RPN alone, what `average_recall`
        returns of its proposals.

    Raises:
        ValueError: if the data set has no masks and the model has, or (DataError) no instance, or
            a class of it had another name in training.
    """
    check_positive(batch_size=batch_size)
    _check_limit(max_detections)
    _check(model, dataset)
    if model.config.task == "proposals":
        return _average_recall(_proposed(model, dataset, batch_size, verbose, on_error), dataset)
    available = model.config.detections_per_image
    if available < max_detections:
        logging.warning(
            "The model returns at most %d detections per image (config.detections_per_image), "
            "fewer than max_detections=%d; recall may be lower than it could be.",
            available,
            max_detections,
        )
    results = predict_dataset(
        model,
        dataset,
        batch_size=batch_size,
        proposals=proposals,
        verbose=verbose,
        on_error=on_error,
    )
    return evaluate_results(
        results,
        dataset.annotations,
        max_detections=max_detections,
        iou_types=("bbox", "segm") if model.config.task == "masks" else ("bbox",),
        image_ids=[dataset.image_ids[index] for index in _readable(dataset)],
        category_ids=dataset.category_ids,
        class_names=_class_names(model, dataset),
        per_class=per_class,
    )


def _check(model, dataset):
    """Raises what `evaluate` does of a data set that is not for the model."""
    config, where = model.config, source_of(dataset)
    require_instances(dataset)
    if config.task == "masks" and not getattr(dataset, "has_masks", True):
        raise ValueError(
            f"{where}: a model with task='masks' needs masks. Received: a data set read with"
            " masks=False."
        )
    ids = tuple(config.category_ids) or tuple(dataset.category_ids)
    if len(ids) != config.num_classes and config.task != "proposals":
        raise ValueError(
            f"{where}: the data set must have the model's {config.num_classes} classes; read it"
            f" with category_ids=[...]. Received: {len(ids)} classes."
        )
    known = dataset.category_ids if config.task == "proposals" else ids  # an RPN has no classes
    labels = np.unique(getattr(dataset, "labels", []))
    foreign = [i for i in (dataset.category_ids[k - 1] for k in labels) if i not in known]
    if foreign:  # which the model cannot find
        raise ValueError(
            f"{where}: the model has the category ids {reprlib.repr(ids)}; read the data set with"
            f" category_ids=model.config.category_ids. Received: category_id={foreign[0]}."
        )
    if config.class_names and len(ids) == config.num_classes:
        names = getattr(dataset, "class_names", ())
        names = dict(zip(dataset.category_ids, names, strict=False))
        compare_names(names, dict(zip(ids, config.class_names, strict=True)), where)


def _class_names(model, dataset):
    """The names of the data set's classes; where its json has none, the model's."""
    config, names = model.config, getattr(dataset, "class_names", None)
    if names is None:
        return None
    known = dict(zip(config.category_ids, config.class_names, strict=False))
    pairs = zip(dataset.category_ids, names, strict=False)
    return [
        known.get(identity, name) if name == str(identity) else name for identity, name in pairs
    ]


def predict_dataset(model, dataset, *, batch_size=1, proposals=None, verbose=1, on_error="raise"):
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
    found = []  # (index, COCO results) of the images that are this worker's share
    for index, outputs, row in _predict(model, dataset, batch_size, proposals, verbose, on_error):
        if index % workers == this_worker:
            image_id, (height, width) = dataset.image_ids[index], dataset.sizes[index]
            results = coco_results(
                outputs, row, image_id, int(height), int(width), category_ids, config.mask_paste
            )
            found.append((index, results))
    found = sorted(distribution.gather(model.distribute_strategy, found))
    return [result for _, results in found for result in results]


def propose(model, dataset, path, *, batch_size=1, overwrite=False, verbose=1, on_error="raise"):
    """Runs an RPN over a data set and writes its proposals into a folder (docs/proposals.md).

    Args:
        model: MaskRCNN with task="proposals".
        dataset: data.CocoDataset.
        path: str. The folder.
        batch_size, verbose: as for `evaluate`.
        overwrite: bool. Whether to remove proposals that the folder holds.
        on_error: as for `evaluate`; an image that was left out has 0 proposals.

    Returns:
        data.ProposalFile, what `data.read_proposals` makes of the folder.

    Raises:
        FileExistsError: if the folder holds proposals that may not be removed.
        ValueError: if the model detects, instead of proposing, or there are several workers.
    """
    if model.config.task != "proposals":
        raise ValueError(
            f"the model must have task='proposals'. Received: task={model.config.task!r}."
        )
    _check(model, dataset)
    if distribution.worker(model.distribute_strategy)[1] > 1:
        raise ValueError("proposals are written by one process. Received: several workers.")
    with data.ProposalWriter(path, dataset.image_ids, overwrite=overwrite) as writer:
        ids, nothing = iter(dataset.image_ids), (np.zeros([0, 4]), np.zeros([0]))
        for found, boxes, scores in _proposed(model, dataset, batch_size, verbose, on_error):
            for image_id in ids:
                writer.add(image_id, *((boxes, scores) if image_id == found else nothing))
                if image_id == found:
                    break
        for image_id in ids:
            writer.add(image_id, *nothing)
    return data.read_proposals(path)


def _proposed(model, dataset, batch_size, verbose, on_error):
    """Runs an RPN over a data set; yields the id, boxes (n, 4) and scores (n,) of each image."""
    for index, outputs, row in _predict(model, dataset, batch_size, None, verbose, on_error):
        count = outputs["num_proposals"][row]
        boxes, scores = outputs["boxes"][row][:count], outputs["scores"][row][:count]
        yield dataset.image_ids[index], boxes, scores


def _readable(dataset):
    """The places of the images that no run left out."""
    skipped = getattr(dataset, "skipped", {})
    if not skipped:
        return range(len(dataset.image_ids))
    return [i for i, name in enumerate(dataset.file_names) if name not in skipped]


class _Blank:
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


def _predict(model, dataset, batch_size, proposals, verbose, on_error):
    """Runs the model over a data set, image by image in its order.

    Those that `on_error="skip"` leaves out are not among them.

    Yields:
        the image's index in the data set; the outputs of its batch, NumPy arrays; its row in them.
    """
    config, strategy = model.config, model.distribute_strategy
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip'. Received: on_error={on_error!r}.")
    read = _Blank(dataset) if on_error == "skip" else dataset
    if (config.proposals == "precomputed") != (proposals is not None):
        raise ValueError(
            "proposals belong to a model without an RPN, and only to such a one. Received: a model "
            f"with proposals={config.proposals!r}, and {'no' if proposals is None else 'some'}."
        )
    replicas = strategy.num_replicas_in_sync
    batches = data.batches(
        read,
        batch_size * replicas,
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
            if replicas > 1:
                batch = _distribute(strategy, batch, config.padding_multiple)
            outputs = model.predict_function([batch])
            outputs = {name: np.asarray(value) for name, value in outputs.items()}
            for row in range(count):
                if read is dataset or done + row not in read.blank:
                    yield done + row, outputs, row
            done += count
            progress.update(done)
    if done != num_images:
        raise ValueError(
            "The batches must hold every image of the data set once. "
            f"Received: {done} images, expected {num_images}."
        )


def _distribute(strategy, batch, padding_multiple):
    """Splits a batch over the replicas in order; repeats its last image to fill the last ones.

    `experimental_distribute_dataset` would hand empty batches to some replicas at the end of the
    data set. Outputs come back concatenated, so the repeated images are simply not read.
    """
    part = functools.partial(distribution.part_of_batch, strategy)
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


def evaluate_results(
    results,
    annotations,
    *,
    max_detections=100,
    iou_types=("bbox", "segm"),
    image_ids=None,
    category_ids=None,
    class_names=None,
    per_class=False,
):
    """Compares COCO results with an annotation file.

    Args:
        results: list of COCO results with "bbox" and, for "segm", "segmentation"; may be empty.
        annotations: path of a COCO annotation file, or its content.
        max_detections: int above 10. Detections counted per image, COCO's 100 by default.
        iou_types: subset of ("bbox", "segm").
        image_ids: sequence of ints. Images to count; None for all of the file.
        category_ids: sequence of ints. Categories to count; None for all of the file.
        class_names: sequence of str, their names in training; None for any.
        per_class: bool. Adds `bbox/AP/<class name>` and so on.

    Returns:
        dict name → float: twelve numbers per IoU type. 0 where nothing was found, -1 where nothing
        was to be found.

    Raises:
        ValueError: if `max_detections` is 10 or less: AR1 and AR10 are among the twelve; or
            (DataError) a category of the file has another name than in training.
    """
    _check_limit(max_detections)
    metrics = {}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        for iou_type in iou_types:
            truth = _load_annotations(annotations, iou_type)
            names = {i: category.get("name", str(i)) for i, category in truth.cats.items()}
            if class_names:
                ids = sorted(names) if category_ids is None else category_ids
                known = dict(zip(ids, class_names, strict=True))
                where = annotations if isinstance(annotations, str) else "annotations"
                compare_names(names, known, where)
                names |= known
            coco_eval = COCOeval(truth, _load_results(truth, results, iou_type), iou_type)
            if image_ids is not None:
                coco_eval.params.imgIds = sorted(image_ids)
            if category_ids is not None:
                coco_eval.params.catIds = sorted(category_ids)
            coco_eval.params.maxDets = [1, 10, max_detections]
            coco_eval.evaluate()
            coco_eval.accumulate()
            for name, value in _summarize(coco_eval, names if per_class else None).items():
                metrics[f"{iou_type}/{name}"] = value
    return metrics


def average_recall(proposals, dataset, *, limits=(100, 1000), verbose=1):
    """Compares proposals with the annotated boxes, whatever their class (FPN §5.1).

    pycocotools matches image by image, so memory is bounded by the proposals of one.

    Args:
        proposals: data.ProposalFile, or a dict of image id to boxes (n, 4) [x1, y1, x2, y2] in
            pixels of the original image and scores (n,).
        dataset: data.CocoDataset.
        limits: sequence of int. Of each image that many proposals count, the best.
        verbose: 0 is silent, 1 shows a progress bar.

    Returns:
        dict name → float, see the module's docstring: for each limit one number for all objects
        and three by size; 0 where nothing was found, -1 where nothing was to be found.

    Raises:
        ValueError: if a limit is not positive, or (DataError) an image has no proposals.
    """
    data.proposals.check_images(proposals, dataset.image_ids)
    progress = keras.utils.Progbar(len(dataset.image_ids), verbose=verbose, unit_name="image")

    def images():
        for index in _readable(dataset):
            image_id = dataset.image_ids[index]
            yield image_id, *proposals.get(image_id)
            progress.add(1)

    return _average_recall(images(), dataset, limits)


def _average_recall(images, dataset, limits=(100, 1000)):
    """`average_recall` of an iterable of each image's id, boxes (n, 4) and scores (n,)."""
    if not limits or min(limits) < 1:
        raise ValueError(f"limits must be positive. Received: limits={limits}.")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco_eval = COCOeval(_load_annotations(dataset.annotations, "bbox"), iouType="bbox")
    params = coco_eval.params
    params.useCats, params.catIds = 0, sorted(dataset.category_ids)
    params.maxDets = limits = sorted(limits)
    found = np.zeros([len(limits), len(params.areaRng), len(params.iouThrs)])
    annotated = np.zeros([len(params.areaRng), 1])
    for image_id, boxes, scores in images:
        with contextlib.redirect_stdout(io.StringIO()):
            coco_eval.cocoDt = _class_agnostic(boxes, scores, image_id, params.catIds[0])
            params.imgIds = [image_id]
            coco_eval.evaluate()
        for size, matches in enumerate(coco_eval.evalImgs):  # one for each area range
            if matches is not None:  # there are objects or proposals
                annotated[size] += np.count_nonzero(matches["gtIgnore"] == 0)
                hits = (matches["dtMatches"] > 0) & ~matches["dtIgnore"]
                for i, limit in enumerate(limits):
                    found[i, size] += np.count_nonzero(hits[:, :limit], axis=1)
    recall = np.where(annotated > 0, found / np.maximum(annotated, 1), -1)
    return {
        f"bbox/AR{size}{limit}": float(np.mean(recall[i, area]))
        for i, limit in enumerate(limits)
        for area, size in enumerate(("", "s", "m", "l"))  # as params.areaRngLbl
    }


def _class_agnostic(boxes, scores, image_id, category_id):
    """Makes the COCO object of one image's proposals; `COCO.loadRes` would copy every image."""
    annotations = []
    for i, (box, score) in enumerate(zip(np.asarray(boxes, np.float64), scores, strict=True)):
        result = coco_box(box, score, 1, [category_id])
        area = result["bbox"][2] * result["bbox"][3]
        annotations.append({"id": i + 1, "image_id": image_id, "area": area, **result})
    return _detections(annotations)


def _detections(annotations):
    """Makes a COCO object of detections that have all its fields."""
    loaded = COCO()
    loaded.dataset = {"annotations": annotations}
    loaded.createIndex()
    return loaded


def _load_annotations(annotations, iou_type):
    """Takes an annotation file, or its content, and mends what pycocotools stumbles over.

    - Ids become 1, 2, ...: COCOeval takes id 0 for "not matched", and wants numbers.
    - A missing "iscrowd" is 0. An "area" that is missing, or that no object can have, is the
      mask's, or else the box's.
    - Polygons of less than 3 points are left out; pycocotools would read 2 points as a box.
    - An object without outline cannot be judged by masks: then its box is a region to ignore, as
      crowds are.

    A field that is missing beside these is a DataError.
    """
    given = isinstance(annotations, dict)
    where = "annotations" if given else annotations
    truth = COCO()
    truth.dataset = copy.deepcopy(annotations) if given else read_json(annotations)
    sizes = {
        image["id"]: (image.get("height"), image.get("width"))
        for image in truth.dataset.get("images", [])
    }
    for i, annotation in enumerate(truth.dataset.get("annotations", [])):
        for key in ("image_id", "category_id", "bbox"):
            if annotation.get(key) is None:
                raise DataError(f"{where}: annotation {annotation.get('id')!r}: {key} is missing.")
        x, y, width, height = annotation["bbox"]
        outline = annotation.get("segmentation")
        if isinstance(outline, list):
            outline = long_polygons(outline)
        annotation["segmentation"] = outline
        annotation["iscrowd"] = annotation.get("iscrowd") or 0
        annotation["id"] = i + 1
        if not has_area(annotation):
            area = _mask_area(outline, sizes.get(annotation["image_id"]))
            annotation["area"] = width * height if area is None else area
        if not outline and iou_type == "segm":
            annotation["iscrowd"] = 1
            right, bottom = x + width, y + height
            annotation["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]
    truth.createIndex()
    return truth


def _mask_area(outline, size):
    """The pixels that an outline covers; None if there is none, or it cannot be read."""
    if not outline or size is None:
        return None
    try:
        counts, _ = read_segmentation(outline, *size, "")
    except (DataError, TypeError):  # boxes are all that is needed, or pycocotools will name it
        return None
    return float(coco_mask.area({"size": size, "counts": counts}))


def _load_results(truth, results, iou_type):
    """Makes the COCO object of results, with the fields that one IoU type needs.

    For masks the boxes are left out: COCO would take the area of the box for that of the mask, and
    count it among small, medium or large objects accordingly.
    """
    if not results:  # COCO.loadRes([]) raises
        return _detections([])
    shape = {"bbox": "bbox", "segm": "segmentation"}[iou_type]
    names = ("image_id", "category_id", "score", shape)
    # A copy, for loadRes writes into its argument.
    return truth.loadRes([{name: result[name] for name in names} for result in results])


def _summarize(coco_eval, names):
    """Reads the twelve numbers of `COCOeval.summarize`, for any number of detections; and with
    `names`, a dict of category id to name, the AP of each class.

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
    if names is not None:
        counts = collections.Counter(names.get(i, str(i)) for i in params.catIds)
        for i, category_id in enumerate(params.catIds):
            name = names.get(category_id, str(category_id))
            if counts[name] > 1:  # the other's number would be lost
                name = f"{name} ({category_id})"
            metrics[f"AP/{name}"] = _mean(precision[:, :, i, all_sizes, -1])
    return metrics


def _check_limit(max_detections):
    if not max_detections > 10:  # AR1 and AR10 are among the twelve
        raise ValueError(
            f"max_detections must exceed 10. Received: max_detections={max_detections!r}."
        )


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
        proposals: data.ProposalFile, for a model that has no RPN.
        on_error: as of `evaluate`.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(
        self,
        dataset,
        batch_size=1,
        max_detections=100,
        every=1,
        prefix="val_",
        verbose=0,
        proposals=None,
        on_error="raise",
    ):
        super().__init__()
        check_positive(every=every, batch_size=batch_size)
        _check_limit(max_detections)
        self.dataset = dataset
        self.batch_size = batch_size
        self.max_detections = max_detections
        self.every = every
        self.prefix = prefix
        self.verbose = verbose
        self.proposals = proposals
        self.on_error = on_error

    def on_train_begin(self, logs=None):
        """Finds out before the first epoch whether the data set is for the model."""
        _check(self.model, self.dataset)

    def look_at_others(self, callbacks):
        """Warns of callbacks of the same `fit` that decide by a loss.

        Args:
            callbacks: list of Keras callbacks; `MaskRCNN.fit` calls this with its own.
        """
        losses = {f"val_{name}" for name in ("loss", *LOSSES)}
        for callback in callbacks:
            monitor = getattr(callback, "monitor", None)
            if monitor in losses and getattr(callback, "save_best_only", True):
                logging.warning(
                    "%s(monitor=%r): this loss can be lowest while the detector finds nothing yet. "
                    'Behind CocoEvaluation take monitor="%ssegm/AP" (without masks "bbox/AP"), '
                    'mode="max".',
                    type(callback).__name__,
                    monitor,
                    self.prefix,
                )

    def on_epoch_end(self, epoch, logs=None):
        """Writes the numbers into `logs`, which Keras hands on to the next callback."""
        if logs is None or (epoch + 1) % self.every:
            return
        metrics = evaluate(
            self.model,
            self.dataset,
            batch_size=self.batch_size,
            max_detections=self.max_detections,
            proposals=self.proposals,
            verbose=self.verbose,
            on_error=self.on_error,
        )
        logs.update({self.prefix + name: value for name, value in metrics.items()})
