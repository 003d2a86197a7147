"""Puts the parts of an ONNX model together (Figure 1)."""

import keras
import numpy as np
import onnx

from keras_maskrcnn.export.native_onnx import images as image_inputs
from keras_maskrcnn.export.native_onnx.detections import Limits, detect
from keras_maskrcnn.export.native_onnx.graph import FLOAT, INT32, INT64, Graph
from keras_maskrcnn.export.native_onnx.networks import translate
from keras_maskrcnn.export.native_onnx.proposals import propose
from keras_maskrcnn.export.native_onnx.roi_pooling import LAYERS
from keras_maskrcnn.levels import maps_for
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork

# A class of the user that overrides only these computes what ours does at inference.
_TRAINING = {
    *("compute_losses", "sample", "select_for_training"),
    *("from_config", "get_config", "loss_names", "networks"),
    *("classifier_loss", "box_loss", "mask_loss", "objectness_loss"),
}


def foreign_part(model: keras.Model) -> str:
    """Names a part of a model that is of a class of the user, so that `build` cannot write it.

    A stage whose class only has other losses is none.

    Args:
        model: MaskRCNN.

    Returns:
        str, such as "roi_heads"; "" if there is none.
    """
    heads = model.roi_heads
    aligns = () if heads is None else (heads.box_align, heads.mask_align)
    known = {
        "rpn": model.rpn is None or _detects_as(RegionProposalNetwork, model.rpn),
        "roi_heads": heads is None or _detects_as(RoIHeads, heads),
        "RoI layer": all(type(layer) in (*LAYERS, type(None)) for layer in aligns),
    }
    return next((name for name, ours in known.items() if not ours), "")


def _detects_as(kind, stage):
    """Returns whether a stage of a derived class differs from `kind` in training only."""
    classes = type(stage).__mro__
    derived = classes[: classes.index(kind)]
    names = {name for each in derived for name in vars(each) if hasattr(kind, name)}
    overridden = {name for name in names if not name.startswith("__") or name == "__call__"}
    return overridden <= _TRAINING


def build(
    model: keras.Model,
    metadata: dict[str, str],
    *,
    image_size: tuple[int, int] | None,
    batch_size: int | None,
    opset: int,
) -> onnx.ModelProto:
    """Writes a model as ONNX.

    Args:
        model: MaskRCNN in float32 with an RPN, and without a `foreign_part`.
        metadata: dict of str to str. The file's metadata properties.
        image_size: (height, width), or None for images of any size.
        batch_size: int, or None for a batch of any size.
        opset: int. Version of ONNX' set of operations, at least 18.

    Returns:
        onnx.ModelProto.
    """
    config, batch = model.config, batch_size or "batch"
    graph = Graph(opset)
    if image_size is None:
        images = image_inputs.of_any_size(graph, config, batch)
    else:
        images = image_inputs.of_one_size(graph, config, batch, image_size)
    features = translate(graph, model.backbone, images.pixels, "backbone")
    if model.fpn is not None:
        features = translate(graph, model.fpn, maps_for(model.fpn, features), "fpn")
    proposals = propose(graph, model.rpn, features, images)
    if model.roi_heads is None:
        _write_proposals(graph, model, proposals, images, batch)
    else:
        _write_detections(graph, model, features, proposals, images, batch)
    return graph.model(metadata)


def _write_proposals(graph, model, proposals, images, batch):
    count = model.config.test_proposals
    with graph.scope("rpn"):
        scores = graph.where(proposals.filled, graph.add("Sigmoid", proposals.logits), 0.0)
        number = _count(graph, proposals.filled)
        boxes = _original_boxes(model, proposals.boxes, proposals.filled, images)
    graph.output("boxes", boxes, FLOAT, [batch, count, 4])
    graph.output("scores", scores, FLOAT, [batch, count])
    graph.output("num_proposals", number, INT32, [batch])


def _write_detections(graph, model, features, proposals, images, batch):
    config = model.config
    defaults = {
        "score_threshold": (FLOAT, np.array([config.score_threshold], np.float32)),
        "nms_iou": (FLOAT, np.array([config.nms_iou], np.float32)),
        "detections_per_image": (INT64, np.array([config.detections_per_image], np.int64)),
    }
    limits = Limits(
        *(graph.input(name, dtype, [1], value) for name, (dtype, value) in defaults.items())
    )
    found, masks = detect(graph, model.roi_heads, features, proposals, images, limits)
    with graph.scope("boxes"):
        boxes = _original_boxes(model, found.boxes, found.filled, images)
        number = _count(graph, found.filled)
        labels = found.labels.cast(INT32)
    slots = [batch, "detections"]
    graph.output("boxes", boxes, FLOAT, [*slots, 4])
    graph.output("scores", found.scores, FLOAT, slots)
    graph.output("labels", labels, INT32, slots)
    graph.output("num_detections", number, INT32, [batch])
    if masks is not None:
        side = model.mask_head.output.shape[1]
        graph.output("masks", masks, FLOAT, [*slots, side, side])


def _count(graph, filled):
    """Counts the filled slots of each image: (B, D) bool -> (B,) int32."""
    return graph.add("ReduceSum", filled.cast(INT32), [1], keepdims=0)


def _original_boxes(model, boxes, filled, images):
    """Converts boxes of the network to pixels of the original images; empty slots stay zero."""
    if model.frame.inclusive:
        boxes = boxes + filled.cast(FLOAT).unsqueeze(2) * np.array([0, 0, 1, 1], np.float32)
    scale = images.original_sizes.cast(FLOAT) / images.sizes.cast(FLOAT)
    return boxes * scale.take([1, 0, 1, 0], axis=1).unsqueeze(1)
