"""Explains why an object was not detected: follows its boxes through every stage of the model.

A stage has an object if one of its boxes overlaps the object enough. From the box head on, the box
must also have the object's class. The stage after the last one that has the object lost it.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_maskrcnn import checks, visualize
from keras_maskrcnn.data.class_names import compare_names
from keras_maskrcnn.data.coco import CocoDataset, require_data_set
from keras_maskrcnn.explaining.stages import Stages
from keras_maskrcnn.explaining.texts import TEXTS
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.typing import Proposals
from keras_maskrcnn.visualize import Bands, Stretch

MIN_IOU = 0.5  # COCO's lowest threshold: a box with this IoU or more counts as the object's
FOUND = "found"
"""The "cause" of an object that was found."""
_CAUSES = (
    "no anchor",
    "no proposal",
    "moved away",
    "low score",
    "wrong class",
    "suppressed",
    "capped",
)
COLORS = {
    FOUND: np.array((255, 255, 255), np.uint8),
    **dict(zip(_CAUSES, visualize.PALETTE[[4, 5, 6, 0, 3, 2, 1]], strict=True)),
    "too small": np.array((128, 128, 128), np.uint8),
}
"""`FOUND` and all causes of lost objects, with their RGB colors in pictures."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Says for each annotated object of one image whether the model found it, and why not.

    `str` returns it as text.

    Attributes:
        file_name: str. Name of the image.
        image_id: int or str. Id of the image.
        image: (H, W, C) of the data set's dtype.
        counts: dict. Maps each stage to its number of boxes. "matching anchors" are the anchors
            that training would label as objects.
        objects: list of dicts, one per annotated object, with these keys:

            - "annotation_id", "class": the annotation's id and the name of its class.
            - "box": [x1, y1, x2, y2] in pixels of the image.
            - "cause": a key of `COLORS`.
            - "limit": the config field that dropped the object, or None.
            - "best_box": the object's best box before it was lost, or None.
            - "iou", "score": of the best box. 0 without a box; given proposals have score 1.
            - "why", "remedy": the reason and what to do about it, in words. Empty if found.
    """

    file_name: str
    image_id: int | str
    image: np.ndarray = dataclasses.field(repr=False)
    counts: dict[str, int]
    objects: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Returns all fields except the image as a dict that `json.dumps` accepts."""
        names = ("file_name", "image_id", "counts", "objects")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        found = sum(row["cause"] == FOUND for row in self.objects)
        lines = [f"{self.file_name}: {found} of {len(self.objects)} objects found."]
        lines.append("  " + ", ".join(f"{count} {name}" for name, count in self.counts.items()))
        for row in self.objects:
            if row["cause"] != FOUND:
                box = [round(x) for x in row["box"]]
                lines.append(f"  {row['class']} at {box}: {row['cause']}: {row['why']}.")
                lines.append(f"    Remedy: {row['remedy']}.")
        return "\n".join(lines)

    def picture(self, bands: Bands = None, stretch: Stretch = None) -> np.ndarray:
        """Draws the annotated objects beside their best boxes, in the colors of the causes.

        Args:
            bands, stretch: as in `visualize.as_rgb`.

        Returns:
            (H, W, 3) uint8.
        """
        rows = self.objects
        boxed = [row for row in rows if row["best_box"] is not None]
        image = visualize.as_rgb(self.image, bands, stretch)
        truth = _draw(image, rows, "box", [f"{row['class']}: {row['cause']}" for row in rows])
        numbers = [f"IoU {row['iou']:.2f}, score {row['score']:.2f}" for row in boxed]
        best = _draw(image, boxed, "best_box", numbers)
        picture = visualize.grid([truth, best], 2, ["annotated objects", "their best boxes"])
        causes = collections.Counter(row["cause"] for row in rows)
        entries = {f"{n} {name}": COLORS[name] for name, n in causes.items()}
        return visualize.legend(picture, entries)


def _draw(image, rows, name, texts):
    """Draws the boxes of some rows, each in the color of its cause."""
    boxes = np.array([row[name] for row in rows], np.float32).reshape(-1, 4)
    colors = np.array([COLORS[row["cause"]] for row in rows], np.uint8).reshape(-1, 3)
    # Each object gets its own label, so that `draw` writes a separate text for each.
    labelled = {"boxes": boxes, "labels": np.arange(len(rows)) + 1}
    return visualize.draw(image, labelled, texts, colors=colors)


def explain(
    model: MaskRCNN, dataset: CocoDataset, index: int, *, proposals: Proposals | None = None
) -> Explanation:
    """Finds the stage of the model that lost each annotated object of an image.

    An object is found if a detection of its class has an IoU of at least 0.5 with its box. Unlike
    in COCO's evaluation, one detection may match several objects. If the model is an RPN alone, a
    proposal with this IoU is enough.

    Args:
        model: MaskRCNN.
        dataset: data.CocoDataset, read with `category_ids=model.config.category_ids`.
        index: int in [0, len(dataset)). Index of the image.
        proposals: data.ProposalFile, for a model without an RPN.

    Returns:
        `Explanation`. It lists no objects if the image has none.

    Raises:
        TypeError: if `dataset` is not a data set, or `model` is an exported one.
        ValueError: if there is no such image, the category ids differ from the model's, or
            proposals are missing or not needed. Also if the model's outputs are not finite.
        DataError: if a class had another name in training, or the image cannot be read.
    """
    _check(model, dataset, index, proposals)
    example, image_id = dataset.load(index), dataset.image_ids[index]
    inputs = {"images": tf.constant(example["image"][None])}
    if proposals is not None:
        size = tf.constant([example["image"].shape[:2]])
        boxes = box_ops.clip(tf.constant(proposals.get(image_id)[0], tf.float32)[None], size)
        # As in `data.batches`, plus one empty slot, because the heads need at least one RoI.
        boxes = tf.boolean_mask(boxes, box_ops.shorter_side(boxes) > 0)
        inputs["proposals"] = tf.pad(boxes, [[0, 1], [0, 0]])[None]
    inputs = model.prepare(inputs)
    ran = Stages(model, inputs, example["boxes"])
    scale = inputs["sizes"][0].numpy() / example["image"].shape[:2]
    names, objects = dataset.class_names, []
    ids = dataset.annotation_ids[dataset.offsets[index] : dataset.offsets[index + 1]]
    for i, annotation_id in enumerate(ids):
        label, box = example["labels"][i], example["boxes"][i].tolist()
        row = {"annotation_id": annotation_id, "class": names[label - 1], "box": box}
        objects.append({**row, **_follow(ran.stages, example, i, model.config, scale, names)})
    return Explanation(dataset.file_names[index], image_id, example["image"], ran.counts, objects)


def summary(explanations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts the found and lost objects of many images.

    Args:
        explanations: iterable of results of `Explanation.as_dict`.

    Returns:
        dict of the counts "images", "objects" and "found", and of "lost". This is a dict from each
            cause, with the config field that caused it, to its number of objects, by falling
            number.
    """
    rows = [explanation["objects"] for explanation in explanations]
    lost = collections.Counter(
        row["cause"] + (f" ({row['limit']})" if row["limit"] else "")
        for objects in rows
        for row in objects
        if row["cause"] != FOUND
    )
    objects = sum(map(len, rows))
    found = objects - lost.total()
    return {
        "images": len(rows),
        "objects": objects,
        "found": found,
        "lost": dict(lost.most_common()),
    }


def _check(model, dataset, index, proposals):
    require_data_set(dataset, "load", "image_ids")
    if not isinstance(model, MaskRCNN):  # an exported model gives no outputs of its stages
        raise TypeError(
            f"explain needs the MaskRCNN itself. Received: a model of {type(model).__name__}."
        )
    config = model.config
    checks.check_given_proposals(config.proposals, proposals)
    checks.check_reading(dataset, config.reading(), whole=True)
    if not 0 <= index < len(dataset):
        raise ValueError(f"index must be in 0..{len(dataset) - 1}. Received: index={index}.")
    ids = config.category_ids or dataset.category_ids
    known = tuple(ids) == tuple(dataset.category_ids) and len(ids) == config.num_classes
    if config.task != "proposals" and not known:
        raise ValueError(
            "the data set must have the model's classes; pass category_ids=model.config."
            f"category_ids when reading it. Received: category_ids={dataset.category_ids}, "
            f"the model's are {config.ids()}."
        )
    if known and config.class_names:
        names = dict(zip(ids, dataset.class_names, strict=True))
        known_names = dict(zip(ids, config.class_names, strict=True))
        compare_names(names, known_names, dataset.images)


def _follow(stages, example, i, config, scale, class_names):
    """Finds the stage that lost object i. Returns its entries for `Explanation.objects`."""
    box, label = example["boxes"][i], example["labels"][i]
    overlaps = [_overlaps(stage, box, label) for stage in stages]
    needed = [config.rpn_negative_iou if s.cause == "no anchor" else MIN_IOU for s in stages]
    had = [k for k, least in enumerate(needed) if (overlaps[k] >= least).any()]
    last = max(had, default=-1)
    if last == len(stages) - 1:
        row, _ = _best(stages[last], overlaps[last], overlaps[last] >= MIN_IOU)
        return {"cause": FOUND, "limit": None, **row, "why": "", "remedy": ""}
    stage = stages[last + 1]
    cause, limit = stage.cause, stage.limit
    if limit is None:
        row, _ = _best(stage, overlaps[last + 1])
    else:
        row, _ = _best(stages[last], overlaps[last], overlaps[last] >= MIN_IOU)
    about = {
        "name": class_names[label - 1],
        "limit": limit and getattr(config, limit),
        **({"limit": config.class_thresholds[label - 1]} if limit == "class_thresholds" else {}),
        "negative": config.rpn_negative_iou,
        "width": (box[2] - box[0]) * scale[1],
        "height": (box[3] - box[1]) * scale[0],
        **row,
    }
    if cause in ("moved away", "low score"):
        # The head refines boxes per class, and does not move the box of a class that it does not
        # recognize. The real cause may be that the head takes the object for another class.
        scored = stages[last + 2] if cause == "moved away" else stage
        anything = box_ops.iou(scored.boxes, example["boxes"]).numpy()
        # Boxes that overlap this object more than any other. All are of other classes, because
        # those of its class are lost.
        taken = (anything[:, i] >= MIN_IOU) & (anything[:, i] == anything.max(axis=1))
        if taken.any():
            other, best = _best(scored, anything[:, i], taken)
            cause, limit = "wrong class", None
            about["other"] = class_names[scored.labels[best] - 1]
            about["other_score"] = other["score"]
    elif limit == "nms_iou":
        rivals = _overlaps(stage, row["best_box"], 0 if config.nms_across_classes else label)
        rivals[stage.scores < row["score"]] = 0
        rival, best = _best(stage, rivals)
        same = best is None or stage.labels[best] == label
        about["other"] = f"another {about['name']}" if same else class_names[stage.labels[best] - 1]
        about["or_else"] = "" if same else ", or set nms_across_classes=False"
        about["other_box"] = [round(x) for x in rival["best_box"]]
        about["other_iou"], about["other_score"] = rival["iou"], rival["score"]
    given = cause == "no proposal" and config.proposals == "precomputed"
    why, remedy = TEXTS["given" if given else limit or cause]
    words = {"why": why.format(**about), "remedy": remedy.format(**about)}
    return {"cause": cause, "limit": limit, **row, **words}


def _overlaps(stage, box, label):
    """Returns the IoU of a stage's boxes with a box (4,): (n,) float32, 0 for other classes.

    Label 0 takes all classes.
    """
    overlaps = box_ops.iou(stage.boxes, np.asarray(box, np.float32)[None])[:, 0].numpy()
    overlaps[(stage.labels > 0) & (stage.labels != label) & (label > 0)] = 0
    return overlaps


def _best(stage, overlaps, among=None):
    """Returns the best box as a dict, and its index.

    It has the highest score of the boxes in `among`, (n,) bool, or without `among` the highest IoU.
    """
    best = None
    if among is not None:
        best = int(np.argmax(np.where(among, stage.scores, -1)))
    elif overlaps.max(initial=0) > 0:
        best = int(np.argmax(overlaps))
    if best is None:
        return {"best_box": None, "iou": 0.0, "score": 0.0}, None
    return {
        "best_box": stage.boxes[best].tolist(),
        "iou": float(overlaps[best]),
        "score": float(stage.scores[best]),
    }, best
