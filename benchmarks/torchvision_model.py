"""Builds torchvision's Mask R-CNN from a file of to_torchvision.py, without this package."""

import json

import numpy as np
import torch
import torchvision
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign


def load(path, side, detections):
    """Returns the model in inference mode, and its config.

    Args:
        path: str. File of to_torchvision.py.
        side: int. Images are resized so that both sides are at most, and one is, `side` pixels.
        detections: int. Most detections per image.
    """
    with np.load(path) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "config"}
        config = json.loads(str(file["config"]))
    body = getattr(torchvision.models, config["backbone"])(weights=None)
    stages = {f"layer{i}": str(i - 1) for i in range(1, 5)}
    widths = [body.inplanes // 2 ** (3 - i) for i in range(4)]
    channels, classes = config["fpn_channels"], config["num_classes"] + 1
    levels, canonical = ["0", "1", "2", "3"], config["canonical_roi_size"]
    pools = [
        MultiScaleRoIAlign(levels, size, config["sampling_ratio"], canonical_scale=canonical)
        for size in (config["box_pool_size"], config["mask_pool_size"])
    ]
    mask_channels = config["mask_head_channels"]
    model = MaskRCNN(
        BackboneWithFPN(body, stages, widths, channels),
        min_size=side,
        max_size=side,
        rpn_anchor_generator=AnchorGenerator(
            tuple((size,) for size in config["anchor_sizes"]),
            (tuple(config["anchor_ratios"]),) * len(config["anchor_sizes"]),
        ),
        rpn_pre_nms_top_n_test=config["test_pre_nms"],
        rpn_post_nms_top_n_test=config["test_proposals"],
        box_roi_pool=pools[0],
        box_head=TwoMLPHead(channels * config["box_pool_size"] ** 2, config["box_head_units"]),
        box_predictor=FastRCNNPredictor(config["box_head_units"], classes),
        box_score_thresh=config["score_threshold"],
        box_nms_thresh=config["nms_iou"],
        box_detections_per_img=detections,
        mask_roi_pool=pools[1],
        mask_head=MaskRCNNHeads(channels, (mask_channels,) * config["mask_head_convs"], 1),
        mask_predictor=MaskRCNNPredictor(mask_channels, mask_channels, classes),
    )
    counters = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    found = model.load_state_dict(arrays, strict=False)
    if set(found.missing_keys) - counters or found.unexpected_keys:
        raise SystemExit(f"{path} does not fit torchvision's model: {found}")
    return model.eval(), config
