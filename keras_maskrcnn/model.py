"""Mask R-CNN as a Keras model: forward, losses, steps. `networks` has what it consists of."""

import contextlib
import dataclasses
import functools
import inspect
import os
import reprlib

import keras
import tensorflow as tf
from absl import logging

from keras_maskrcnn import checks, decode, distribution, files, losses, targets
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.layers.changes import apply_changes, changes, state_of_layers
from keras_maskrcnn.networks import NETWORKS, STRIDES, anchor_sizes, build_networks
from keras_maskrcnn.ops import anchors as anchor_ops
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.presets import preset_config
from keras_maskrcnn.weights import KERAS_CONVENTIONS, load_for_preset
from keras_maskrcnn.weights.untrained import advice

LOSSES = ("rpn_objectness", "rpn_box", "classifier", "box", "mask")
# What `fit` and `evaluate` report beside them: which of the annotated boxes a proposal overlaps by
# half, which of the sampled RoIs are positive.
SHARES = ("proposal_recall", "foreground_share")


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class MaskRCNN(keras.Model):
    """Mask R-CNN (He et al., 2017, §3 and Figure 4), and its parts: Faster R-CNN, the RPN.

    Inputs, of `call`, `predict` and `evaluate`, are either a batch of `data.batches`:
        images: (B, H, W, 3) float32 RGB in 0..255, zero-padded on the right and below to multiples
            of config.padding_multiple; sizes: (B, 2) int32, height and width without padding;
            original_sizes: (B, 2) int32, before resizing.
    or images as they are, (B, H, W, 3) uint8 or float RGB in 0..255: then they are resized inside.
    With proposals="precomputed" both have proposals: (B, P, 4) float32 in pixels of `images`, zeros
    in padding; plain images then are a dict of the two.

    Outputs:
        boxes: (B, D, 4) float32 [x1, y1, x2, y2] in pixels of the original images, by falling
            score; scores: (B, D) float32; labels: (B, D) int32 in 1..num_classes, 0 in empty
            slots; masks: (B, D, m, m) float32 probabilities of the label's mask, in its box (not
            with task="boxes");
            num_detections: (B,) int32.
        With task="proposals" instead boxes: (B, P, 4), scores: (B, P), as above, of the RPN;
            num_proposals: (B,) int32.

    `fit` ignores other inputs; by `indices`, (B,) int32, `training.Sentinel` names images.

    `fit` and `evaluate` also take the targets of `data.batches`:
        boxes: (B, G, 4) float32 in pixels of `images`; labels: (B, G) int32, 0 in padding; masks:
            (B, G, M, M) uint8 in 0..255, each in its own box (only task="masks" needs them).

    Args:
        config: a `MaskRCNNConfig`.

    Raises:
        ValueError: if Keras' image_data_format is "channels_first"; from `call`, if the inputs are
            neither of the above; from `fit`, `evaluate`, `predict` and those `..._on_batch`, also
            if the values of inputs or targets are others than these (DataError: if `data.batches`
            could not read an image).
    """

    def __init__(self, config, **kwargs):
        if keras.config.image_data_format() != "channels_last":
            raise ValueError(
                "Keras' image_data_format must be 'channels_last', see "
                "keras.config.set_image_data_format. "
                f"Received: {keras.config.image_data_format()!r}."
            )
        super().__init__(**{"autocast": False, **kwargs})  # pixels and boxes come in as they are
        self.config = config
        self.supports_jit = False  # neither CropAndResize nor CombinedNonMaxSuppression has XLA's
        with _dtype_policy(self.dtype_policy):
            parts = build_networks(config)
        # None where the config has no such network.
        self.backbone, self.res5, self.fpn, self.rpn_head, self.box_head, self.mask_head = (
            parts.get(name) for name in NETWORKS
        )
        self.box_align, self.mask_align = parts.get("box_align"), parts.get("mask_align")
        self.strides = STRIDES[config.neck]
        # What x2, y2 of our boxes exceed Matterport's by, whose boxes end on their last pixel.
        self.far_corner = (0, 0, 1, 1) if config.anchor_rule == "matterport" else (0, 0, 0, 0)
        first = 2 if config.proposals == "precomputed" else 0
        terms = LOSSES[first : {"masks": 5, "boxes": 4, "proposals": 2}[config.task]]
        shares = SHARES[: 1 if config.task == "proposals" else 2]
        self.trackers = {name: keras.metrics.Mean(name) for name in ("loss", *terms, *shares)}
        # training.Sentinel and training.Throughput: those of the next `fit`, and of the last.
        self.sentinel = self.throughput = self._sentinel = self._throughput = None
        # All weights exist: Keras would otherwise trace `call` once more to build them.
        self.built = True
        self._layers_as_built = state_of_layers(self)

    @classmethod
    def from_preset(cls, preset, weights=None, dtype=None, **overrides):
        """Builds a model from a preset of `PRESETS`, with config fields replaced.

        Args:
            preset: str, for instance "mask_rcnn_resnet50_fpn".
            weights: for presets of torchvision's, detectron2's or Matterport's conventions, "coco",
                which downloads what they published, or the path of a checkpoint of theirs. With
                another `num_classes` than the preset's the predictors are left out. For backbones
                of resnet50 and resnet101 also "imagenet", keras.applications' own; the config then
                has `weights.KERAS_CONVENTIONS`.
            dtype: dtype policy, for instance "mixed_bfloat16"; None for Keras' global one.
            **overrides: fields of `MaskRCNNConfig`, for instance `num_classes=3`.

        Raises:
            ValueError: if there is no such preset or field, a value is out of its range, or the
                weights (CheckpointError) cannot be had or do not fit.
        """
        if weights == "imagenet":
            overrides = {**KERAS_CONVENTIONS, **overrides}
        config = preset_config(preset, **overrides)
        make = functools.partial(cls, dtype=dtype)
        return make(config) if weights is None else load_for_preset(make, preset, config, weights)

    def with_config(self, **overrides):
        """Returns a copy with the same weights and other numbers.

        Args:
            **overrides: fields of `MaskRCNNConfig` that no weight's shape depends on, for instance
                `detections_per_image=500`.
        """
        copy = type(self)(dataclasses.replace(self.config, **overrides), dtype=self.dtype_policy)
        apply_changes(copy, self.changed_layers())
        copy.set_weights(self.get_weights())
        return copy

    @property
    def networks(self):
        """The networks that the model has, by name."""
        every = {name: getattr(self, name) for name in NETWORKS}
        return {name: network for name, network in every.items() if network is not None}

    def copy_networks(self, other):
        """Takes over the weights of the networks that another model has too.

        Sharing networks is how a detector and an RPN that were trained apart become one (Faster
        R-CNN §3.2, 4-step alternating training).

        Args:
            other: MaskRCNN.

        Returns:
            tuple of the networks' names.

        Raises:
            ValueError: if a network of the same name is another one; nothing is changed then.
        """
        shared = [name for name in self.networks if name in other.networks]
        for name in shared:
            ours, theirs = (m.networks[name].weights for m in (self, other))
            if [(v.path, v.shape) for v in ours] != [(v.path, v.shape) for v in theirs]:
                raise ValueError(
                    f"the {name} of the two models differ, in their configs, quantization or LoRA."
                )
        for name in shared:
            self.networks[name].set_weights(other.networks[name].get_weights())
        return tuple(shared)

    # Forward

    def call(self, inputs, training=False):
        """Detects: see the class. With `training=True` only batch norm behaves differently.

        Gradients flow back from scores, boxes and masks of what was found, but not through the
        proposals, which are fixed boxes to the heads, in training too (Faster R-CNN §3.2).
        """
        inputs = self._canvas(inputs)
        images = inputs["images"]
        if images.shape[0]:
            return self._detect(inputs, training)
        # There may be none, which convolutions fail on: then one of zeros is cut off again.
        inputs, _ = distribution.not_empty(inputs, {}, training=False)
        outputs = self._detect(inputs, training)
        return {name: value[: tf.shape(images)[0]] for name, value in outputs.items()}

    def _detect(self, inputs, training):
        """The outputs of `call` for a batch of `data.batches`."""
        config, sizes = self.config, inputs["sizes"]
        features = self._features(inputs, training)
        if config.proposals == "precomputed":
            rois = self._given_proposals(inputs)
        else:
            *_, rois, scores = self._propose(
                features, sizes, training, config.test_pre_nms, config.test_proposals
            )
        if config.task == "proposals":
            count = tf.reduce_sum(tf.cast(scores > 0, tf.int32), axis=1)
            boxes = rois + tf.cast(scores > 0, tf.float32)[..., None] * self.far_corner
            boxes = box_ops.rescale(boxes, sizes, inputs["original_sizes"])
            return {"boxes": boxes, "scores": scores, "num_proposals": count}
        class_logits, deltas, _ = self._box_branch(features, rois, training)
        boxes, scores, labels, count = self._detections(class_logits, deltas, rois, sizes)
        outputs = {"scores": scores, "labels": labels, "num_detections": count}
        if config.task == "masks":
            mask_logits = self._mask_branch(features, boxes, training)
            outputs["masks"] = losses.mask_probabilities(mask_logits, labels, config.mask_loss)
        boxes += tf.cast(labels > 0, tf.float32)[..., None] * self.far_corner
        outputs["boxes"] = box_ops.rescale(boxes, sizes, inputs["original_sizes"])
        return outputs

    def compute_losses(self, inputs, gt, training=True):
        """Runs the networks once and compares with the truth.

        Args:
            inputs, gt: a batch of `data.batches`, see the class.
            training: bool. Whether batch norm uses the batch's statistics.

        Returns:
            dict of `LOSSES` to () float32, those that the model has. `SHARES` go into `metrics`.
        """
        if self.config.task == "masks" and "masks" not in gt:
            raise ValueError(
                "task='masks' needs targets with masks; a data set that was read with masks=False"
                f" is for task='boxes'. Received: targets={sorted(gt)}."
            )
        inputs, gt = distribution.not_empty(inputs, gt, training)
        gt, terms = _without_empty_slots(gt), {}
        gt = {**gt, "boxes": tf.subtract(gt["boxes"], self.far_corner)}
        features = self._features(inputs, training)
        if self.config.proposals == "precomputed":
            proposals = self._given_proposals(inputs)
        else:
            terms, proposals = self._rpn_losses(features, inputs["sizes"], gt, training)
        self._count("proposal_recall", targets.recalled(proposals, gt["boxes"]), gt["labels"] > 0)
        if self.config.task != "proposals":
            terms |= self._roi_losses(features, proposals, inputs["sizes"], gt, training)
        return terms

    def _given_proposals(self, inputs):
        """The proposals of x in the model's own frame, in which padding keeps an area of 0."""
        proposals = targets.with_a_slot(inputs["proposals"])
        filled = box_ops.area(proposals) > 0
        return proposals - tf.cast(filled, tf.float32)[..., None] * self.far_corner

    def _rpn_losses(self, features, sizes, gt, training):
        """The RPN's two terms, and its proposals."""
        config, gt_boxes = self.config, gt["boxes"]
        logits, deltas, anchors, proposals, _ = self._propose(
            features, sizes, training, config.train_pre_nms, config.train_proposals
        )
        logits, deltas = tf.concat(logits, axis=1), tf.concat(deltas, axis=1)
        anchors = tf.concat(anchors, axis=0)
        labels, matched = targets.anchor_labels(
            anchors,
            gt_boxes,
            positive_iou=config.rpn_positive_iou,
            negative_iou=config.rpn_negative_iou,
        )
        max_positives = max(1, int(config.rpn_batch * config.rpn_positive_fraction))
        noise = self._noise(tf.shape(labels), stream=0)
        chosen, labels = targets.sample(labels, noise, config.rpn_batch, max_positives)
        labels = _without_filling(labels, sizes)
        matched = tf.gather(matched, chosen, batch_dims=1)
        anchor_targets = box_ops.encode(
            tf.gather(gt_boxes, matched, batch_dims=1), tf.gather(anchors, chosen)
        )
        rpn_logits = tf.gather(logits, chosen, batch_dims=1)
        rpn_deltas = tf.gather(deltas, chosen, batch_dims=1)
        terms = {
            "rpn_objectness": losses.objectness_loss(rpn_logits, labels, config.rpn_loss_divisor),
            "rpn_box": losses.box_loss(
                rpn_deltas, anchor_targets, labels, config.rpn_box_beta, config.rpn_loss_divisor
            ),
        }
        # CropAndResize would fail before anybody could say that the losses are not finite.
        return terms, tf.where(tf.math.is_finite(proposals), proposals, 0.0)

    def _roi_losses(self, features, proposals, sizes, gt, training):
        """The heads' terms, on RoIs that are sampled from the proposals and the truth."""
        config, gt_boxes = self.config, gt["boxes"]
        batch, slots = tf.unstack(tf.shape(gt_boxes)[:2])
        rois, labels, matched = targets.sample_rois(
            proposals,
            gt_boxes,
            gt["labels"],
            self._noise([batch, tf.shape(proposals)[1] + slots], stream=1),
            count=config.roi_batch,
            positive_fraction=config.roi_positive_fraction,
            positive_iou=config.roi_positive_iou,
        )
        labels = _without_filling(labels, sizes)
        self._count("foreground_share", labels > 0, labels >= 0)
        class_logits, deltas, shared = self._box_branch(features, rois, training)
        box_targets = box_ops.encode(
            tf.gather(gt_boxes, matched, batch_dims=1), rois, config.box_delta_weights
        )
        own_class = tf.one_hot(tf.maximum(labels - 1, 0), config.num_classes, dtype=deltas.dtype)
        deltas = tf.einsum("bscd,bsc->bsd", deltas, own_class)
        divisor = config.roi_loss_divisor
        terms = {
            "classifier": losses.classifier_loss(class_logits, labels, divisor),
            "box": losses.box_loss(deltas, box_targets, labels, config.box_beta, divisor),
        }
        if config.task == "boxes":
            return terms

        # Positives come first. The empty slots behind them would cost what full ones do, and four
        # convolutions of each are the largest part of a step.
        count = tf.reduce_max(tf.reduce_sum(tf.cast(labels > 0, tf.int32), axis=1))
        count = tf.maximum(count, 1)
        if config.head_norm == "batch":  # whose statistics see empty slots too, the same everywhere
            count = tf.reduce_max(distribution.concat_over_replicas(count[None]))
        rois, labels, matched = rois[:, :count], labels[:, :count], matched[:, :count]
        if self.res5 is None:
            mask_logits = self._mask_branch(features, rois, training)
        else:  # Figure 4, left: both branches see the same features of a RoI
            mask_logits = self._per_roi(self.mask_head, shared[:, :count], training)
        mask_targets = targets.mask_targets(
            rois,
            gt_boxes,
            gt["masks"],
            matched,
            mask_logits.shape[2],
            soft=config.soft_mask_targets,
        )
        terms["mask"] = losses.mask_loss(mask_logits, mask_targets, labels, config.mask_loss)
        return terms

    def _canvas(self, inputs):
        """Brings plain images into the form of `data.batches`."""
        precomputed = self.config.proposals == "precomputed"
        if not isinstance(inputs, dict):
            inputs = {"images": inputs}
        needed = {"images"} | ({"proposals"} if precomputed else set())
        if set(inputs) != needed:  # not plain images
            needed |= {"sizes", "original_sizes"}
        missing = needed - set(inputs)
        if missing:
            raise ValueError(f"inputs lack {sorted(missing)}. Received: {sorted(inputs)}.")
        if "sizes" in needed:
            return inputs
        images = tf.convert_to_tensor(inputs["images"])
        if images.shape.rank != 4 or images.shape[-1] != 3:
            raise ValueError(f"images are (B, H, W, 3). Received: shape={images.shape}.")
        original = tf.shape(images)[1:3]
        images = image_ops.resize(
            images, self.config.image_min_side, self.config.image_max_side, self.config.resize_rule
        )
        rows = [tf.shape(images)[0], 1]
        canvas = {
            "sizes": tf.tile(tf.shape(images)[None, 1:3], rows),
            "original_sizes": tf.tile(original[None], rows),
            "images": image_ops.pad_to_multiple(images, self.config.padding_multiple),
        }
        if precomputed:
            canvas["proposals"] = box_ops.rescale(
                inputs["proposals"], canvas["original_sizes"], canvas["sizes"]
            )
        return canvas

    def _features(self, inputs, training):
        """Images -> the maps of `self.strides`, {"p2".."p6"} with FPN."""
        mean, std = self.config.pixel_mean, self.config.pixel_std
        images, sizes = inputs["images"], inputs["sizes"]
        # Padding is the mean color, as in every peer: zero after, not before, normalization.
        rows = tf.sequence_mask(sizes[:, 0], tf.shape(images)[1])
        columns = tf.sequence_mask(sizes[:, 1], tf.shape(images)[2])
        inside = (rows[:, :, None] & columns[:, None, :])[..., None]
        images = tf.where(inside, (tf.cast(images, tf.float32) - mean) / std, 0.0)
        images = tf.cast(images, self.compute_dtype)
        features = self.backbone(images, training=training)
        return features if self.fpn is None else self.fpn(features, training=training)

    def _propose(self, features, sizes, training, pre_nms, count):
        """Features -> logits, deltas and anchors of each level; proposals and their scores."""
        config = self.config
        torchvision = config.anchor_rule == "torchvision"
        logits, deltas, anchors = [], [], []
        for (level, stride), sizes_of_level in zip(
            self.strides.items(), anchor_sizes(config), strict=True
        ):
            feature = features[level]
            level_logits, level_deltas = self.rpn_head(feature, training=training)
            batch, height, width = tf.unstack(tf.shape(feature)[:3])
            logits.append(tf.cast(tf.reshape(level_logits, [batch, -1]), tf.float32))
            deltas.append(tf.cast(tf.reshape(level_deltas, [batch, -1, 4]), tf.float32))
            if torchvision:  # its strides are of whole pixels, and fit the padded size
                canvas = tf.shape(features["p2"])[1:3] * self.strides["p2"]
                stride = canvas // tf.stack([height, width])
            level_anchors = anchor_ops.level_anchors(
                height, width, stride, sizes_of_level, config.anchor_ratios, torchvision
            )
            anchors.append(level_anchors - self.far_corner)
        proposals, scores = self._proposals(
            logits, deltas, anchors, sizes, pre_nms=pre_nms, count=count
        )
        return logits, deltas, anchors, proposals, scores

    def _proposals(self, logits, deltas, anchors, sizes, **limits):
        """`decode.proposals` of all levels within the config's limits, or others."""
        config, groups = self.config, (logits, deltas, anchors)
        if config.rpn_joint_nms:  # all levels as one
            groups = ([tf.concat(x, axis)] for x, axis in zip(groups, (1, 1, 0), strict=True))
        limits = {"nms_iou": config.rpn_nms_iou, "min_size": config.rpn_min_size, **limits}
        return decode.proposals(*groups, sizes - self.far_corner[2], **limits)

    def _detections(self, class_logits, deltas, rois, sizes, **limits):
        """`decode.detections` within the config's limits, or others."""
        config = self.config
        limits = {
            "score_threshold": config.score_threshold,
            "nms_iou": config.nms_iou,
            "count": config.detections_per_image,
            "min_size": config.box_min_size,
            "one_class": config.one_class_per_roi,
            **limits,
        }
        return decode.detections(
            class_logits,
            deltas,
            rois,
            sizes - self.far_corner[2],
            delta_weights=config.box_delta_weights,
            **limits,
        )

    def _box_branch(self, features, rois, training):
        """RoIs (B, R, 4) -> class logits (B, R, C + 1), deltas (B, R, C, 4), the head's input."""
        pooled = self._pool(self.box_align, features, rois, training)
        return *self._per_roi(self.box_head, pooled, training), pooled

    def _mask_branch(self, features, rois, training):
        """RoIs (B, R, 4) -> mask logits (B, R, m, m, C)."""
        pooled = self._pool(self.mask_align, features, rois, training)
        return self._per_roi(self.mask_head, pooled, training)

    def _pool(self, layer, features, rois, training):
        """RoIs (B, R, 4) -> what a head sees of them, (B, R, m, m, K)."""
        pooled = layer([features[level] for level in list(self.strides)[:4]], rois)
        return pooled if self.res5 is None else self._per_roi(self.res5, pooled, training)

    @staticmethod
    def _per_roi(head, pooled, training):
        """Applies a head to (B, R, m, m, K), with the RoIs of all images as one batch."""
        images, count = tf.unstack(tf.shape(pooled)[:2])
        outputs = head(tf.reshape(pooled, [-1, *pooled.shape[2:]]), training=training)
        split = [tf.reshape(x, [images, count, *x.shape[1:]]) for x in tf.nest.flatten(outputs)]
        return split if len(split) > 1 else split[0]

    def _noise(self, shape, stream):
        """Uniform numbers that decide which anchors (stream 0) or RoIs (1) this step samples.

        They depend on the optimizer's step and the image's place in the batch of all replicas
        alone: a resumed run draws what the interrupted one would have drawn, and two replicas what
        one would. A longer row begins with the shorter one's numbers, so slots do not matter.
        """
        optimizer = getattr(self, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        # Private: `iterations` stands still while gradients are accumulated.
        step = tf.cast(optimizer._iterations, tf.int32) if optimizer else 0
        batch, count = tf.unstack(tf.convert_to_tensor(shape))
        return tf.map_fn(
            lambda image: tf.random.stateless_uniform([count], [step, 2 * image + stream]),
            distribution.first_image(batch) + tf.range(batch),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
        )

    # Keras

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **kwargs):
        """Keras' own, but for losses and metrics, which the model has (`LOSSES`, `SHARES`).

        Raises:
            ValueError: if others are given.
        """
        given = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": kwargs.get("weighted_metrics"),
        }
        given = {name: value for name, value in given.items() if value}
        if given:
            received = ", ".join(f"{name}={reprlib.repr(x)}" for name, x in given.items())
            raise ValueError(
                "MaskRCNN has its own losses and metrics; COCO's numbers are CocoEvaluation's. "
                f"Received: {received}."
            )
        super().compile(optimizer, **kwargs)

    def compile_from_config(self, config):
        """Compiles the model as it was when it was saved."""
        config = keras.saving.deserialize_keras_object(config)
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            config.pop(name, None)  # version 0.1 took them, and did nothing with them
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        call = _bind("fit", self, args, kwargs)
        try:
            return self._checked_fit(call)
        except BaseException:
            self._forget_failed_fit(call.arguments.get("callbacks"))
            raise

    def _checked_fit(self, call):
        given = call.arguments
        validation = given.get("validation_data")
        if isinstance(validation, tf.data.Dataset):
            self._warn_of_sizes("fit: validation_data", validation)
            given["validation_data"] = checks.check_data(validation)
        elif validation is not None:
            x, y, _ = keras.utils.unpack_x_y_sample_weight(validation)
            checks.check_data(x, y, **self._target_limits())
        if not isinstance(given.get("callbacks"), keras.callbacks.CallbackList):
            callbacks = _listed(given.get("callbacks"))
            self._check_callbacks(callbacks)
            for callback in callbacks:
                if hasattr(callback, "look_at_others"):
                    callback.look_at_others(callbacks)
            # Last: training.Backup restores weights as the first epoch begins.
            given["callbacks"] = [_WholeEpochs(), *callbacks, _Advice()]
        return self._checked_call("fit", call)

    def _check_callbacks(self, callbacks):
        """Refuses those that Keras would refuse too, but after an epoch, or after days."""
        monitors = keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau
        for callback in callbacks:
            best = isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_best_only
            if not best and not isinstance(callback, monitors):
                continue
            known = callback.monitor_op is not None or callback.mode != "auto"
            if not known and callback.monitor.removeprefix("val_") != "loss":
                raise ValueError(
                    f'{type(callback).__name__} needs mode="max" or mode="min", for Keras cannot '
                    f"guess it. Received: monitor={callback.monitor!r}, mode='auto'."
                )
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        rate = getattr(optimizer, "_learning_rate", None)  # private: the public one is a number
        schedules = keras.optimizers.schedules.LearningRateSchedule
        setters = keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler
        found = [type(x).__name__ for x in callbacks if isinstance(x, setters)]
        if found and isinstance(rate, schedules):
            raise ValueError(
                f"{found[0]} sets the learning rate, which follows a schedule: compile with an "
                "optimizer whose learning_rate is a number. "
                f"Received: learning_rate={type(rate).__name__}."
            )

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        call = _bind("evaluate", self, args, kwargs)
        if "_use_cached_eval_dataset" in call.kwargs:  # `fit` has looked
            return super().evaluate(*args, **kwargs)
        return self._checked_call("evaluate", call)

    @functools.wraps(keras.Model.predict)
    def predict(self, *args, **kwargs):
        call = _bind("predict", self, args, kwargs)
        x = call.arguments["x"]
        if isinstance(x, tf.data.Dataset) and x.cardinality() == 0:
            raise ValueError("predict needs a batch, if of no image. Received: a data set of none.")
        images = x.get("images") if isinstance(x, dict) else x
        if getattr(images, "shape", (1,))[:1] == (0,):  # of which Keras' loop makes no batch
            return self.predict_on_batch(x)
        return self._checked_call("predict", call)

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, *args, **kwargs):
        return self._checked_call("train_on_batch", _bind("train_on_batch", self, args, kwargs))

    @functools.wraps(keras.Model.test_on_batch)
    def test_on_batch(self, *args, **kwargs):
        return self._checked_call("test_on_batch", _bind("test_on_batch", self, args, kwargs))

    @functools.wraps(keras.Model.predict_on_batch)
    def predict_on_batch(self, *args, **kwargs):
        return self._checked_call("predict_on_batch", _bind("predict_on_batch", self, args, kwargs))

    def _checked_call(self, name, call):
        """Calls Keras' method after a look at its arguments; an error that we foresee is a line."""
        self._look_at(name, call.arguments)
        with checks.plain_errors():
            return getattr(super(), name)(*call.args[1:], **call.kwargs)

    def _look_at(self, name, given):
        """Checks the arguments of a Keras method, and puts a checked `x` in place of theirs."""
        for weights in ("class_weight", "sample_weight"):
            if given.get(weights) is not None:
                raise ValueError(f"images are not weighted. Received: {weights}.")
        if given.get("x") is None:
            return
        self._warn_of_sizes(name, given["x"])
        callbacks = _listed(given.get("callbacks"))
        skips = any(hasattr(callback, "before_step") for callback in callbacks)  # a Sentinel
        given["x"] = checks.check_data(
            given["x"], given.get("y"), finite=not skips, **self._target_limits()
        )

    def _warn_of_sizes(self, name, dataset):
        line = checks.check_resizing(dataset, self.config.resizing())
        if line:
            logging.warning("%s: %s", name, line)

    def _target_limits(self):
        """What `checks.check_targets` has to know."""
        return {"num_classes": self.config.num_classes, "masks": self.config.task == "masks"}

    def make_train_function(self, force=False):
        """Keras' own, with the optimizer's momenta made before, and with what callbacks look at.

        The first step would make the momenta otherwise, and TensorFlow trace it twice. Callbacks
        have their say before each `fit`: those of one that failed do not stay.
        """
        force = force or (self.sentinel, self.throughput) != (self._sentinel, self._throughput)
        self._sentinel, self._throughput = self.sentinel, self.throughput
        self.sentinel = self.throughput = None
        if self._sentinel is not None and self.steps_per_execution > 1:
            raise ValueError(
                "a Sentinel looks at every step. "
                f"Received: steps_per_execution={self.steps_per_execution}."
            )
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1 and optimizer.gradient_accumulation_steps:
            # Keras decides inside of a replica whether to step, where replicas cannot be merged.
            raise ValueError(
                "several replicas share a larger batch instead of accumulating gradients. "
                f"Received: gradient_accumulation_steps={optimizer.gradient_accumulation_steps}."
            )
        if not self.optimizer.built:  # LossScaleOptimizer would begin anew
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def _forget_failed_fit(self, callbacks):
        """Undoes what callbacks would have undone at the end of `fit`."""
        self.sentinel = self.throughput = None
        for callback in _listed(callbacks):
            if isinstance(callback, keras.callbacks.SwapEMAWeights):
                callback.on_epoch_begin(0)  # the average goes out of the model, if it is in
            if hasattr(callback, "on_fit_failed"):  # of training.Backup
                callback.on_fit_failed()

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing, for all weights exist.

        Keras' own, private as it is, would draw a batch for it under a strategy: the first epoch's
        order would be lost, and several workers fail on averaging a batch.
        """

    def train_step(self, data):
        """One step of SGD on a batch (inputs, targets) of `data.batches`."""
        sentinel = self._sentinel
        inputs, gt = self._checked(data, finite=sentinel is None)  # else it names the images
        if self._throughput is not None:
            self._throughput.note_arrival(inputs["sizes"])
        if sentinel is not None:
            inputs, gt, boxes_are_finite, before = sentinel.before_step(inputs, gt)
        with tf.GradientTape() as tape:
            terms = self.compute_losses(inputs, gt, training=True)
            total = tf.add_n(list(terms.values()))
            # Gradients are summed over replicas; dividing makes that sum a mean.
            replicas = self.distribute_strategy.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(total / replicas)
        variables = [v.value for v in self.trainable_variables]
        gradients = tape.gradient(scaled, variables)
        gradients = distribution.sum_gradients(gradients)
        if sentinel is None:
            # Last, for what needs no gradient (weight decay, momentum times its rate) would run
            # first, and keep twice the weights' memory through the step.
            found = [x for x in gradients if x is not None]
            with tf.control_dependencies(found), distribution.summed_before(self.optimizer):
                self.optimizer.apply_gradients(
                    zip(gradients, self.trainable_variables, strict=True)
                )
            return self._track(total, terms)
        finite = sentinel.step_if_finite(inputs, boxes_are_finite, terms, gradients, before)
        return self._track(total, terms, finite)

    def test_step(self, data):
        """The losses of a batch (inputs, targets), without training."""
        terms = self.compute_losses(*self._checked(data, finite=True), training=False)
        return self._track(tf.add_n(list(terms.values())), terms)

    def predict_step(self, data):
        """The detections of a batch; targets, if any, are ignored."""
        inputs = keras.utils.unpack_x_y_sample_weight(data)[0]
        return self(self._canvas(checks.check_prediction(inputs)), training=False)

    def _checked(self, data, finite):
        inputs, gt = _unpack(data)
        gt = checks.check_targets(inputs, gt, finite=finite, **self._target_limits())
        return checks.check_inputs(inputs, finite), gt

    def _count(self, name, values, counted):
        """Adds to the share of those that count, (B, N) bool, for which `values` is true."""
        # Flat, for keras.metrics.Mean first averages over the later axes, whose length varies.
        values, counted = (tf.reshape(tf.cast(x, tf.float32), [-1]) for x in (values, counted))
        self.trackers[name].update_state(values, sample_weight=counted)

    def _track(self, total, terms, counts=True):
        """Adds losses to the running means if the step counts, () bool, and returns the means."""
        for name, value in {"loss": total, **terms}.items():
            value = tf.where(counts, value, 0.0)  # NaN times a weight of 0 is NaN
            self.trackers[name].update_state(value, sample_weight=tf.cast(counts, tf.float32))
        logs = {name: tracker.result() for name, tracker in self.trackers.items()}
        if distribution.worker(self.distribute_strategy)[1] > 1:
            # Keras averages over the first axis too there, which scalars do not have.
            logs = {name: value[None] for name, value in logs.items()}
        return logs

    @property
    def metrics(self):
        """The running means of the losses, and of `SHARES`."""
        return list(self.trackers.values())

    def save(self, filepath, overwrite=True, **kwargs):
        """Keras' own; but a .keras file that is replaced stays until the new one is complete."""
        if kwargs or not (overwrite and _is_local(filepath, ".keras")):
            return super().save(filepath, overwrite=overwrite, **kwargs)
        with files.replacing(filepath) as new:
            super().save(new)

    def save_weights(self, filepath, overwrite=True, **kwargs):
        """Keras' own; but a .weights.h5 file stays until the new one is complete."""
        if kwargs or not (overwrite and _is_local(filepath, ".weights.h5")):
            return super().save_weights(filepath, overwrite=overwrite, **kwargs)
        with files.replacing(filepath) as new:
            super().save_weights(new)

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """Writes the model for other programs.

        Args:
            filepath: str. A folder, or a file for "onnx" and "litert".
            format: "tf_saved_model", "onnx" or "litert".
            **kwargs: of `export.export_saved_model`, `export_onnx` or `export_litert`.

        Raises:
            ValueError: if there is no such format.
        """
        from keras_maskrcnn import export

        exporters = {
            "tf_saved_model": export.export_saved_model,
            "onnx": export.export_onnx,
            "litert": export.export_litert,
        }
        if format not in exporters:
            raise ValueError(
                f"format must be one of {', '.join(exporters)}. Received: format={format!r}."
            )
        if kwargs.get("input_signature", ()) is None:  # Keras' default
            del kwargs["input_signature"]
        _, _, *known = inspect.signature(exporters[format]).parameters
        for name in kwargs.keys() - set(known):
            raise ValueError(
                f"an export as {format} has fixed inputs, and takes {', '.join(known)}. "
                f"Received: {name}."
            )
        exporters[format](self, filepath, **kwargs)

    def compute_output_shape(self, input_shape):
        """Returns the shapes of what `call` returns, by name.

        Args:
            input_shape: (B, H, W, 3), or those of a batch's tensors by name; B may be None.
        """
        config = self.config
        images = (input_shape["images"] if isinstance(input_shape, dict) else input_shape)[0]
        if config.task == "proposals":
            slots = (images, config.test_proposals)
            return {"boxes": (*slots, 4), "scores": slots, "num_proposals": (images,)}
        slots = (images, config.detections_per_image)
        shapes = {"scores": slots, "labels": slots, "num_detections": (images,)}
        if config.task == "masks":
            side = self.mask_head.output_shape[1]
            shapes["masks"] = (*slots, side, side)
        return {**shapes, "boxes": (*slots, 4)}

    def compute_output_spec(self, inputs, training=False):
        """Returns those shapes with dtypes, which Keras would take for floats."""
        shapes = self.compute_output_shape(tf.nest.map_structure(lambda x: x.shape, inputs))
        whole = ("labels", "num_detections", "num_proposals")
        return {
            name: keras.KerasTensor(shape, "int32" if name in whole else "float32")
            for name, shape in shapes.items()
        }

    def changed_layers(self):
        """What was changed of layers since they were made, see `layers.changes.changes`."""
        return changes(self, self._layers_as_built)

    def get_config(self):
        """Returns what `from_config` needs, as plain values: the config, and changed layers."""
        config = {**_name_and_dtype(self), "config": dataclasses.asdict(self.config)}
        changed = self.changed_layers()
        return {**config, "changes": changed} if changed else config

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`; ValueError if a field is unknown or out of its range."""
        if "config" not in config:
            raise ValueError(f"a MaskRCNN needs a config. Received: {sorted(config)}.")
        config = {**config, "config": MaskRCNNConfig.from_fields(config["config"])}
        changed = config.pop("changes", {})
        model = cls(**config)
        apply_changes(model, changed)
        return model


def _is_local(path, suffix):
    """Whether a path ends so, and lies in a folder of this machine: not gs://, say."""
    path = str(path)
    return path.endswith(suffix) and os.path.isdir(os.path.dirname(os.path.abspath(path)))


class _Advice(keras.callbacks.Callback):
    """Warns of layers that are frozen at random, before the first step."""

    def on_train_begin(self, logs=None):
        self.due = True

    def on_epoch_begin(self, epoch, logs=None):
        line = advice(self.model.networks) if self.due else ""
        self.due = False
        if line:
            logging.warning("fit: %s", line)


class _WholeEpochs(keras.callbacks.Callback):
    """Raises ValueError if an epoch on several replicas ends before its data set does.

    When an image cannot be read, one replica gets that error and another the end of the data, which
    TensorFlow may report alone: Keras would take the epoch for over, and go on.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self.done = 0

    def on_train_batch_end(self, batch, logs=None):
        self.done = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        strategy, steps = self.model.distribute_strategy, self.params["steps"]
        alone = strategy.num_replicas_in_sync == 1 or distribution.worker(strategy)[1] > 1
        if alone or self.model.stop_training or not steps or self.done >= steps:
            return
        raise ValueError(
            f"the data ended in epoch {epoch + 1} after {self.done} of {steps} batches. On several "
            "replicas an error of the data set may look like its end: read it to its end without a "
            f"strategy, and the error is told. Received: batches={self.done}."
        )


def _listed(callbacks):
    """Returns Keras' argument `callbacks`, of any form, as a list."""
    callbacks = tf.nest.flatten(getattr(callbacks, "callbacks", callbacks))
    return [callback for callback in callbacks if callback is not None]


def _bind(name, model, args, kwargs):
    """The arguments of a method of keras.Model by their names, as inspect.BoundArguments."""
    return inspect.signature(getattr(keras.Model, name)).bind(model, *args, **kwargs)


@contextlib.contextmanager
def _dtype_policy(policy):
    """Layers that are made inside have this policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _name_and_dtype(layer):
    return {"name": layer.name, "dtype": keras.dtype_policies.serialize(layer.dtype_policy)}


def _without_empty_slots(gt):
    """Cuts off the slots that no image of the batch fills, at least one remains.

    A data set's fullest image may have ten times the instances of most: matching anchors with
    empty slots would cost more than a backbone's stage.
    """
    filled = tf.reduce_any(gt["labels"] > 0, axis=0)
    slots = tf.range(1, tf.size(filled) + 1)
    count = tf.maximum(tf.reduce_max(tf.where(filled, slots, 0)), 1)
    return {name: targets.with_a_slot(value)[:, :count] for name, value in gt.items()}


def _without_filling(labels, sizes):
    """Gives -2, which no loss counts, to the slots of images that `distribution.not_empty` made."""
    return tf.where(sizes[:, :1] > 0, labels, -2)


def _unpack(data):
    inputs, gt, weights = keras.utils.unpack_x_y_sample_weight(data)
    if weights is not None:
        raise ValueError("images are not weighted. Received: sample_weight.")
    if gt is None:
        raise ValueError(
            "training needs batches of (inputs, targets), as data.batches makes them. "
            "Received: inputs only."
        )
    return inputs, gt
