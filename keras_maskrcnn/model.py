"""Mask R-CNN as a Keras model: its parts, its forward pass and its losses."""

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
from keras_maskrcnn.levels import STRIDES, maps_for
from keras_maskrcnn.networks import NETWORKS
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops.frames import Frame
from keras_maskrcnn.parts import (
    PARTS,
    assemble,
    networks_of,
    require_same_bands,
    require_same_shapes,
    revive,
    with_pixels_of,
)
from keras_maskrcnn.presets import preset_config
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork
from keras_maskrcnn.saving import WholeFiles
from keras_maskrcnn.typing import Path, Tensors
from keras_maskrcnn.weights import imagenet_fields, load_for_preset

LOSSES = ("rpn_objectness", "rpn_box", "classifier", "box", "mask")
# `fit` and `evaluate` also report two fractions. The first is that of the annotated boxes that have
# an IoU of at least 0.5 with a proposal, the second that of the sampled RoIs that are positive.
SHARES = ("proposal_recall", "foreground_share")


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class MaskRCNN(WholeFiles, CheckedCalls):
    """Mask R-CNN (He et al., 2017, §3 and Figure 4), and its parts: Faster R-CNN, the RPN.

    The code follows Figure 1: inputs -> features -> `rpn` -> `roi_heads` -> original pixels.

    **Inputs** of `call`, `predict` and `evaluate` are plain images, or a batch of `data.batches`.
    Plain images are (B, H, W, C), with C = config.in_channels. They have the dtype
    config.image_dtype, in units of config.pixel_max: uint8 or float, RGB in 0..255, by default. The
    model scales and resizes them. A batch is a dict:

    - `images`: (B, H, W, C) float32. In 0..255, zero-padded on the right and below to multiples of
      config.padding_multiple.
    - `sizes`: (B, 2) int32. Height and width without padding.
    - `original_sizes`: (B, 2) int32. Height and width before resizing.

    With proposals="precomputed" the dict also has `proposals`: (B, P, 4) float32, in pixels of
    `images`, zeros in padding. Plain images are then given as a dict of `images` and `proposals`.

    In training a batch also has `indices`, (B,) int32: the index of each image in the data set.
    `training.Sentinel` names images by them. `fit` ignores all other entries.

    **Targets** of `fit` and `evaluate` are those of `data.batches`, a dict:

    - `boxes`: (B, G, 4) float32. In pixels of `images`.
    - `labels`: (B, G) int32. 1..num_classes, 0 in padding.
    - `masks`: (B, G, M, M) uint8 in 0..255. The covered share of each cell of the box, times 255.
      Only needed with task="masks".
    - `ignored`: (B, K, 4) float32 as `boxes`, 0 in padding. Optional: regions with objects that
      nobody outlined, such as crowds. Anchors and RoIs there are no background.

    **Outputs** are a dict:

    - `boxes`: (B, D, 4) float32 [x1, y1, x2, y2]. In pixels of the original images, by falling
      score.
    - `scores`: (B, D) float32 in [0, 1], 0 in empty slots.
    - `labels`: (B, D) int32 in 1..num_classes, 0 in empty slots.
    - `masks`: (B, D, m, m) float32. Probabilities of the label's mask in its box. Absent with
      task="boxes".
    - `num_detections`: (B,) int32. Filled slots of each image; the others are empty.

    With task="proposals" they are the RPN's `boxes`, (B, P, 4), and `scores`, (B, P), as above, and
    `num_proposals`, (B,) int32.

    Parts that are passed in are saved with the model.

    Args:
        config: a `MaskRCNNConfig`.
        backbone: keras.Model; None builds the config's. Its input is images (B, H, W, N),
            normalized by the config's pixel_mean and pixel_std, with N = len(pixel_mean). Its
            output is a dict of maps "c2".."c5" with strides 4, 8, 16, 32. With neck "c4", "c5" or
            "dc5", one map is enough.
        neck: keras.Model; None builds the config's. From a dict of "c2".."c5" to a dict of
            "p2".."p6".
        rpn: `RegionProposalNetwork`; None builds the config's.
        roi_heads: `RoIHeads`; None builds the config's.

    Attributes:
        rpn: `RegionProposalNetwork`; None with proposals="precomputed".
        roi_heads: `RoIHeads`; None with task="proposals".
        frame: `ops.frames.Frame`. Says where the boxes of both stages end.
        passed_in: tuple of str. The arguments above that got a part.

    Raises:
        ValueError: if Keras' image_data_format is "channels_first", a backbone or neck lacks maps
            that the config's neck needs, or a stage has another config. `call` raises it if the
            inputs have another form than above. `fit`, `evaluate`, `predict` and their `*_on_batch`
            methods also raise it if values of inputs or targets are out of range.
        DataError: if `data.batches` could not read an image; from `fit`, `evaluate` and `predict`.
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
        super().__init__(**{"autocast": False, **kwargs})  # pixels and boxes keep their dtype
        config = with_pixels_of(config, backbone)
        self.config = config
        self.supports_jit = False  # XLA has no CropAndResize and no CombinedNonMaxSuppression
        given = {"backbone": backbone, "neck": neck, "rpn": rpn, "roi_heads": roi_heads}
        self.passed_in = tuple(name for name, part in given.items() if part is not None)
        with _dtype_policy(self.dtype_policy):
            parts = assemble(config, backbone, neck, rpn, roi_heads)
        # Keras finds the weights by these attributes. An attribute is None if the model lacks the
        # network. Names and order are those of version 0.1, because files, backups and optimizers
        # depend on them.
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
        # All weights exist. Otherwise Keras would trace `call` once more to build them.
        self.built = True
        self._layers_as_built = state_of_layers(self)

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The model's networks: a dict of name to keras.Model."""
        every = {name: getattr(self, name) for name in self.network_names}
        return {name: network for name, network in every.items() if network is not None}

    @property
    def strides(self) -> dict[str, int]:
        """The maps that the RPN gets: a dict of name to stride in pixels."""
        return STRIDES[self.config.neck]

    # Forward

    def call(self, inputs: tf.Tensor | Tensors, training: bool = False) -> Tensors:
        """Detects objects. The class describes inputs and outputs.

        Gradients flow back from the scores, boxes and masks of detections, but not through the
        proposals. They are fixed boxes for the heads, also in training (Faster R-CNN §3.2).

        Args:
            inputs: a batch of `data.batches`, or plain images.
            training: bool. Whether batch norm uses the batch's statistics. All else is the same.

        Returns:
            dict of the outputs, see the class. B may be 0.
        """
        inputs = self.prepare(inputs)
        images = inputs["images"]
        if images.shape[0]:
            return self._detect(inputs, training)
        # The batch may be empty, but convolutions need an image: add one of zeros, and cut it off
        # again afterwards.
        inputs, _ = replicas.not_empty(inputs, {}, training=False)
        outputs = self._detect(inputs, training)
        return {name: value[: tf.shape(images)[0]] for name, value in outputs.items()}

    def _detect(self, inputs, training):
        """Returns the outputs of `call` for a batch of `data.batches`."""
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
        """Turns plain images into a batch of the form of `data.batches`.

        Args:
            inputs: a batch, or plain images, see the class.

        Returns:
            dict of tensors. A batch is returned unchanged.
        """
        precomputed = self.config.proposals == "precomputed"
        config = self.config
        return as_batch(inputs, proposals=precomputed, **config.resizing(), **config.reading())

    def features(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Computes the maps that the RPN and the heads get.

        Args:
            inputs: a batch of `data.batches`, see the class.
            training: bool. Whether batch norm uses the batch's statistics.

        Returns:
            dict of the maps of `strides`, (B, H / stride, W / stride, K).
        """
        mean, std = self.config.pixel_mean, self.config.pixel_std
        images, sizes = inputs["images"], inputs["sizes"]
        # Padding is zero after normalization, not before: it has the mean color, as in every peer.
        rows = tf.sequence_mask(sizes[:, 0], tf.shape(images)[1])
        columns = tf.sequence_mask(sizes[:, 1], tf.shape(images)[2])
        inside = (rows[:, :, None] & columns[:, None, :])[..., None]
        # One band with three means becomes three equal bands here.
        images = tf.where(inside, (tf.cast(images, tf.float32) - mean) / std, 0.0)
        images = tf.cast(images, self.compute_dtype)
        features = self.backbone(images, training=training)
        if self.fpn is None:
            return features
        return self.fpn(maps_for(self.fpn, features), training=training)

    def given_proposals(self, inputs: Tensors) -> tf.Tensor:
        """Converts the given proposals of a batch to the frame of the network.

        Args:
            inputs: a batch with `proposals`, see the class.

        Returns:
            (B, P, 4) float32 in `frame`. P is at least 1: an empty slot is added if P is 0.
        """
        proposals = targets.with_a_slot(inputs["proposals"])
        return self.frame.from_exclusive(proposals, filled=box_ops.area(proposals) > 0)

    # Losses

    def compute_losses(self, inputs: Tensors, gt: Tensors, training: bool = True) -> Tensors:
        """Runs the networks once and compares their outputs with the targets.

        Args:
            inputs: dict of tensors. The inputs of a batch of `data.batches`, see the class.
            gt: dict of tensors. The targets of this batch.
            training: bool. Whether batch norm uses the batch's statistics.

        Returns:
            dict of the losses by name, () float32 each: those of "rpn_objectness", "rpn_box",
                "classifier", "box" and "mask" that the model has. `metrics` gets two fractions:
                "proposal_recall" and "foreground_share".

        Raises:
            ValueError: if task is "masks" and `gt` has no masks.
        """
        if self.config.task == "masks" and "masks" not in gt:
            raise ValueError(
                "task='masks' needs targets with masks; a data set that was read with masks=False"
                f" is for task='boxes'. Received: targets={sorted(gt)}."
            )
        inputs, gt = replicas.not_empty(inputs, gt, training)
        gt = targets.without_empty_slots(gt)
        gt |= {
            name: self.frame.from_exclusive(gt[name]) for name in {"boxes", "ignored"} & gt.keys()
        }
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

    # Making other models

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
            weights: "coco", "imagenet", a path, or None. None makes random weights. "coco"
                downloads the weights that torchvision, detectron2 or Matterport published; a path
                names a checkpoint of theirs. Both need a preset with the conventions of that
                project. They leave out the predictors if `num_classes` differs from the preset's,
                or, with "coco", if other `class_names` are given than COCO's.
                "imagenet" downloads the weights of keras.applications or KerasHub. The config of
                resnet50 and resnet101 then has `weights.KERAS_CONVENTIONS`; our other ResNets have
                none. With a backbone of Keras, a path names a file of Keras' layout.
            dtype: dtype policy, for instance "mixed_bfloat16"; None for Keras' global policy.
            **overrides: fields of `MaskRCNNConfig`, for instance `num_classes=3`.

        Returns:
            The model.

        Raises:
            ValueError: if there is no such preset or field, or a value is out of its range.
            CheckpointError: if the weights cannot be downloaded or read, or do not fit.
        """
        if weights == "imagenet":
            overrides = {**imagenet_fields(preset, overrides), **overrides}
        config = preset_config(preset, **overrides)
        make = functools.partial(cls, dtype=dtype)
        return make(config) if weights is None else load_for_preset(make, preset, config, weights)

    def with_config(self, **overrides: Any) -> Self:
        """Returns a copy with the same weights and some other config fields.

        Args:
            **overrides: fields of `MaskRCNNConfig` that change no weight's shape, for instance
                `detections_per_image=500`.

        Returns:
            The copy. It is not compiled, and this model stays unchanged.

        Raises:
            TypeError: if there is no such field.
            ValueError: if a value is out of its range, or changes a weight's shape.
        """
        require_same_bands(self.config, overrides)
        copy = self.rebuilt(dataclasses.replace(self.config, **overrides))
        apply_changes(copy, self.changed_layers())
        require_same_shapes(self, copy, overrides)
        copy.set_weights(self.get_weights())
        return copy

    def rebuilt(self, config: MaskRCNNConfig, **kwargs: Any) -> Self:
        """Builds a model with another config, the same passed-in parts, and new weights.

        Args:
            config: `MaskRCNNConfig`.
            **kwargs: arguments of keras.Model. By default this model's dtype policy.

        Returns:
            The new model.
        """
        parts = revive(self._stored_parts(), config)
        return type(self)(config, **{"dtype": self.dtype_policy, **parts, **kwargs})

    def copy_networks(self, other: "MaskRCNN") -> tuple[str, ...]:
        """Copies the weights of all networks that both models have from another model.

        By sharing networks, a detector and an RPN that were trained separately become one model
        (Faster R-CNN §3.2, 4-step alternating training).

        Args:
            other: MaskRCNN.

        Returns:
            tuple of the names of the copied networks; () if the models share none.

        Raises:
            ValueError: if two networks of the same name differ. Nothing is changed then.
        """
        shared = [name for name in self.networks if name in other.networks]
        for name in shared:
            ours, theirs = (m.networks[name].weights for m in (self, other))
            # Not by path: in a backbone whose layers have no names, Keras numbers them.
            if [(v.name, v.shape) for v in ours] != [(v.name, v.shape) for v in theirs]:
                raise ValueError(
                    f"the {name} of the two models differ, in their configs, quantization or LoRA."
                )
        for name in shared:
            self.networks[name].set_weights(other.networks[name].get_weights())
        return tuple(shared)

    # Keras

    def target_limits(self) -> dict[str, Any]:
        """Returns arguments for `checks.check_targets`: a dict of `num_classes` and `masks`."""
        return {"num_classes": self.config.num_classes, "masks": self.config.task == "masks"}

    def compute_output_shape(self, input_shape: Any) -> dict[str, tuple[int | None, ...]]:
        """Returns the shapes of the outputs of `call`, by name.

        Args:
            input_shape: (B, H, W, C), or a dict of the shapes of a batch's tensors by name. B may
                be None.

        Returns:
            dict of tuples. The first axis is B, or None.
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
        """Returns the shapes and dtypes of the outputs. Keras would assume floats."""
        shapes = self.compute_output_shape(tf.nest.map_structure(lambda x: x.shape, inputs))
        whole = ("labels", "num_detections", "num_proposals")
        return {
            name: keras.KerasTensor(shape, "int32" if name in whole else "float32")
            for name, shape in shapes.items()
        }

    def changed_layers(self) -> dict[str, dict[str, Any]]:
        """Returns what was changed in layers since they were made, see `layers.changes.changes`."""
        return changes(self, self._layers_as_built)

    def get_config(self) -> dict[str, Any]:
        """Returns a dict of plain values for `from_config`: config, passed-in parts, changes."""
        config = {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "config": dataclasses.asdict(self.config),
            **self._stored_parts(),
        }
        changed = self.changed_layers()
        return {**config, "changes": changed} if changed else config

    def _stored_parts(self):
        """Returns the parts that were passed in, as plain values."""
        return {
            name: keras.saving.serialize_keras_object(getattr(self, PARTS[name]))
            for name in self.passed_in
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes a model from the dict that `get_config` returned.

        Raises:
            ValueError: if a field is unknown or out of its range.
        """
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
    """Sets Keras' global dtype policy inside of the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
