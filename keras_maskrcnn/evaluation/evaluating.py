"""Runs a model over a data set and computes its metrics."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.pipeline import check_positive
from keras_maskrcnn.evaluation.coco_metrics import check_max_detections, evaluate_results
from keras_maskrcnn.evaluation.dataset_checks import check_dataset
from keras_maskrcnn.evaluation.engines import check_engine
from keras_maskrcnn.evaluation.measures.named import check_measures, measure
from keras_maskrcnn.evaluation.predicting import predict_dataset, readable_images
from keras_maskrcnn.evaluation.proposing import proposals_of_images
from keras_maskrcnn.evaluation.recall import recall_of_images
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.runtime import ExportedModel
from keras_maskrcnn.typing import OnError, Proposals, Size


def evaluate(
    model: MaskRCNN | ExportedModel,
    dataset: CocoDataset,
    *,
    batch_size: int = 1,
    max_detections: int = 100,
    per_class: bool = False,
    proposals: Proposals | None = None,
    verbose: int = 1,
    on_error: OnError = "raise",
    tile: int | Size | None = None,
    overlap: int | Size | None = None,
    measures: Sequence[str] = (),
    measures_threshold: float = 0.5,
    engine: str = "pycocotools",
    on_results: Callable[[list[dict[str, Any]], list[Any]], None] | None = None,
) -> dict[str, float]:
    """Runs the model over a data set and returns COCO's metrics.

    Under a strategy the images are divided among the replicas. If there are several workers, all of
    them must call it, and all get the same numbers.

    The model's `class_thresholds` apply, with a warning: AP counts detections of all scores.

    Args:
        model: MaskRCNN, or a `runtime.ExportedModel`, whose masks are pasted and scored alike.
        dataset: data.CocoDataset.
        batch_size: int. Images per step and replica. All images of a batch are padded to one size,
            which changes detections slightly (docs/serving.md). With 1 each has its own size; an
            exported model needs this.
        max_detections: int above 10. Detections counted per image: 100 as in COCO, or more for
            crowded images. It should not exceed the model's `detections_per_image`.
        per_class: bool. Adds `bbox/AP/<class name>` and `segm/AP/<class name>`.
        proposals: data.ProposalFile, for a model without an RPN.
        verbose: int. 0 is silent, 1 shows a progress bar.
        on_error: str. What to do with an image that cannot be read. "raise" raises the error.
            "skip" logs it, leaves the image out of the metrics, and adds it to `dataset.skipped`.
        tile: int, or (height, width). Images are predicted tile by tile, as by `predict_large`;
            `batch_size` is then the number of tiles per step. None: as a whole.
        overlap: int, or (height, width). Of the tiles, as in `predict_large`.
        measures: sequence of str. More measures, keys of `measures.MEASURES`: their numbers are
            named `dsb/score` and so on (docs/measures.md).
        measures_threshold: float in [0, 1]. Detections with a lower score are left out by measures
            of final detections. COCO's numbers need all scores.
        engine: "pycocotools", or "faster_coco_eval" for the same numbers in less time, which needs
            the extra `engine`.
        on_results: callable that gets the list of COCO results and that of the ids of the images
            which were read, once per process, before they are scored. Not for an RPN alone.

    Returns:
        dict of name to float, see `keras_maskrcnn.evaluation`. Only `bbox/` if the model has no
            mask branch. The 100 in `AR100` is `max_detections`. For an RPN alone, the result of
            `average_recall` for its proposals.

    Raises:
        TypeError: if `dataset` is not a data set.
        ValueError: if a number is out of its range, the model needs masks and the data set has
            none, the classes differ, or there is no such measure or engine.
        ImportError: if the package of the engine or of a measure is not installed.
        DataError: if the data set has no instance, a class had another name in training, or an
            image cannot be read.
    """
    check_positive(batch_size=batch_size)
    check_max_detections(max_detections)
    check_engine(engine)
    check_measures(measures, masks=model.config.task == "masks")
    check_dataset(model, dataset)
    if model.config.task == "proposals":
        found = proposals_of_images(model, dataset, batch_size, verbose, on_error)
        strategy = getattr(model, "distribute_strategy", None)
        return recall_of_images(found, dataset, strategy=strategy)
    if model.config.class_thresholds:
        logging.warning(
            "the model's class_thresholds leave out detections with low scores, which lowers AP; "
            "for AP take model.with_config(class_thresholds=()), --class_thresholds=none."
        )
    available = model.config.detections_per_image
    if available < max_detections and tile is None:
        logging.warning(
            "the model returns at most %d detections per image (config.detections_per_image), "
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
        tile=tile,
        overlap=overlap,
    )
    masks = model.config.task == "masks"
    image_ids = [dataset.image_ids[index] for index in readable_images(dataset)]
    if on_results is not None:
        on_results(results, image_ids)
    metrics = evaluate_results(
        results,
        dataset.annotations,
        max_detections=max_detections,
        iou_types=("bbox", "segm") if masks else ("bbox",),
        image_ids=image_ids,
        category_ids=dataset.category_ids,
        class_names=_class_names(model, dataset),
        per_class=per_class,
        engine=engine,
    )
    if measures:
        metrics |= measure(
            measures,
            results,
            dataset.annotations,
            score_threshold=measures_threshold,
            image_ids=image_ids,
            category_ids=dataset.category_ids,
            masks=masks,
        )
    return metrics


def _class_names(model, dataset):
    """Returns the class names of the data set, or of the model where the json has none."""
    config, names = model.config, getattr(dataset, "class_names", None)
    if names is None:
        return None
    known = dict(zip(config.category_ids, config.class_names, strict=False))
    pairs = zip(dataset.category_ids, names, strict=False)
    return [
        known.get(identity, name) if name == str(identity) else name for identity, name in pairs
    ]
