"""The boxes of an image after every stage of a model, for `explain`.

A stage makes boxes (anchors, RPN, box head) or drops some. The model's parts compute each stage,
with the limits of later stages removed.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_maskrcnn import targets
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.typing import Tensors

_RANGE = 80.0  # logits are raised to -80 at least: score 0 in float32 would mean padding


@dataclasses.dataclass(frozen=True)
class Stage:
    """The boxes after a stage, in pixels of the image.

    Attributes:
        name: str. Name of the boxes in `Explanation.counts`.
        cause: str. The cause that is given for objects that this stage loses.
        limit: str. The config field that makes the stage drop boxes; None if the stage makes boxes.
        boxes: (n, 4) float32.
        scores: (n,) float32.
        labels: (n,) int32, 0 if boxes have no class.
    """

    name: str
    cause: str
    limit: str | None
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Stages:
    """Runs a model on one image, stage by stage.

    Args:
        model: MaskRCNN.
        inputs: dict of one image, as `MaskRCNN.prepare` returns it.
        gt_boxes: (n, 4) float32 in pixels of the image before it was resized.

    Attributes:
        stages: list of `Stage`, in the model's order.
        counts: dict. Maps the name of each stage to its number of boxes. "matching anchors" are the
            anchors that training would label as objects.

    Raises:
        ValueError: if the model's outputs are not finite.
    """

    def __init__(self, model: MaskRCNN, inputs: Tensors, gt_boxes: np.ndarray) -> None:
        self.model, self.inputs, self.sizes = model, inputs, inputs["sizes"]
        self.stages: list[Stage] = []
        self.counts: dict[str, int] = {}
        features = model.features(inputs)
        if model.rpn is None:
            rois = self._given(inputs)
        else:
            rois = self._first_stage(model.rpn, features, gt_boxes)
        if model.roi_heads is not None:
            self._second_stage(model.roi_heads, features, rois)

    def _add(self, name, cause, limit, boxes, scores, labels=None):
        """Adds a stage with boxes (1, n, 4) in the network's frame. Score 0 means padding."""
        boxes = self.model.frame.to_exclusive(boxes)
        boxes = box_ops.rescale(boxes, self.sizes, self.inputs["original_sizes"])[0].numpy()
        labels = np.zeros(len(boxes), np.int32) if labels is None else labels[0].numpy()
        filled = scores[0].numpy() > 0
        scores = scores[0].numpy()[filled]
        self.stages.append(Stage(name, cause, limit, boxes[filled], scores, labels[filled]))
        self.counts[name] = len(scores)

    def _given(self, inputs):
        """Adds the first stages of a model without an RPN. Returns its RoIs."""
        given, count = self.model.given_proposals(inputs), self.model.config.test_proposals
        real = tf.cast(box_ops.area(given) > 0, tf.float32)  # the model does not get their scores
        self._add("given proposals", "no proposal", None, given, real)
        self._add("proposals", "capped", "test_proposals", given[:, :count], real[:, :count])
        return given[:, :count]

    def _first_stage(self, rpn, features, gt_boxes):
        """Adds the stages of the RPN. Returns the RoIs."""
        sizes, config = self.sizes, self.model.config
        outputs = rpn(features)
        self._require_finite(*outputs.logits, *outputs.deltas)
        logits, deltas, anchors = outputs.joined()
        scores = tf.sigmoid(tf.maximum(logits, -_RANGE))
        self._add("anchors", "no anchor", None, anchors[None], scores)
        self.counts["matching anchors"] = self._matching(anchors, gt_boxes)
        decoded = box_ops.clip(box_ops.decode(deltas, anchors), rpn.frame.borders(sizes))
        self._add("boxes of the RPN", "no proposal", None, decoded, scores)

        def select(**limits):
            count = config.test_pre_nms * len(outputs.anchors)
            return rpn.select(outputs, sizes, count=count, **limits)

        ranked = select(nms_iou=1.0, min_size=0.0)
        self._add("best boxes of the RPN", "capped", "test_pre_nms", *ranked)
        self._add("proposals before NMS", "too small", "rpn_min_size", *select(nms_iou=1.0))
        self._add("proposals after NMS", "suppressed", "rpn_nms_iou", *select())
        rois, scores = rpn.select(outputs, sizes)
        self._add("proposals", "capped", "test_proposals", rois, scores)
        return rois

    def _second_stage(self, heads, features, rois):
        """Adds the stages of the box head."""
        class_logits, deltas, _ = heads.box_branch(features, rois)
        self._require_finite(class_logits, deltas)
        count = deltas.shape[1] * deltas.shape[2]

        def select(class_logits=class_logits, **limits):
            return heads.select(class_logits, deltas, rois, self.sizes, **limits)[:3]

        no_nms = {"count": count, "nms_iou": 1.0, "across_classes": False}
        lifted = {**no_nms, "min_size": 0.0}
        positive = tf.cast(class_logits, tf.float32)
        positive = tf.maximum(positive, tf.reduce_max(positive, axis=-1, keepdims=True) - _RANGE)
        any_score = {**lifted, "class_thresholds": (), "one_class": False}
        every = select(positive, **any_score, score_threshold=0.0)
        scored = select(**any_score)
        before = select(**no_nms)
        self._add("boxes of all classes", "moved away", None, *every)
        self._add("boxes above score_threshold", "low score", "score_threshold", *scored)
        if self.model.config.class_thresholds:
            high = select(**lifted, one_class=False)
            self._add("boxes above class_thresholds", "low score", "class_thresholds", *high)
        if self.model.config.one_class_per_roi:
            ours = select(**lifted)
            self._add("of their RoI's class", "low score", "one_class_per_roi", *ours)
        self._add("boxes before NMS", "too small", "box_min_size", *before)
        self._add("boxes after NMS", "suppressed", "nms_iou", *select(count=count))
        self._add("detections", "capped", "detections_per_image", *select())

    def _require_finite(self, *outputs):
        if not all(bool(tf.reduce_all(tf.math.is_finite(output))) for output in outputs):
            broken = [v.path for v in self.model.weights if not np.isfinite(v.numpy()).all()]
            raise ValueError(
                "the model's outputs are not finite, so it detects nothing: its training diverged; "
                "try a lower learning rate. "
                f"Received: non-finite weights={broken[:3]} of {len(broken)}."
            )

    def _matching(self, anchors, gt_boxes):
        """Returns the number of anchors (N, 4) that training would label as objects."""
        gt = targets.with_a_slot(tf.constant(gt_boxes, tf.float32, [1, len(gt_boxes), 4]))
        gt = box_ops.rescale(gt, self.inputs["original_sizes"], self.sizes)
        config = self.model.config
        labels, _ = targets.anchor_labels(
            anchors,
            self.model.frame.from_exclusive(gt),
            positive_iou=config.rpn_positive_iou,
            negative_iou=config.rpn_negative_iou,
        )
        return int(np.sum(labels == 1))
