"""The second stage: predicts class, box and mask of each RoI in parallel (§3 and Figure 4)."""

import dataclasses
import inspect
from typing import Any, Self

import keras
import tensorflow as tf

from keras_maskrcnn import decode, losses, targets
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.layers.roi_layer import per_roi, takes_owners
from keras_maskrcnn.levels import strides_of_rois
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops.frames import Frame
from keras_maskrcnn.ops.portable import is_portable
from keras_maskrcnn.typing import Tensors


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIHeads:
    """Box branch, mask branch, detection, and the three losses of the heads.

    The weights are in `networks`, which the model tracks.

    Args:
        config: `MaskRCNNConfig`.
        box_align: layer from (list of maps, RoIs (B, R, 4)) to (B, R, m, m, K), such as
            `layers.roi_align.RoIAlign`.
        box_head: Keras model from (n, m, m, K) to class logits (n, C + 1), background first, and
            deltas (n, C, 4).
        mask_align: layer as `box_align`, for the mask branch; None if there is no mask branch. If
            it takes `owners`, as every `layers.roi_layer.RoILayer` does, masks are predicted for
            filled slots only.
        mask_head: Keras model from (n, m, m, K) to mask logits (n, M, M, C); None if there is no
            mask branch.
        res5: Keras model that both branches apply to each RoI (C4; Figure 4, left); None if there
            is none.
    """

    def __init__(
        self,
        config: MaskRCNNConfig,
        box_align: keras.layers.Layer,
        box_head: keras.Model,
        mask_align: keras.layers.Layer | None = None,
        mask_head: keras.Model | None = None,
        res5: keras.Model | None = None,
    ) -> None:
        self.config, self.res5 = config, res5
        self.box_align, self.box_head = box_align, box_head
        self.mask_align, self.mask_head = mask_align, mask_head
        self.frame = Frame.of(config.anchor_rule)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The names of the losses that `compute_losses` returns."""
        return ("classifier", "box") if self.mask_head is None else ("classifier", "box", "mask")

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The Keras models of this stage, by their names in files and in `freeze`."""
        every = {"res5": self.res5, "box_head": self.box_head, "mask_head": self.mask_head}
        return {name: network for name, network in every.items() if network is not None}

    # The two branches

    def box_branch(
        self, features: Tensors, rois: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scores RoIs and refines their boxes.

        Args:
            features: dict of maps, (B, H, W, K).
            rois: (B, R, 4) float32 in the frame of the network.
            training: bool. Whether batch norm uses the batch's statistics.

        Returns:
            class_logits: (B, R, C + 1) float, background first.
            deltas: (B, R, C, 4) float, as `ops.boxes.encode` makes them.
            pooled: (B, R, m, m, K) float. The input of the box head. With C4 it is also the input
                of the mask head.
        """
        pooled = self._pool(self.box_align, features, rois, training)
        class_logits, deltas = per_roi(self.box_head, pooled, training)
        return class_logits, deltas, pooled

    def mask_branch(
        self,
        features: Tensors,
        rois: tf.Tensor,
        training: bool = False,
        owners: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Predicts the masks of RoIs.

        Args:
            features: dict of maps, (B, H, W, K).
            rois: (B, R, 4) float32 in the frame of the network.
            training: bool. Whether batch norm uses the batch's statistics.
            owners: (n,) int32, or None. The image of each RoI, if the RoIs of all images are one
                list (n, 4).

        Returns:
            (B, R, M, M, C) float, or (n, M, M, C) with `owners`. Mask logits, one mask per class.
        """
        pooled = self._pool(self.mask_align, features, rois, training, owners)
        return per_roi(self.mask_head, pooled, training)

    def _pool(self, layer, features, rois, training, owners=None):
        maps = [features[level] for level in strides_of_rois(self.config.neck)]
        pooled = layer(maps, rois) if owners is None else layer(maps, rois, owners)
        return pooled if self.res5 is None else per_roi(self.res5, pooled, training)

    # Inference

    def detect(
        self, features: Tensors, rois: tf.Tensor, sizes: tf.Tensor, training: bool = False
    ) -> Tensors:
        """Detects the objects in images. Masks are predicted for the final boxes (§3.1, Inference).

        Args:
            features: dict of maps, (B, H, W, K).
            rois: (B, R, 4) float32 in the frame of the network. Boxes without area are padding.
            sizes: (B, 2) int32. Height and width of each image without its padding.
            training: bool. Whether batch norm uses the batch's statistics.

        Returns:
            dict of the outputs of `MaskRCNN`, but with boxes in the frame of the network.
        """
        class_logits, deltas, _ = self.box_branch(features, rois, training)
        boxes, scores, labels, count = self.select(class_logits, deltas, rois, sizes)
        found = {"boxes": boxes, "scores": scores, "labels": labels, "num_detections": count}
        if self.mask_head is not None:
            found["masks"] = self._masks(features, boxes, labels, training)
        return found

    def _masks(self, features, boxes, labels, training):
        """Predicts the mask of each detection: (B, D, m, m), 0 in empty slots."""
        kind = self.config.mask_loss
        if training or is_portable() or not self._takes_owners():
            logits = self.mask_branch(features, boxes, training)
            return decode.mask_probabilities(logits, labels, kind)
        # The filled slots of all images are one list, so that only they take time.
        slots = tf.where(labels > 0)
        # If there is none, take an empty one: layers and their gradients need not work on nothing.
        missing = tf.cast(tf.equal(tf.shape(slots)[0], 0), tf.int32)
        slots = tf.pad(slots, [[0, missing], [0, 0]])
        boxes, chosen = tf.gather_nd(boxes, slots), tf.gather_nd(labels, slots)
        owners = tf.cast(slots[:, 0], tf.int32)
        logits = self.mask_branch(features, boxes, training, owners=owners)
        masks = decode.mask_probabilities(logits[None], chosen[None], kind)[0]
        shape = tf.concat([tf.shape(labels), tf.shape(masks)[1:]], axis=0)
        return tf.scatter_nd(slots, masks, tf.cast(shape, slots.dtype))

    def _takes_owners(self):
        overridden = "owners" not in inspect.signature(self.mask_branch).parameters
        return not overridden and takes_owners(self.mask_align)

    def select(
        self,
        class_logits: tf.Tensor,
        deltas: tf.Tensor,
        rois: tf.Tensor,
        sizes: tf.Tensor,
        **limits: Any,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Chooses the detections of each image.

        Args:
            class_logits: (B, R, C + 1) float. As `box_branch` returned them.
            deltas: (B, R, C, 4) float. As `box_branch` returned them.
            rois: (B, R, 4) float32. The RoIs that `box_branch` got. Boxes without area are padding.
            sizes: (B, 2) int32. Height and width of each image without its padding.
            **limits: `score_threshold`, `class_thresholds`, `nms_iou`, `count`, `min_size`,
                `one_class` and `across_classes` of `decode.detections`, to replace the config's
                values.

        Returns:
            boxes, scores, labels and num_detections of `decode.detections`, with boxes in the frame
                of the network.
        """
        config = self.config
        limits = {
            "score_threshold": config.score_threshold,
            "class_thresholds": config.class_thresholds,
            "nms_iou": config.nms_iou,
            "count": config.detections_per_image,
            "min_size": config.box_min_size,
            "one_class": config.one_class_per_roi,
            "across_classes": config.nms_across_classes,
            **limits,
        }
        weights, borders = config.box_delta_weights, self.frame.borders(sizes)
        limits |= {"delta_weights": weights, "suppress": self.suppress}
        return decode.detections(class_logits, deltas, rois, borders, **limits)

    def suppress(self, boxes: tf.Tensor, scores: tf.Tensor, **limits: Any) -> Any:
        """Drops duplicates by NMS, and keeps the best boxes of all classes.

        Args:
            boxes: (B, R, C, 4) float32 in the frame of the network. The box of each RoI for each
                class.
            scores: (B, R, C) float32 in [0, 1]; 0 where there is no box.
            **limits: `count`, `nms_iou`, `score_threshold` and `across_classes` of
                `decode.suppress`. With nms_iou=1 nothing may be dropped as a duplicate.

        Returns:
            boxes, scores, labels and num_detections, as `decode.suppress` returns them.
        """
        return decode.suppress(boxes, scores, **limits)

    # Training

    def compute_losses(
        self,
        features: Tensors,
        proposals: tf.Tensor,
        sizes: tf.Tensor,
        gt: Tensors,
        step: tf.Tensor,
        training: bool = True,
    ) -> tuple[Tensors, tf.Tensor]:
        """Computes the losses of the heads on RoIs sampled from proposals and ground truth (§3.1).

        Args:
            features: dict of maps, (B, H, W, K).
            proposals: (B, P, 4) float32 in the frame of the network. Boxes without area are
                padding.
            sizes: (B, 2) int32. Height and width of each image without its padding.
            gt: dict of boxes (B, G, 4) float32 in the frame of the network, labels (B, G) int32,
                and, for a mask head, masks (B, G, M, M) uint8. It may have `ignored` (B, K, 4)
                float32, regions in which no RoI is background.
            step: () int32. Seeds the sampling, together with the image's place in the batch.
            training: bool. Whether batch norm uses the batch's statistics.

        Returns:
            terms: dict. Maps `loss_names` to () float32.
            labels: (B, S) int32. Labels of the sampled RoIs: above 0 positive, 0 background, below
                0 no RoI.
        """
        config = self.config
        rois, labels, matched = self.sample(proposals, sizes, gt, step)
        class_logits, deltas, pooled = self.box_branch(features, rois, training)
        boxes = tf.gather(gt["boxes"], matched, batch_dims=1)
        own_class = tf.one_hot(tf.maximum(labels - 1, 0), config.num_classes, dtype=deltas.dtype)
        deltas = tf.einsum("bscd,bsc->bsd", deltas, own_class)
        terms = {
            "classifier": self.classifier_loss(class_logits, labels),
            "box": self.box_loss(deltas, rois, boxes, labels),
        }
        if self.mask_head is not None:
            terms["mask"] = self._mask_loss(features, pooled, rois, labels, matched, gt, training)
        return terms, labels

    def classifier_loss(self, class_logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Computes L_cls.

        Args:
            class_logits: (B, S, C + 1) float, background first.
            labels: (B, S) int32. Above 0 positive, 0 background, below 0 no RoI.

        Returns:
            () float32.
        """
        return losses.classifier_loss(class_logits, labels, self.config.roi_loss_divisor)

    def box_loss(
        self, deltas: tf.Tensor, rois: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        """Computes L_box.

        Args:
            deltas: (B, S, 4) float. Of the true class; zeros for background.
            rois: (B, S, 4) float32 in the frame of the network.
            boxes: (B, S, 4) float32 in the frame of the network. The object that each RoI matches.
            labels: (B, S) int32. Above 0 positive; no other RoI may have a loss.

        Returns:
            () float32.
        """
        config = self.config
        wanted = box_ops.encode(boxes, rois, config.box_delta_weights)
        return losses.box_loss(deltas, wanted, labels, config.box_beta, config.roi_loss_divisor)

    def mask_loss(self, logits: tf.Tensor, targets: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Computes L_mask.

        Args:
            logits: (B, F, m, m, C) float, as in `losses.mask_loss`.
            targets: (B, F, m, m) float32 in [0, 1]. The object's mask in the RoI.
            labels: (B, F) int32. Above 0 positive; no other RoI may have a loss.

        Returns:
            () float32.
        """
        return losses.mask_loss(logits, targets, labels, self.config.mask_loss)

    def sample(
        self, proposals: tf.Tensor, sizes: tf.Tensor, gt: Tensors, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Samples the RoIs of a training step, as `targets.sample_rois` does, with the config.

        Args:
            proposals: (B, P, 4) float32. As in `compute_losses`.
            sizes: (B, 2) int32. As in `compute_losses`.
            gt: dict of boxes and labels. As in `compute_losses`.
            step: () int32. As in `compute_losses`.

        Returns:
            rois, labels and matched of `targets.sample_rois`. Labels are -2 in an image that a
                replica got because it had none.
        """
        config = self.config
        batch, slots = tf.unstack(tf.shape(gt["boxes"])[:2])
        noise = targets.sampling_noise([batch, tf.shape(proposals)[1] + slots], step, stream=1)
        rois, labels, matched = targets.sample_rois(
            proposals,
            gt["boxes"],
            gt["labels"],
            noise,
            count=config.roi_batch,
            positive_fraction=config.roi_positive_fraction,
            positive_iou=config.roi_positive_iou,
            ignored=gt.get("ignored"),
        )
        return rois, targets.without_filling(labels, sizes), matched

    def _mask_loss(self, features, pooled, rois, labels, matched, gt, training):
        """Computes L_mask, for the positive RoIs only."""
        config = self.config
        # Positives come first. The slots after them have no loss and are cut off. They would cost
        # as much as positives do: four convolutions per RoI are the largest part of a step.
        count = tf.reduce_max(tf.reduce_sum(tf.cast(labels > 0, tf.int32), axis=1))
        count = tf.maximum(count, 1)
        # Batch norm's statistics include empty slots, so all replicas must have the same number.
        if config.head_norm == "batch":
            count = tf.reduce_max(replicas.concat_over_replicas(count[None]))
        rois, labels, matched = rois[:, :count], labels[:, :count], matched[:, :count]
        if self.res5 is None:
            logits = self.mask_branch(features, rois, training)
        else:  # Figure 4, left: both branches see the same features of a RoI
            logits = per_roi(self.mask_head, pooled[:, :count], training)
        mask_targets = targets.mask_targets(
            rois, gt["boxes"], gt["masks"], matched, logits.shape[2], soft=config.soft_mask_targets
        )
        return self.mask_loss(logits, mask_targets, labels)

    def get_config(self) -> dict[str, Any]:
        """Returns a dict of plain values for `from_config`."""
        parts = {name: getattr(self, name) for name in _PARTS}
        parts = {
            name: None if part is None else keras.saving.serialize_keras_object(part)
            for name, part in parts.items()
        }
        return {"config": dataclasses.asdict(self.config), **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the stage from the dict that `get_config` returned. Weights are loaded later."""
        parts = {
            name: None if part is None else keras.saving.deserialize_keras_object(part)
            for name, part in config.items()
            if name != "config"
        }
        return cls(MaskRCNNConfig.from_fields(config["config"]), **parts)


_PARTS = ("box_align", "box_head", "mask_align", "mask_head", "res5")
