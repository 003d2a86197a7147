"""The names of our layers in the checkpoints of torchvision and detectron2.

Each table maps the name of one of our layers, "network/layer", to a pair of names: the peer's
layer, and the norm after it ("" if it never has one).
"""

import re
from collections.abc import Container, Mapping

import numpy as np

_TORCHVISION = {
    r"backbone/stem": ("backbone.body.conv1", "backbone.body.bn1"),
    r"backbone/res(\d)_(\d+)_conv(\d)": (
        "backbone.body.layer{0-1}.{1}.conv{2}",
        "backbone.body.layer{0-1}.{1}.bn{2}",
    ),
    r"backbone/res(\d)_(\d+)_shortcut": (
        "backbone.body.layer{0-1}.{1}.downsample.0",
        "backbone.body.layer{0-1}.{1}.downsample.1",
    ),
    r"fpn/lateral(\d)": (
        "backbone.fpn.inner_blocks.{0-2}.0",
        "backbone.fpn.inner_blocks.{0-2}.1",
    ),
    r"fpn/output(\d)": (
        "backbone.fpn.layer_blocks.{0-2}.0",
        "backbone.fpn.layer_blocks.{0-2}.1",
    ),
    r"rpn_head/conv(\d)": ("rpn.head.conv.{0-1}.0", ""),
    r"rpn_head/logits": ("rpn.head.cls_logits", ""),
    r"rpn_head/deltas": ("rpn.head.bbox_pred", ""),
    r"box_head/conv(\d)": ("roi_heads.box_head.{0-1}.0", "roi_heads.box_head.{0-1}.1"),
    r"box_head/fc1": ("roi_heads.box_head.fc6", ""),
    r"box_head/fc2": ("roi_heads.box_head.fc7", ""),
    r"box_head/class_logits": ("roi_heads.box_predictor.cls_score", ""),
    r"box_head/box_deltas": ("roi_heads.box_predictor.bbox_pred", ""),
    r"mask_head/conv(\d)": ("roi_heads.mask_head.{0-1}.0", "roi_heads.mask_head.{0-1}.1"),
    r"mask_head/deconv": ("roi_heads.mask_predictor.conv5_mask", ""),
    r"mask_head/logits": ("roi_heads.mask_predictor.mask_fcn_logits", ""),
}
# In v2, one Sequential holds four convolutions, a Flatten and then the fully connected layer.
_TORCHVISION_V2 = {r"box_head/fc1": ("roi_heads.box_head.5", "")}

_DETECTRON2 = {
    r"backbone/stem": ("backbone.bottom_up.stem.conv1", "backbone.bottom_up.stem.conv1.norm"),
    r"backbone/res(\d)_(\d+)_(conv\d|shortcut)": (
        "backbone.bottom_up.res{0}.{1}.{2}",
        "backbone.bottom_up.res{0}.{1}.{2}.norm",
    ),
    r"fpn/(lateral|output)(\d)": ("backbone.fpn_{0}{1}", "backbone.fpn_{0}{1}.norm"),
    r"res5/res5_(\d+)_(conv\d|shortcut)": ("roi_heads.res5.{0}.{1}", "roi_heads.res5.{0}.{1}.norm"),
    r"rpn_head/conv1": ("proposal_generator.rpn_head.conv", ""),
    r"rpn_head/logits": ("proposal_generator.rpn_head.objectness_logits", ""),
    r"rpn_head/deltas": ("proposal_generator.rpn_head.anchor_deltas", ""),
    r"box_head/conv(\d)": ("roi_heads.box_head.conv{0}", "roi_heads.box_head.conv{0}.norm"),
    r"box_head/(fc\d)": ("roi_heads.box_head.{0}", ""),
    r"box_head/class_logits": ("roi_heads.box_predictor.cls_score", ""),
    r"box_head/box_deltas": ("roi_heads.box_predictor.bbox_pred", ""),
    r"mask_head/conv(\d)": (
        "roi_heads.mask_head.mask_fcn{0}",
        "roi_heads.mask_head.mask_fcn{0}.norm",
    ),
    r"mask_head/deconv": ("roi_heads.mask_head.deconv", ""),
    r"mask_head/logits": ("roi_heads.mask_head.predictor", ""),
}

# Keys that none of our models needs, and the reason why they can be skipped.
IGNORED = {
    r".*\.num_batches_tracked": "a counter of training steps",
    r"pixel_(mean|std)": "our config has them",
    r".*\.?cell_anchors\.\d": "our config has them",
    r"(fc|classifier)\.(weight|bias)": "ImageNet's classifier",
    r"(fc1000|pred|linear)[._](weight|bias|w|b)": "ImageNet's classifier",
    r"(.*/)?(fc1000|predictions)/[^/]*": "ImageNet's classifier",
    r"optimizer_weights/.*": "the state of an optimizer",
    r"(.*/)?anchors/[^/]*": "our config has them",
}


def peer_names(source: str, layer: str, keys: Container[str]) -> tuple[str, ...]:
    """Returns the names of one of our layers in a peer's checkpoint.

    Args:
        source: "torchvision" or "detectron2".
        layer: str, "network/layer".
        keys: the keys of the checkpoint.

    Returns:
        (layer, norm after it), both str.

    Raises:
        ValueError: if the peer has no such layer.
    """
    table = {"torchvision": _TORCHVISION, "detectron2": _DETECTRON2}[source]
    if "roi_heads.box_head.5.weight" in keys:
        table = {**table, **_TORCHVISION_V2}
    if layer.startswith("res5/") and "roi_heads.res5.0.conv1.weight" not in keys:
        layer = layer.replace("res5", "backbone", 1)  # a classifier has no heads
    for pattern, names in table.items():
        found = re.fullmatch(pattern, layer)
        if found:
            names = (_fill(name, found.groups()) for name in names)
            if "backbone.stem.conv1.weight" in keys:  # C4 and DC5: no FPN on top
                names = (name.replace(".bottom_up.", ".") for name in names)
            return tuple(names)
    raise ValueError(f"the layer {layer} has no counterpart in these checkpoints.")


def _fill(name, groups):
    """Fills a template: "a{0}.b{1-2}" with ("3", "4") gives "a3.b2"."""

    def value(found):
        index, less = found.groups()
        return groups[int(index)] if less is None else str(int(groups[int(index)]) - int(less))

    return re.sub(r"\{(\d)(?:-(\d))?\}", value, name)


def rename_backbone(arrays: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray] | None:
    """Renames the keys of a classifier's checkpoint as they are named inside a detector.

    Args:
        arrays: dict of str to array. A ResNet of torchvision or timm ("conv1.weight",
            "layer1.0..."), detectron2 ("stem.conv1.weight", "res2.0...") or Caffe2 ("conv1_w",
            "res2_0_branch2a_bn_s").
        source: "torchvision" or "detectron2".

    Returns:
        dict of str to array; None if the checkpoint is not that of a classifier.
    """
    if source == "torchvision" and "layer1.0.conv1.weight" in arrays:
        body = re.compile(r"(conv1|bn1|layer\d)\..*")
        return {f"backbone.body.{k}" if body.match(k) else k: v for k, v in arrays.items()}
    if source == "detectron2":
        if "res2_0_branch2a_w" in arrays:
            arrays = _from_caffe2(arrays)
        if "res2.0.conv1.weight" in arrays:
            body = re.compile(r"(stem|res\d)\..*")
            return {f"backbone.bottom_up.{k}" if body.match(k) else k: v for k, v in arrays.items()}
    return None


_CAFFE2 = {
    r"(?:res_)?conv1": "stem.conv1",
    r"res(\d)_(\d+)_branch1": "res{0}.{1}.shortcut",
    r"res(\d)_(\d+)_branch2a": "res{0}.{1}.conv1",
    r"res(\d)_(\d+)_branch2b": "res{0}.{1}.conv2",
    r"res(\d)_(\d+)_branch2c": "res{0}.{1}.conv3",
}
_CAFFE2_ENDS = {"_bn_s": ".norm.weight", "_bn_b": ".norm.bias", "_w": ".weight"}


def _from_caffe2(arrays):
    """Renames Caffe2's keys as detectron2's, and adds statistics: Caffe2's norms have none."""
    renamed = {}
    for key, value in arrays.items():
        end = next((end for end in _CAFFE2_ENDS if key.endswith(end)), "")
        layer = key.removesuffix(end)
        names = [
            _fill(name, found.groups())
            for pattern, name in _CAFFE2.items()
            if (found := re.fullmatch(pattern, layer))
        ]
        if not (names and end):
            renamed[key] = value
            continue
        renamed[names[0] + _CAFFE2_ENDS[end]] = value
        if end == "_bn_s":
            renamed[f"{names[0]}.norm.running_mean"] = np.zeros_like(value)
            # Together with the epsilon of 1e-5 that the norm adds, the variance is 1.
            renamed[f"{names[0]}.norm.running_var"] = np.full_like(value, 1 - 1e-5)
    return renamed
