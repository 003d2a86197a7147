"""The first stage: the region proposal network (Faster R-CNN §3.1; FPN §4.1)."""

import dataclasses
from typing import Any, NamedTuple, Self

import keras
import tensorflow as tf

from keras_maskrcnn import decode, losses, targets
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.levels import STRIDES, anchor_sizes
from keras_maskrcnn.ops import anchors as anchor_ops
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops.frames import Frame
from keras_maskrcnn.typing import Tensors


class RpnOutputs(NamedTuple):
    """The RPN's outputs for each anchor, level by level.

    Attributes:
        logits: list of (B, Nl) float32. Objectness.
        deltas: list of (B, Nl, 4) float32, as `ops.boxes.encode` makes them.
        anchors: list of (Nl, 4) float32, in the frame of the network.
    """

    logits: list[tf.Tensor]
    deltas: list[tf.Tensor]
    anchors: list[tf.Tensor]

    def joined(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns logits (B, N), deltas (B, N, 4) and anchors (N, 4) of all levels together."""
        return tf.concat(self.logits, 1), tf.concat(self.deltas, 1), tf.concat(self.anchors, 0)


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RegionProposalNetwork:
    """Head, anchors, selection of proposals, and the two losses of the RPN.

    The weights are in `networks`, which the model tracks.

    Call: dict of the maps that the RPN gets, (B, H, W, K) -> `RpnOutputs`.

    Args:
        config: `MaskRCNNConfig`.
        head: Keras model from a feature map (B, H, W, K) to objectness logits (B, H, W, A) and
            deltas (B, H, W, 4 A), for A anchors per cell. `layers.heads.rpn_head` makes one.
    """

    loss_names = ("rpn_objectness", "rpn_box")

    def __init__(self, config: MaskRCNNConfig, head: keras.Model) -> None:
        self.config, self.head = config, head
        self.frame = Frame.of(config.anchor_rule)

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The Keras models of this stage, by their names in files and in `freeze`."""
        return {"rpn_head": self.head}

    def __call__(self, features: Tensors, training: bool = False) -> RpnOutputs:
        """Runs the head on each map.

        Args:
            features: dict of the maps that the RPN gets, (B, H, W, K).
            training: bool. Whether batch norm uses the batch's statistics.

        Returns:
            RpnOutputs.
        """
        logits, deltas = [], []
        for level in STRIDES[self.config.neck]:
            level_logits, level_deltas = self.head(features[level], training=training)
            batch = tf.shape(features[level])[0]
            logits.append(tf.cast(tf.reshape(level_logits, [batch, -1]), tf.float32))
            deltas.append(tf.cast(tf.reshape(level_deltas, [batch, -1, 4]), tf.float32))
        return RpnOutputs(logits, deltas, self.anchors(features))

    def anchors(self, features: Tensors) -> list[tf.Tensor]:
        """Computes the anchors of each map.

        Args:
            features: dict of the maps that the RPN gets, (B, H, W, K). Only their sizes matter.

        Returns:
            list of (Nl, 4) float32, in the frame of the network.
        """
        config, strides = self.config, STRIDES[self.config.neck]
        torchvision = config.anchor_rule == "torchvision"
        anchors = []
        for (level, stride), sizes in zip(strides.items(), anchor_sizes(config), strict=True):
            height, width = tf.unstack(tf.shape(features[level])[1:3])
            if torchvision:  # its strides are whole pixels that fit the padded size
                canvas = tf.shape(features["p2"])[1:3] * strides["p2"]
                stride = canvas // tf.stack([height, width])
            of_level = anchor_ops.level_anchors(
                height, width, stride, sizes, config.anchor_ratios, torchvision
            )
            anchors.append(self.frame.from_exclusive(of_level))
        return anchors

    def select(
        self, outputs: RpnOutputs, sizes: tf.Tensor, **limits: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Chooses the proposals of each image (§3.1, Inference).

        Args:
            outputs: RpnOutputs.
            sizes: (B, 2) int32. Height and width of each image without its padding.
            **limits: `pre_nms`, `count`, `nms_iou` and `min_size` of `decode.proposals`, to replace
                the config's values for inference.

        Returns:
            boxes: (B, P, 4) float32 in the frame of the network, by falling score; zeros in
                padding.
            scores: (B, P) float32 in [0, 1]; 0 in padding.
        """
        config, (logits, deltas, anchors) = self.config, outputs
        if config.rpn_joint_nms:  # treat all levels as one
            logits, deltas, anchors = ([part] for part in outputs.joined())
        limits = {
            "pre_nms": config.test_pre_nms,
            "count": config.test_proposals,
            "nms_iou": config.rpn_nms_iou,
            "min_size": config.rpn_min_size,
            **limits,
        }
        borders = self.frame.borders(sizes)
        return decode.proposals(logits, deltas, anchors, borders, **limits)

    def select_for_training(self, outputs: RpnOutputs, sizes: tf.Tensor) -> tf.Tensor:
        """Chooses the proposals for training the heads: boxes (B, P, 4) float32, as in `select`."""
        config = self.config
        boxes, _ = self.select(
            outputs, sizes, pre_nms=config.train_pre_nms, count=config.train_proposals
        )
        # Otherwise CropAndResize would fail before the losses can be reported as not finite.
        return tf.where(tf.math.is_finite(boxes), boxes, 0.0)

    def compute_losses(
        self, outputs: RpnOutputs, sizes: tf.Tensor, gt: Tensors, step: tf.Tensor
    ) -> Tensors:
        """Computes the two losses on a sample of the anchors (Faster R-CNN Eq. 1).

        Args:
            outputs: RpnOutputs.
            sizes: (B, 2) int32. Height and width of each image without its padding.
            gt: dict of boxes (B, G, 4) float32 in the frame of the network. Boxes without area are
                padding. It may have `ignored` (B, K, 4), see `targets.without_ignored`.
            step: () int32. Seeds the sampling, together with the image's place in the batch.

        Returns:
            dict. Maps `loss_names` to () float32.
        """
        config = self.config
        logits, deltas, anchors = outputs.joined()
        labels, matched = targets.anchor_labels(
            anchors,
            gt["boxes"],
            positive_iou=config.rpn_positive_iou,
            negative_iou=config.rpn_negative_iou,
        )
        labels = targets.without_ignored(labels, anchors, gt.get("ignored"))
        noise = targets.sampling_noise(tf.shape(labels), step, stream=0)
        max_positives = max(1, int(config.rpn_batch * config.rpn_positive_fraction))
        chosen, labels = targets.sample(labels, noise, config.rpn_batch, max_positives)
        labels = targets.without_filling(labels, sizes)
        matched = tf.gather(matched, chosen, batch_dims=1)
        boxes = tf.gather(gt["boxes"], matched, batch_dims=1)
        anchors = tf.gather(anchors, chosen)
        logits = tf.gather(logits, chosen, batch_dims=1)
        deltas = tf.gather(deltas, chosen, batch_dims=1)
        return {
            "rpn_objectness": self.objectness_loss(logits, labels),
            "rpn_box": self.box_loss(deltas, anchors, boxes, labels),
        }

    def objectness_loss(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Computes the loss of the sampled anchors' scores.

        Args:
            logits: (B, S) float32.
            labels: (B, S) int32. 1 object, 0 background, below 0 no anchor.

        Returns:
            () float32.
        """
        return losses.objectness_loss(logits, labels, self.config.rpn_loss_divisor)

    def box_loss(
        self, deltas: tf.Tensor, anchors: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        """Computes the loss of the sampled anchors' deltas.

        Args:
            deltas: (B, S, 4) float32.
            anchors: (B, S, 4) float32 in the frame of the network.
            boxes: (B, S, 4) float32 in the frame of the network. The object that each anchor
                matches.
            labels: (B, S) int32. 1 object; no other anchor may have a loss.

        Returns:
            () float32.
        """
        config, wanted = self.config, box_ops.encode(boxes, anchors)
        return losses.box_loss(deltas, wanted, labels, config.rpn_box_beta, config.rpn_loss_divisor)

    def get_config(self) -> dict[str, Any]:
        """Returns a dict of plain values for `from_config`."""
        head = keras.saving.serialize_keras_object(self.head)
        return {"config": dataclasses.asdict(self.config), "head": head}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the stage from the dict that `get_config` returned. Weights are loaded later."""
        head = keras.saving.deserialize_keras_object(config["head"])
        return cls(MaskRCNNConfig.from_fields(config["config"]), head)
