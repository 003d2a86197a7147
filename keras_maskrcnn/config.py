"""All settings of the model in one place, each with the section of the paper it comes from.

The defaults are the paper's Mask R-CNN with ResNet-50-FPN. `presets.py` has other named configs,
and `config_rules.py` says which values are allowed. Settings of the optimizer are in
`training.Recipe`, those of the input pipeline in `data.batches`.
"""

import ast
import dataclasses
import difflib
import inspect
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

from keras_maskrcnn import catalog, config_rules
from keras_maskrcnn.aliases import moved


@dataclass(frozen=True)
class MaskRCNNConfig:
    """The settings of a Mask R-CNN (Figure 4).

    The text below each field says what it does, its unit and, in parentheses, its source. Sections,
    tables and figures are those of Mask R-CNN (He et al., 2017) unless another paper is named. The
    peers are torchvision, detectron2 and Matterport's Mask_RCNN: see docs/parity.md.

    Raises:
        ValueError: if a value is out of its range, or two values contradict each other.
    """

    # Parts of the model

    task: str = "masks"
    """The outputs of the model. "masks": boxes and masks (Mask R-CNN). "boxes": boxes only, without
    the mask branch (Faster R-CNN; Table 3). "proposals": the RPN alone."""

    proposals: str = "joint"
    """The source of the proposals. "joint": the RPN of this model. "precomputed": the caller gives
    them with the images, and the model has no RPN (Fast R-CNN)."""

    # Classes

    num_classes: int = 80
    """Number of classes, without background (COCO: 80). Label 0 is background."""

    class_names: tuple[str, ...] = ()
    """Name of each class: class_names[i - 1] belongs to label i. Empty: "class 1", "class 2", and
    so on (our convention)."""

    category_ids: tuple[int, ...] = ()
    """Id of each class in the annotation file, in the order of class_names (COCO's category_id).
    Empty: the labels, 1 to num_classes."""

    # Input

    image_min_side: int = 800
    """Length of the shorter side of a resized image, in pixels (§3.1, Training)."""

    image_max_side: int = 1333
    """Limit for the longer side of a resized image, in pixels. It takes priority over
    image_min_side (value of detectron2 and torchvision)."""

    in_channels: int = 3
    """Number of channels (bands) of an image, from 1 to 32. Images of three channels are RGB. With
    more, the first three count as R, G and B if weights of RGB images are loaded (our
    convention)."""

    image_dtype: str = "uint8"
    """Type of the pixels in plain images and image files. "uint8": 8 bits, as nearly all photos.
    "uint16": 16 bits. "float32": numbers of any range (our convention)."""

    pixel_max: float = 0.0
    """Value of a pixel that becomes 255: images are multiplied by 255 / pixel_max first. 4095 is
    for 12 bits that are stored in 16. 0: 255 for uint8, 65535 for uint16, 1 for float32 (our
    convention)."""

    pixel_mean: tuple[float, ...] = ()
    """Mean of each channel, which is subtracted from images, in pixel values from 0 to 255. Empty:
    that of the backbone's published weights (ResNets: the mean of ImageNet). With one channel, 3
    numbers repeat it three times, so that weights of RGB images fit unchanged."""

    pixel_std: tuple[float, ...] = ()
    """Divisor of each channel after pixel_mean is subtracted, in pixel values from 0 to 255. Empty:
    that of the backbone's published weights (ResNets: the standard deviation of ImageNet;
    detectron2's: 1, 1, 1)."""

    resize_rule: str = "detectron2"
    """How images are resized. "detectron2": sizes are rounded half up, and images are antialiased
    as in Pillow. "torchvision": sizes are rounded down, without antialiasing."""

    padding_multiple: int = 32
    """Images are padded on the right and below until both sides are a multiple of this, in pixels.
    FPN needs a multiple of 32, the stride of P5 (detectron2's size divisibility)."""

    # Backbone and neck

    neck: str = "fpn"
    """Feature maps that the RPN and the heads get (§3, Network Architecture). "fpn": the pyramid P2
    to P6. "simple_fpn": the same maps, all from the last one of a ViT (Li et al., 2022). "c4": C4
    with stride 16; res5 is part of the head. "c5": C5 with stride 32 (Table 2d). "dc5": C5 dilated
    to stride 16 (detectron2's DC5)."""

    backbone: str = "resnet50"
    """Network that computes the features (§3, Network Architecture). ResNet-50 and -101 and the
    ResNeXts are the paper's. ResNet-18 and -34 suit machines without a GPU. The others are those of
    keras.applications and KerasHub; see docs/backbones.md."""

    backbone_width: int = 64
    """Channels of the backbone's first convolution; the widths of all stages are multiples of it
    (He et al., 2016: 64). A smaller value makes a smaller network, without ImageNet weights."""

    stochastic_depth: float = 0.0
    """Probability in [0, 0.9] that the last residual branch is left out in a training step; it
    rises linearly from 0 at the first one (Huang et al., 2016). For backbones of Keras that have
    such branches, as ConvNeXt and EfficientNetV2."""

    stride_in_1x1: bool = False
    """Where the first bottleneck of a stage halves the map. True: in its first 1x1 convolution (the
    authors' and detectron2's ResNets). False: in its 3x3 convolution (torchvision's)."""

    stem_pool_same: bool = False
    """Padding of the backbone's max-pool. True: on the right and below only, as TensorFlow's "SAME"
    (Matterport). False: on all sides (torchvision, detectron2)."""

    norm: str = "frozen_batch"
    """Normalization in the backbone. "frozen_batch": batch norm as a fixed affine layer (§3.1
    follows Faster R-CNN). "batch": trained batch norm. "group": group norm with 32 groups (Wu & He,
    2018). "": none, with biases instead."""

    norm_epsilon: float = 1e-5
    """Number that the backbone's norms add to the variance (PyTorch's default: 1e-5; torchvision's
    first COCO weights: 0)."""

    frozen_stages: int = 2
    """Number of backbone stages that are not trained, counted from the input. 0: all are trained.
    1: the stem is frozen. 2: the stem and res2, and so on (detectron2's FREEZE_AT)."""

    fpn_channels: int = 256
    """Channels of each map of the pyramid (FPN §3: 256)."""

    head_norm: str = ""
    """Normalization in the convolutions of FPN and heads. "": none (the paper). "batch": batch norm
    (torchvision's v2). "group": group norm with 32 groups (Wu & He, 2018). "layer": layer norm over
    the channels of each cell (ViTDet). With neck="simple_fpn", "" means "layer" in the neck."""

    # Anchors

    anchor_sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Square roots of the anchors' areas, in pixels of the resized image. With FPN: 5, one for each
    of P2 to P6 (FPN §4.1). With another neck: all are on one map (§3.1: 5 scales)."""

    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Shapes of the anchors, each as height / width (§3.1: 3 aspect ratios)."""

    anchor_rule: str = "detectron2"
    """How anchors are computed. "detectron2": exactly. "torchvision": corners are rounded to
    pixels, and strides fit the padded image. "matterport": boxes include their last pixel."""

    # RPN: which anchors are trained

    rpn_head_convs: int = 1
    """Number of 3x3 convolutions in the RPN's head (Faster R-CNN §3.1: 1; torchvision's v2: 2)."""

    rpn_head_channels: int = 0
    """Channels of the 3x3 convolutions in the RPN's head. 0: as many as the input map has (FPN
    §4.1; Matterport: 512)."""

    rpn_positive_iou: float = 0.7
    """An anchor is positive if its IoU with an object is at least this. The best anchor of each
    object is positive, too (Faster R-CNN §3.1.2)."""

    rpn_negative_iou: float = 0.3
    """An anchor is negative if its IoU with every object is below this (Faster R-CNN §3.1.2)."""

    rpn_batch: int = 256
    """Anchors per image that get a loss (Faster R-CNN §3.1.3)."""

    rpn_positive_fraction: float = 0.5
    """Largest fraction of rpn_batch that may be positive anchors (Faster R-CNN §3.1.3: 1:1)."""

    rpn_loss_divisor: str = "slots"
    """Divisor of the RPN's losses. "slots": rpn_batch per image (detectron2). "sampled": the number
    of sampled anchors, which may be smaller (torchvision)."""

    # RPN: which boxes become proposals

    rpn_nms_iou: float = 0.7
    """NMS of proposals: if two proposals of one level have an IoU above this, the one with the
    lower score is dropped (Faster R-CNN §3.3)."""

    rpn_joint_nms: bool = False
    """True: all levels share one top-k and one NMS (Matterport). False: each level has its own
    (FPN's authors, detectron2, torchvision)."""

    rpn_min_size: float = 0.0
    """A proposal is dropped if one of its sides has this many pixels or fewer (torchvision:
    0.001)."""

    train_pre_nms: int = 2000
    """Boxes per level that enter NMS in training (value of detectron2)."""

    train_proposals: int = 2000
    """Proposals per image after NMS in training (FPN §5.2)."""

    test_pre_nms: int = 1000
    """Boxes per level that enter NMS at inference (value of detectron2)."""

    test_proposals: int = 1000
    """Proposals per image after NMS at inference (§3.1, Inference: 1000 with FPN, 300 with C4)."""

    # RoIs that the heads are trained on

    roi_batch: int = 512
    """RoIs per image that the heads are trained on (§3.1, Training: 512 with FPN, 64 with C4)."""

    roi_positive_fraction: float = 0.25
    """Largest fraction of roi_batch that may be positive RoIs (§3.1, Training: 1:3)."""

    roi_positive_iou: float = 0.5
    """A RoI is positive if its IoU with an object is at least this. Other RoIs are background
    (§3.1, Training)."""

    roi_loss_divisor: str = "slots"
    """Divisor of the box head's losses. "slots": roi_batch per image. "sampled": the number of
    sampled RoIs, which may be smaller (torchvision, detectron2)."""

    # Pooling of RoIs

    canonical_roi_size: float = 224.0
    """Size of a RoI that is pooled from P4: the square root of its area, in pixels. A RoI of half
    this size is pooled from P3, and so on (FPN Eq. 1)."""

    roi_level_rule: str = "detectron2"
    """How the level of FPN Eq. 1 is rounded. "detectron2" and "torchvision": down, with different
    guards against rounding errors. "matterport": to the nearest level."""

    box_pool_size: int = 7
    """Bins per side of a RoI for the box head (Figure 4, right: 7)."""

    mask_pool_size: int = 14
    """Bins per side of a RoI for the mask head (Figure 4). Masks have twice as many cells per side.
    With neck="c4" it must equal box_pool_size, because both branches see the same RoI."""

    roi_op: str = "align"
    """How a RoI is pooled (Table 2c). "align": RoIAlign, without rounding. "pool": RoIPool rounds
    the RoI and its bins to whole cells. "warp": RoIWarp rounds only the RoI. "crop": Matterport's
    method, one point per bin, the outermost points at the RoI's corners."""

    roi_pooling: str = "average"
    """How the points of a bin become one value: "average" or "max" (§3, RoIAlign). With
    roi_op="pool" it must be "max"."""

    sampling_ratio: int = 2
    """Points per side of a bin: 2 means 4 points (§3, RoIAlign). 0: one for each cell of the map
    that the bin spans (detectron2)."""

    roi_aligned: bool = True
    """Where value i of a map lies, in cells. True: at i + 0.5 (detectron2's ROIAlignV2). False: at
    i (torchvision)."""

    box_delta_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    """Factors of the box head's targets dx, dy, dw, dh, which bring their variance near 1 (Fast
    R-CNN §2.3; values of its code, detectron2 and torchvision)."""

    # Heads

    res5_stride: int = 1
    """Stride of res5 in the head, with neck="c4" (Figure 4: 1, for RoIs of 7 x 7; detectron2: 2,
    for RoIs of 14 x 14)."""

    box_head_convs: int = 0
    """Number of 3x3 convolutions in the box head, before its fully connected layers (Figure 4: 0;
    torchvision's v2: 4)."""

    box_head_layers: int = 2
    """Number of fully connected layers in the box head (Figure 4, right: 2). 0: the RoI is averaged
    instead (C4; Figure 4, left)."""

    box_head_units: int = 1024
    """Units of each fully connected layer of the box head (Figure 4, right: 1024)."""

    mask_predictor: str = "fcn"
    """Kind of the mask head (Table 2e). "fcn": convolutions. "mlp": fully connected layers."""

    mask_head_convs: int = 4
    """Number of 3x3 convolutions in the mask head (Figure 4: 4 with FPN, 0 with C4)."""

    mask_head_channels: int = 256
    """Channels of the mask head's 3x3 convolutions and of the upsampling after them (Figure 4:
    256)."""

    mask_mlp_layers: int = 2
    """Number of hidden layers in the mask head with mask_predictor="mlp" (Table 2e: 2 or 3)."""

    mask_mlp_units: int = 1024
    """Units of each hidden layer of the mask head with mask_predictor="mlp" (Table 2e: 1024)."""

    class_agnostic_masks: bool = False
    """True: one mask per RoI, for all classes. False: one mask per RoI and class (§4.1,
    Class-Specific vs. Class-Agnostic Masks)."""

    head_init: str = "detectron2"
    """Initial weights of the heads. "detectron2": small ones for predictors. "torchvision":
    PyTorch's defaults, which are larger."""

    # Losses

    rpn_box_beta: float = 1 / 9
    """Smooth L1 loss of the RPN's boxes: quadratic for differences of deltas below this, linear
    above. A value of 0 means L1 (Fast R-CNN Eq. 3: 1; the authors' later code and torchvision: 1/9;
    detectron2: 0)."""

    box_beta: float = 1.0
    """Smooth L1 loss of the box head: quadratic for differences of deltas below this, linear above.
    A value of 0 means L1 (Fast R-CNN Eq. 3: 1; torchvision: 1/9; detectron2: 0)."""

    mask_loss: str = "sigmoid"
    """Loss of the masks (Table 2b). "sigmoid": each class has its own mask. "softmax": the classes
    of a pixel compete."""

    soft_mask_targets: bool = False
    """Mask target of a cell. True: the fraction of the cell that the object covers (torchvision).
    False: 0 or 1 (§3: binary masks; detectron2)."""

    # Inference

    one_class_per_roi: bool = False
    """Which classes of a RoI can become detections. True: only the best one (Matterport). False:
    every class above score_threshold (Fast R-CNN, detectron2, torchvision)."""

    score_threshold: float = 0.05
    """Detections are kept if their score is above this (value of detectron2 and torchvision; the
    paper gives none)."""

    class_thresholds: tuple[float, ...] = ()
    """Lowest score of each class, in the order of class_names: a detection needs both this score
    and one above score_threshold. Empty: score_threshold alone (our convention)."""

    nms_iou: float = 0.5
    """NMS of detections: if two detections of one class have an IoU above this, the one with the
    lower score is dropped (value of detectron2 and torchvision)."""

    nms_across_classes: bool = False
    """Which detections suppress each other. True: those of all classes, so that a place has one
    detection. False: only those of one class (Fast R-CNN, detectron2, torchvision)."""

    box_min_size: float = 0.0
    """A detection is dropped before NMS if one of its sides has this many pixels or fewer
    (torchvision: 0.01)."""

    detections_per_image: int = 100
    """Largest number of detections per image. Those with the highest scores are kept (§3.1,
    Inference)."""

    mask_paste: str = "detectron2"
    """How a mask is resized into its box. "detectron2": the box stays exact. "torchvision": the box
    is rounded to whole pixels."""

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            if isinstance(value, list):  # JSON has no tuples
                object.__setattr__(self, name, tuple(value))
        config_rules.check_fields(self)
        for name, value in self._of_backbone().items():
            object.__setattr__(self, name, getattr(self, name) or value)
        config_rules.check_combinations(self)

    def _of_backbone(self):
        """Returns the values of fields that depend on others unless they are given."""
        mean, std = catalog.normalization(self.backbone, self.in_channels)
        white = config_rules.IMAGE_DTYPES[self.image_dtype]
        return {"pixel_mean": mean, "pixel_std": std, "pixel_max": white}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """Makes a config from a dict, for instance one read from a file.

        Args:
            fields: dict. Maps names of fields to values. Missing fields, as in files of earlier
                versions, get their defaults.

        Returns:
            The `MaskRCNNConfig`.

        Raises:
            ValueError: as in the constructor; also if `fields` is no dict or has an unknown name.
        """
        if not isinstance(fields, dict):
            raise ValueError(
                f"a config must be a dict of fields. Received: config={config_rules.shown(fields)}."
            )
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                hint = suggestion(name[:80], known)
                raise ValueError(
                    f"no such config field{hint} Received: {config_rules.shown(name)}."
                )
        return cls(**fields)

    def names(self) -> tuple[str, ...]:
        """Returns a tuple of `num_classes` class names: "class 1", ... if none were given."""
        return self.class_names or tuple(f"class {i + 1}" for i in range(self.num_classes))

    def resizing(self) -> dict[str, Any]:
        """Returns the keyword arguments for `data.batches` that say how the model resizes images.

        `data.batches(dataset, 2, training=True, **config.resizing())` makes batches for `fit` and
        for `evaluate`.
        """
        return {
            "min_side": self.image_min_side,
            "max_side": self.image_max_side,
            "resize_rule": self.resize_rule,
            "padding_multiple": self.padding_multiple,
        }

    def reading(self) -> dict[str, Any]:
        """Returns the keyword arguments of the readers of `data` that say what an image is.

        `data.coco_json("images", "annotations.json", **config.reading())` reads images with the
        channels and the dtype that the model takes.
        """
        return {
            "channels": self.in_channels,
            "image_dtype": self.image_dtype,
            "pixel_max": self.pixel_max,
        }

    def ids(self) -> tuple[int, ...]:
        """Returns a tuple of `num_classes` category ids: 1, 2, ... if none were given."""
        return self.category_ids or tuple(range(1, self.num_classes + 1))


def field_docs() -> dict[str, str]:
    """Returns a dict that maps each field's name to the docstring below it, as one line.

    Python does not keep these docstrings, so they are read from the source file. The dict is empty
    if there is no source file, as in a program packed into one file.
    """
    try:
        source = inspect.getsource(MaskRCNNConfig)
    except OSError:
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    pairs = zip(definition.body, definition.body[1:], strict=False)
    return {
        ast.unparse(field.target): " ".join(ast.literal_eval(doc.value).split())
        for field, doc in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr)
    }


def suggestion(name: str, known: Collection[str]) -> str:
    """Returns the end of an error about an unknown name: a similar known name, or all names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}."


__getattr__ = moved(
    __name__,
    {
        "PRESETS": "keras_maskrcnn.presets:PRESETS",
        "preset_config": "keras_maskrcnn.presets:preset_config",
        "RULES": "keras_maskrcnn.config_rules:RULES",
        "BACKBONES": "keras_maskrcnn.catalog:RESNETS",
        "NECKS": "keras_maskrcnn.config_rules:NECKS",
        "NORMS": "keras_maskrcnn.config_rules:NORMS",
        "PEERS": "keras_maskrcnn.config_rules:PEERS",
    },
)
