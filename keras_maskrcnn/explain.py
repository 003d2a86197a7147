"""Why an annotated object was not detected: follows its boxes through every stage of the model.

A stage makes boxes (anchors, RPN, box head) or drops some. It has an object if one of its boxes
overlaps it enough, from the box head on one of its own class. What lost the object is the stage
behind the last one that has it. Each stage is computed by the model's own methods, with the limits
of the stages behind it lifted.
"""

import collections
import dataclasses

import numpy as np
import tensorflow as tf

from keras_maskrcnn import targets, visualize
from keras_maskrcnn.data.class_names import compare_names
from keras_maskrcnn.ops import boxes as box_ops

MIN_IOU = 0.5  # COCO's most lenient threshold: a box this near counts as the object's
FOUND = "found"
_RANGE = 80.0  # logits further below than this have a score that float32 rounds to 0, as padding's
COLORS = {  # in the order of the stages
    FOUND: np.array((255, 255, 255), np.uint8),
    **dict(
        zip(
            (
                "no anchor",
                "no proposal",
                "moved away",
                "low score",
                "wrong class",
                "suppressed",
                "capped",
            ),
            visualize.PALETTE[[4, 5, 6, 0, 3, 2, 1]],
            strict=True,
        )
    ),
    "too small": np.array((128, 128, 128), np.uint8),
}
# What happened and what helps, by the config field that is the limit, else by the cause.
_TEXTS = {
    "no anchor": (
        "no anchor fits it: the best has IoU {iou:.2f}, less than rpn_negative_iou={negative}, so "
        "training takes the anchors here for background",
        "anchor_sizes and anchor_ratios nearer to {width:.0f} x {height:.0f} pixels, its size in "
        "the resized image, or a larger image_min_side; both need training",
    ),
    "no proposal": (
        "no box that the RPN makes of the anchors reaches IoU 0.5, the best has {iou:.2f}",
        "train longer, or on more objects of this kind",
    ),
    "given": (
        "none of the given proposals reaches IoU 0.5, the best has {iou:.2f}",
        "more or better proposals",
    ),
    "test_pre_nms": (
        "the RPN's box for it scores {score:.3f}, not among the best test_pre_nms={limit}, and NMS "
        "does not get to see it",
        "raise test_pre_nms, or train longer",
    ),
    "rpn_min_size": (
        "the RPN's box for it has a side of rpn_min_size={limit} pixels or less",
        "lower rpn_min_size",
    ),
    "rpn_nms_iou": (
        "a proposal with a higher score overlaps that for it by more than rpn_nms_iou={limit}, and "
        "NMS keeps the one with the higher score",
        "raise rpn_nms_iou",
    ),
    "test_proposals": (
        "its proposal is not among the best test_proposals={limit}",
        "raise test_proposals",
    ),
    "moved away": (
        "a proposal covers it, but the box that the head makes of it for {name} does not: the "
        "best has IoU {iou:.2f}",
        "train longer, or on more objects of this kind",
    ),
    "score_threshold": (
        "it scores {score:.3f} as {name}, not above score_threshold={limit}",
        "lower score_threshold, or train longer",
    ),
    "one_class_per_roi": (
        "it scores {score:.3f} as {name}, but no RoI more as {name} than as background",
        "train longer, or set one_class_per_roi=False",
    ),
    "wrong class": (
        "it is taken for {other} with score {other_score:.3f}, and scores {score:.3f} as {name}",
        "more examples of both classes, or a correct annotation",
    ),
    "box_min_size": (
        "its box has a side of box_min_size={limit} pixels or less",
        "lower box_min_size",
    ),
    "nms_iou": (
        "NMS dropped its box of score {score:.3f}, because {name} {other_score:.3f} at "
        "{other_box} overlaps it by {other_iou:.2f}, more than nms_iou={limit}",
        "raise nms_iou",
    ),
    "detections_per_image": (
        "its box of score {score:.3f} is not among the best detections_per_image={limit}",
        "raise detections_per_image",
    ),
}


@dataclasses.dataclass(frozen=True)
class _Stage:
    """The boxes behind a stage, in pixels of the image.

    name: what they are called in `Explanation.counts`; cause: of an object that it loses; limit:
    the config field by which it drops boxes, None if it makes them. boxes (n, 4) float32; scores
    (n,) float32; labels (n,) int32, 0 where boxes have no class.
    """

    name: str
    cause: str
    limit: str | None
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What became of the objects of one image. `str` tells it in words.

    Attributes:
        file_name, image_id: of the image.
        image: (H, W, 3) uint8.
        counts: dict of stage to its number of boxes; "matching anchors" are those that training
            would take for objects.
        objects: list of dicts, one for each annotated object: "annotation_id", "class", "box"
            [x1, y1, x2, y2] in pixels of the image, "cause" (a key of `COLORS`), "limit" (the
            config field that caused it, or None), "best_box" that it had at last, or None, its
            "iou" and "score" (0 for None, 1 for given proposals), "why" and "remedy" in words.
    """

    file_name: str
    image_id: int | str
    image: np.ndarray = dataclasses.field(repr=False)
    counts: dict
    objects: list

    def as_dict(self):
        """Returns all but the image, as `json.dumps` takes it."""
        names = ("file_name", "image_id", "counts", "objects")
        return {name: getattr(self, name) for name in names}

    def __str__(self):
        found = sum(row["cause"] == FOUND for row in self.objects)
        lines = [f"{self.file_name}: {found} of {len(self.objects)} objects found."]
        lines.append("  " + ", ".join(f"{count} {name}" for name, count in self.counts.items()))
        for row in self.objects:
            if row["cause"] != FOUND:
                box = [round(x) for x in row["box"]]
                lines.append(f"  {row['class']} at {box}: {row['cause']}: {row['why']}.")
                lines.append(f"    What helps: {row['remedy']}.")
        return "\n".join(lines)

    def picture(self):
        """Draws the truth beside the best box that each object had, colors telling the cause.

        Returns:
            (H, W, 3) uint8.
        """
        rows = self.objects
        boxed = [row for row in rows if row["best_box"] is not None]
        truth = self._draw(rows, "box", [f"{row['class']}: {row['cause']}" for row in rows])
        numbers = [f"IoU {row['iou']:.2f}, score {row['score']:.2f}" for row in boxed]
        best = self._draw(boxed, "best_box", numbers)
        picture = visualize.grid([truth, best], 2, ["annotated objects", "their best boxes"])
        causes = collections.Counter(row["cause"] for row in rows)
        entries = {f"{n} {name}": COLORS[name] for name, n in causes.items()}
        return visualize.legend(picture, entries)

    def _draw(self, rows, name, texts):
        boxes = np.array([row[name] for row in rows], np.float32).reshape(-1, 4)
        colors = np.array([COLORS[row["cause"]] for row in rows], np.uint8).reshape(-1, 3)
        # Every object is a "class" of its own, which is named after what became of it.
        labelled = {"boxes": boxes, "labels": np.arange(len(rows)) + 1}
        return visualize.draw(self.image, labelled, texts, colors=colors)


def explain(model, dataset, index, *, proposals=None):
    """Tells which stage of the model lost each annotated object of an image that it did not find.

    An object is found if a detection of its class has an IoU of at least 0.5 with its box; unlike
    in COCO's evaluation, one detection may stand for several objects. An RPN alone finds it with a
    proposal of any class.

    Args:
        model: MaskRCNN.
        dataset: data.CocoDataset, read with `category_ids=model.config.category_ids`.
        index: int in [0, len(dataset)). The image.
        proposals: data.ProposalFile, for a model that has no RPN.

    Returns:
        Explanation.

    Raises:
        ValueError: if the classes are not the model's, by id and name, there is no such image,
            proposals are missing or superfluous, or the model's outputs are not finite; (DataError)
            if the image cannot be read.
    """
    _check(model, dataset, index, proposals)
    example, image_id = dataset.load(index), dataset.image_ids[index]
    inputs = {"images": tf.constant(example["image"][None])}
    if proposals is not None:
        size = tf.constant([example["image"].shape[:2]])
        boxes = box_ops.clip(tf.constant(proposals.get(image_id)[0], tf.float32)[None], size)
        # As in `data.batches`; one empty slot, for the heads need a RoI.
        boxes = tf.boolean_mask(boxes, box_ops.shorter_side(boxes) > 0)
        inputs["proposals"] = tf.pad(boxes, [[0, 1], [0, 0]])[None]
    inputs = model._canvas(inputs)
    stages, counts = _stages(model, inputs, example["boxes"])
    scale = inputs["sizes"][0].numpy() / example["image"].shape[:2]
    names, objects = dataset.class_names, []
    ids = dataset.annotation_ids[dataset.offsets[index] : dataset.offsets[index + 1]]
    for i, annotation_id in enumerate(ids):
        label, box = example["labels"][i], example["boxes"][i].tolist()
        row = {"annotation_id": annotation_id, "class": names[label - 1], "box": box}
        objects.append({**row, **_follow(stages, example, i, model.config, scale, names)})
    return Explanation(dataset.file_names[index], image_id, example["image"], counts, objects)


def summary(explanations):
    """Counts what became of the objects of many images.

    Args:
        explanations: iterable of what `Explanation.as_dict` returns.

    Returns:
        dict of "images", "objects", "found" and "lost": a dict of cause, with the config field that
        is its limit, to the number of objects, by falling number.
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
    config = model.config
    if (config.proposals == "precomputed") != (proposals is not None):
        raise ValueError(
            "proposals belong to a model without an RPN, and only to such a one. Received: a model "
            f"with proposals={config.proposals!r}, and {'no' if proposals is None else 'some'}."
        )
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
        names = (dict(zip(ids, n, strict=True)) for n in (dataset.class_names, config.class_names))
        compare_names(*names, dataset.images)


def _stages(model, inputs, gt_boxes):
    """Runs the model on one image.

    Args:
        model: MaskRCNN.
        inputs: dict of one image, as `MaskRCNN._canvas` makes it.
        gt_boxes: (n, 4) float32 in pixels of the image before it was resized.

    Returns:
        list of `_Stage`; dict of the numbers of their boxes, with "matching anchors".
    """
    config, sizes, originals = model.config, inputs["sizes"], inputs["original_sizes"]
    features, stages, counts = model._features(inputs, False), [], {}

    def add(name, cause, limit, boxes, scores, labels=None):
        """Takes boxes (1, n, 4) in the model's frame; those with score 0 are padding."""
        boxes = box_ops.rescale(boxes + model.far_corner, sizes, originals)[0].numpy()
        labels = np.zeros(len(boxes), np.int32) if labels is None else labels[0].numpy()
        filled = scores[0].numpy() > 0
        scores = scores[0].numpy()[filled]
        stages.append(_Stage(name, cause, limit, boxes[filled], scores, labels[filled]))
        counts[name] = len(scores)

    if config.proposals == "precomputed":
        given = model._given_proposals(inputs)
        real = tf.cast(box_ops.area(given) > 0, tf.float32)  # the model knows no scores of theirs
        add("given proposals", "no proposal", None, given, real)
        rois, real = given[:, : config.test_proposals], real[:, : config.test_proposals]
        add("proposals", "capped", "test_proposals", rois, real)
    else:
        pre_nms, count = config.test_pre_nms, config.test_proposals
        logits, deltas, anchors, rois, scores = model._propose(
            features, sizes, False, pre_nms, count
        )

        def proposals(**limits):
            limits = {"pre_nms": pre_nms, "count": pre_nms * len(anchors), **limits}
            return model._proposals(logits, deltas, anchors, sizes, **limits)

        _require_finite(model, (*logits, *deltas))
        all_anchors, all_logits = tf.concat(anchors, 0), tf.concat(logits, 1)
        all_scores = tf.sigmoid(tf.maximum(all_logits, -_RANGE))
        add("anchors", "no anchor", None, all_anchors[None], all_scores)
        counts["matching anchors"] = _matching(model, all_anchors, gt_boxes, sizes, originals)
        decoded = box_ops.decode(tf.concat(deltas, 1), all_anchors)
        decoded = box_ops.clip(decoded, sizes - model.far_corner[2])
        add("boxes of the RPN", "no proposal", None, decoded, all_scores)
        ranked = proposals(nms_iou=1.0, min_size=0.0)
        add("best boxes of the RPN", "capped", "test_pre_nms", *ranked)
        add("proposals before NMS", "too small", "rpn_min_size", *proposals(nms_iou=1.0))
        add("proposals after NMS", "suppressed", "rpn_nms_iou", *proposals())
        add("proposals", "capped", "test_proposals", rois, scores)
    if config.task == "proposals":
        return stages, counts

    class_logits, deltas, _ = model._box_branch(features, rois, False)
    _require_finite(model, (class_logits, deltas))
    count = deltas.shape[1] * deltas.shape[2]

    def detections(class_logits=class_logits, **limits):
        return model._detections(class_logits, deltas, rois, sizes, **limits)[:3]

    lifted = {"count": count, "nms_iou": 1.0, "min_size": 0.0}
    positive = tf.cast(class_logits, tf.float32)
    positive = tf.maximum(positive, tf.reduce_max(positive, axis=-1, keepdims=True) - _RANGE)
    every = detections(positive, **lifted, score_threshold=0.0, one_class=False)
    scored = detections(**lifted, one_class=False)
    before = detections(count=count, nms_iou=1.0)
    add("boxes of all classes", "moved away", None, *every)
    add("boxes above score_threshold", "low score", "score_threshold", *scored)
    if config.one_class_per_roi:
        add("of their RoI's class", "low score", "one_class_per_roi", *detections(**lifted))
    add("boxes before NMS", "too small", "box_min_size", *before)
    add("boxes after NMS", "suppressed", "nms_iou", *detections(count=count))
    add("detections", "capped", "detections_per_image", *detections())
    return stages, counts


def _require_finite(model, outputs):
    if not all(bool(tf.reduce_all(tf.math.is_finite(output))) for output in outputs):
        broken = [v.path for v in model.weights if not np.isfinite(v.numpy()).all()]
        raise ValueError(
            "the model's outputs are not finite, so it detects nothing: its training diverged, try "
            f"a lower learning rate. Received: non-finite weights={broken[:3]} of {len(broken)}."
        )


def _matching(model, anchors, gt_boxes, sizes, originals):
    """The number of anchors (N, 4) that training would take for objects."""
    gt = np.zeros([1, max(1, len(gt_boxes)), 4], np.float32)  # one empty slot if there is none
    gt[0, : len(gt_boxes)] = gt_boxes
    config = model.config
    labels, _ = targets.anchor_labels(
        anchors,
        box_ops.rescale(gt, originals, sizes) - model.far_corner,
        positive_iou=config.rpn_positive_iou,
        negative_iou=config.rpn_negative_iou,
    )
    return int(np.sum(labels == 1))


def _follow(stages, example, i, config, scale, class_names):
    """Finds the stage that lost object i; returns its part of the row in `Explanation.objects`."""
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
        "negative": config.rpn_negative_iou,
        "width": (box[2] - box[0]) * scale[1],
        "height": (box[3] - box[1]) * scale[0],
        **row,
    }
    if cause in ("moved away", "low score"):
        # Boxes are of a class: of one that the head does not see it does not move any either.
        scored = stages[last + 2] if cause == "moved away" else stage
        anything = box_ops.iou(scored.boxes, example["boxes"]).numpy()
        # Of another class, for those of its own are lost; and nearer to it than to other objects.
        taken = (anything[:, i] >= MIN_IOU) & (anything[:, i] == anything.max(axis=1))
        if taken.any():
            other, best = _best(scored, anything[:, i], taken)
            cause, limit = "wrong class", None
            about["other"] = class_names[scored.labels[best] - 1]
            about["other_score"] = other["score"]
    elif limit == "nms_iou":
        rivals = _overlaps(stage, row["best_box"], label)
        rivals[stage.scores < row["score"]] = 0
        rival, _ = _best(stage, rivals)
        about["other_box"] = [round(x) for x in rival["best_box"]]
        about["other_iou"], about["other_score"] = rival["iou"], rival["score"]
    given = cause == "no proposal" and config.proposals == "precomputed"
    why, remedy = _TEXTS["given" if given else limit or cause]
    words = {"why": why.format(**about), "remedy": remedy.format(**about)}
    return {"cause": cause, "limit": limit, **row, **words}


def _overlaps(stage, box, label):
    """(n,) float32. IoU of a stage's boxes with a box (4,); 0 if they are of another class."""
    overlaps = box_ops.iou(stage.boxes, np.asarray(box, np.float32)[None])[:, 0].numpy()
    overlaps[(stage.labels > 0) & (stage.labels != label)] = 0
    return overlaps


def _best(stage, overlaps, among=None):
    """The box of highest score `among` (n,) bool, or else of highest IoU; and its index."""
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
