"""Checks whether a data set fits a model: its masks, classes and class names."""

import reprlib

import numpy as np

from keras_maskrcnn.data.class_names import compare_names
from keras_maskrcnn.data.coco import (
    CocoDataset,
    has_masks,
    require_data_set,
    require_instances,
    source_of,
)
from keras_maskrcnn.data.coco_checks import BOXES_DO
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.runtime import ExportedModel


def check_dataset(model: MaskRCNN | ExportedModel, dataset: CocoDataset) -> None:
    """Raises an error if a data set does not fit a model.

    Args:
        model: MaskRCNN or ExportedModel.
        dataset: data.CocoDataset.

    Raises:
        TypeError: if something else was passed for the data set.
        ValueError: if the model needs masks and the data set has none, or the classes differ.
        DataError: if the data set has no instance, or a class had another name in training.
    """
    require_data_set(dataset, "image_ids")
    config, where = model.config, source_of(dataset)
    require_instances(dataset)
    if config.task == "masks" and not has_masks(dataset):
        raise ValueError(
            f"{where}: a model with task='masks' needs masks. {BOXES_DO} Received: a data set read"
            " with masks=False."
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
    if foreign:  # the model cannot find these
        raise ValueError(
            f"{where}: the model has the category ids {reprlib.repr(ids)}; read the data set with"
            f" category_ids=model.config.category_ids. Received: category_id={foreign[0]}."
        )
    if config.class_names and len(ids) == config.num_classes:
        names = getattr(dataset, "class_names", ())
        names = dict(zip(dataset.category_ids, names, strict=False))
        compare_names(names, dict(zip(ids, config.class_names, strict=True)), where)
