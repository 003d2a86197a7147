"""Mask R-CNN as a Keras model: what it consists of, its forward pass and its losses."""

import contextlib
import dataclasses
import functools
from typing import Any, Self

import keras
import tensorflow as tf

from keras_maskrcnn import targets
from keras_maskrcnn.batch import as_batch
from keras_maskrcnn.calls import CheckedCalls
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.layers.changes import apply_changes, changes, state_of_layers
from keras_maskrcnn.levels import STRIDES
from keras_maskrcnn.networks import NETWORKS
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops.frames import Frame
from keras_maskrcnn.parts import PARTS, assemble, networks_of, revive
from keras_maskrcnn.presets import preset_config
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork
from keras_maskrcnn.saving import WholeFiles
from keras_maskrcnn.typing import Path, Tensors
from keras_maskrcnn.weights import KERAS_CONVENTIONS, load_for_preset

LOSSES = ("rpn_objectness", "rpn_box", "classifier", "box", "mask")
# What `fit` and `evaluate` report beside them: which of the annotated boxes a proposal overlaps by
# half, which of the sampled RoIs are positive.
SHARES = ("proposal_recall", "foreground_share")


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class MaskRCNN(WholeFiles, CheckedCalls):
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

    It reads like Figure 1: inputs -> features -> `rpn` -> `roi_heads` -> pixels of the originals.

    Args:
        config: a `MaskRCNNConfig`.
        backbone, neck, rpn, roi_heads: parts in place of those that the config describes, see
            `networks`. A backbone is a Keras model from images (B, H, W, 3), normalized by the
            config's pixel_mean and pixel_std, to a dict of maps "c2".."c5" of strides 4, 8, 16, 32
            (of neck "c4", "c5", "dc5": that map alone will do); a neck one from such a dict to
            "p2".."p6"; `rpn` is a `RegionProposalNetwork`, `roi_heads` are `RoIHeads`. Files of the
            model hold them too.

    Attributes:
        rpn: `RegionProposalNetwork`; None with proposals="precomputed".
        roi_heads: `RoIHeads`; None with task="proposals".
        frame: `ops.frames.Frame`, where boxes of the two end.

    Raises:
        ValueError: if Keras' image_data_format is "channels_first", a backbone or neck lacks maps
            that the config's neck needs, or a stage has another config; from `call`, if the inputs
            are neither of the above; from `fit`, `evaluate`, `predict` and those `..._on_batch`,
            also if the values of inputs or targets are others than these (DataError: if
            `data.batches` could not read an image).
    """

    def __init__(
        self,
        config: MaskRCNNConfig,
        backbone: keras.Model | None = None,
        neck: keras.Model | None = None,
        rpn: RegionProposalNetwork | None = None,
        roi_heads: RoIHeads | None = None,
        **kwargs: Any,
    ) -> None:
        if keras.config.image_data_format() != "channels_last":
            raise ValueError(
                "Keras' image_data_format must be 'channels_last', see "
                "keras.config.set_image_data_format. "
                f"Received: {keras.config.image_data_format()!r}."
            )
        super().__init__(**{"autocast": False, **kwargs})  # pixels and boxes come in as they are
        self.config = config
        self.supports_jit = False  # neither CropAndResize nor CombinedNonMaxSuppression has XLA's
        given = {"backbone": backbone, "neck": neck, "rpn": rpn, "roi_heads": roi_heads}
        self._passed_in = tuple(name for name, part in given.items() if part is not None)
        with _dtype_policy(self.dtype_policy):
            parts = assemble(config, backbone, neck, rpn, roi_heads)
        # Attributes, by which Keras finds the weights; None where there is no such network. Names
        # and order are those of version 0.1: files, backups and optimizers go by them.
        found = networks_of(parts, taken=dir(self))
        self.network_names = tuple(dict.fromkeys((*NETWORKS, *found)))
        for name in self.network_names:
            setattr(self, name, found.get(name))
        self.rpn, self.roi_heads = parts.rpn, parts.roi_heads
        self.frame = Frame.of(config.anchor_rule)
        stages = [stage for stage in (parts.rpn, parts.roi_heads) if stage is not None]
        self.make_trackers(
            [name for stage in stages for name in stage.loss_names],
            SHARES[: 1 if parts.roi_heads is None else 2],
        )
        # All weights exist: Keras would otherwise trace `call` once more to build them.
        self.built = True
        self._layers_as_built = state_of_layers(self)

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The networks that the model has, by name."""
        every = {name: getattr(self, name) for name in self.network_names}
        return {name: network for name, network in every.items() if network is not None}

    @property
    def strides(self) -> dict[str, int]:
        """Returns a dict of the maps that the RPN sees to their strides in pixels."""
        return STRIDES[self.config.neck]

    # Forward

    def call(self, inputs: tf.Tensor | Tensors, training: bool = False) -> Tensors:
        """Detects: see the class. With `training=True` only batch norm behaves differently.

        Gradients flow back from scores, boxes and masks of what was found, but not through the
        proposals, which are fixed boxes to the heads, in training too (Faster R-CNN §3.2).
        """
        inputs = self.prepare(inputs)
        images = inputs["images"]
        if images.shape[0]:
            return self._detect(inputs, training)
        # There may be none, which convolutions fail on: then one of zeros is cut off again.
        inputs, _ = replicas.not_empty(inputs, {}, training=False)
        outputs = self._detect(inputs, training)
        return {name: value[: tf.shape(images)[0]] for name, value in outputs.items()}

    def _detect(self, inputs, training):
        """The outputs of `call` for a batch of `data.batches`."""
        sizes = inputs["sizes"]
        features = self.features(inputs, training)
        if self.rpn is None:
            rois, scores = self.given_proposals(inputs), None
        else:
            rois, scores = self.rpn.select(self.rpn(features, training), sizes)
        if self.roi_heads is None:
            filled = scores > 0  # type: ignore[operator]  # an RPN alone: there are scores
            count = tf.reduce_sum(tf.cast(filled, tf.int32), axis=1)
            found = {"boxes": rois, "scores": scores, "num_proposals": count}
        else:
            found = self.roi_heads.detect(features, rois, sizes, training)
        boxes = self.frame.to_exclusive(found["boxes"], filled=found["scores"] > 0)
        return {**found, "boxes": box_ops.rescale(boxes, sizes, inputs["original_sizes"])}

    def prepare(self, inputs: tf.Tensor | Tensors) -> Tensors:
        """Brings plain images into the form of `data.batches`; see `batch.as_batch`."""
        precomputed = self.config.proposals == "precomputed"
        return as_batch(inputs, proposals=precomputed, **self.config.resizing())

    def features(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Computes the maps that the RPN and the heads see.

        Args:
            inputs: a batch of `data.batches`, see the class.
            training: bool. Whether batch norm uses the batch's statistics.

        Returns:
            dict of the maps of `strides`, (B, H / stride, W / stride, K).
        """
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

    def given_proposals(self, inputs: Tensors) -> tf.Tensor:
        """Returns the proposals of a batch, (B, P, 4), P > 0, in the frame of the network."""
        proposals = targets.with_a_slot(inputs["proposals"])
        return self.frame.from_exclusive(proposals, filled=box_ops.area(proposals) > 0)

    # Losses

    def compute_losses(self, inputs: Tensors, gt: Tensors, training: bool = True) -> Tensors:
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
        inputs, gt = replicas.not_empty(inputs, gt, training)
        gt = targets.without_empty_slots(gt)
        gt = {**gt, "boxes": self.frame.from_exclusive(gt["boxes"])}
        sizes, step = inputs["sizes"], self.batches_seen()
        terms: Tensors = {}
        features = self.features(inputs, training)
        if self.rpn is None:
            proposals = self.given_proposals(inputs)
        else:
            outputs = self.rpn(features, training)
            terms |= self.rpn.compute_losses(outputs, sizes, gt, step)
            proposals = self.rpn.select_for_training(outputs, sizes)
        recalled = targets.recalled(proposals, gt["boxes"])
        self.count_share("proposal_recall", recalled, gt["labels"] > 0)
        if self.roi_heads is not None:
            of_heads, labels = self.roi_heads.compute_losses(
                features, proposals, sizes, gt, step, training
            )
            terms |= of_heads
            self.count_share("foreground_share", labels > 0, labels >= 0)
        return terms

    # Other models of the same kind

    @classmethod
    def from_preset(
        cls,
        preset: str,
        weights: Path | None = None,
        dtype: str | keras.DTypePolicy | None = None,
        **overrides: Any,
    ) -> Self:
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

    def with_config(self, **overrides: Any) -> Self:
        """Returns a copy with the same weights and other numbers.

        Args:
            **overrides: fields of `MaskRCNNConfig` that no weight's shape depends on, for instance
                `detections_per_image=500`.
        """
        copy = self.rebuilt(dataclasses.replace(self.config, **overrides))
        apply_changes(copy, self.changed_layers())
        copy.set_weights(self.get_weights())
        return copy

    def rebuilt(self, config: MaskRCNNConfig, **kwargs: Any) -> Self:
        """Builds a model of another config with the same parts passed in, and new weights.

        Args:
            config: `MaskRCNNConfig`.
            **kwargs: of keras.Model; by default this model's dtype policy.
        """
        parts = revive(self._stored_parts(), config)
        return type(self)(config, **{"dtype": self.dtype_policy, **parts, **kwargs})

    def copy_networks(self, other: "MaskRCNN") -> tuple[str, ...]:
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
            # Not by path: Keras numbers the layers of a backbone without names of its own.
            if [(v.name, v.shape) for v in ours] != [(v.name, v.shape) for v in theirs]:
                raise ValueError(
                    f"the {name} of the two models differ, in their configs, quantization or LoRA."
                )
        for name in shared:
            self.networks[name].set_weights(other.networks[name].get_weights())
        return tuple(shared)

    # Keras

    def target_limits(self) -> dict[str, Any]:
        """Returns what `checks.check_targets` has to know, a dict of its arguments."""
        return {"num_classes": self.config.num_classes, "masks": self.config.task == "masks"}

    def compute_output_shape(self, input_shape: Any) -> dict[str, tuple[int | None, ...]]:
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

    def compute_output_spec(
        self, inputs: Any, training: bool = False
    ) -> dict[str, keras.KerasTensor]:
        """Returns those shapes with dtypes, which Keras would take for floats."""
        shapes = self.compute_output_shape(tf.nest.map_structure(lambda x: x.shape, inputs))
        whole = ("labels", "num_detections", "num_proposals")
        return {
            name: keras.KerasTensor(shape, "int32" if name in whole else "float32")
            for name, shape in shapes.items()
        }

    def changed_layers(self) -> dict[str, dict[str, Any]]:
        """What was changed of layers since they were made, see `layers.changes.changes`."""
        return changes(self, self._layers_as_built)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs, as plain values: the config, passed parts, changes."""
        config = {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "config": dataclasses.asdict(self.config),
            **self._stored_parts(),
        }
        changed = self.changed_layers()
        return {**config, "changes": changed} if changed else config

    def _stored_parts(self):
        """The parts that were passed in, as plain values."""
        return {
            name: keras.saving.serialize_keras_object(getattr(self, PARTS[name]))
            for name in self._passed_in
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The inverse of `get_config`; ValueError if a field is unknown or out of its range."""
        if "config" not in config:
            raise ValueError(f"a MaskRCNN needs a config. Received: {sorted(config)}.")
        config = {**config, "config": MaskRCNNConfig.from_fields(config["config"])}
        changed = config.pop("changes", {})
        parts = {name: config.pop(name) for name in PARTS if name in config}
        model = cls(**config, **revive(parts, config["config"]))
        apply_changes(model, changed)
        return model


@contextlib.contextmanager
def _dtype_policy(policy):
    """Layers that are made inside have this policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
