"""The RPN in an ONNX graph: anchors, and the choice of proposals (`rpn.py`, `decode.proposals`)."""

from typing import Any, NamedTuple

import numpy as np

from keras_maskrcnn.export.native_onnx import boxes as box_ops
from keras_maskrcnn.export.native_onnx.graph import FLOAT, Graph, Value
from keras_maskrcnn.export.native_onnx.images import Images
from keras_maskrcnn.export.native_onnx.networks import translate
from keras_maskrcnn.levels import STRIDES, anchor_sizes
from keras_maskrcnn.ops.anchors import cell_anchors
from keras_maskrcnn.rpn import RegionProposalNetwork

# The score of a slot without a proposal. NMS drops all that is not above it.
NOTHING = -1e30


class Proposals(NamedTuple):
    """P slots per image, in the frame of the network.

    Attributes:
        boxes: (B, P, 4) float32, by falling score.
        logits: (B, P) float32.
        filled: (B, P) bool. Slots with a proposal.
    """

    boxes: Value
    logits: Value
    filled: Value


def propose(
    graph: Graph, rpn: RegionProposalNetwork, features: dict[str, Value], images: Images
) -> Proposals:
    """Adds the RPN, and chooses the proposals of each image (§3.1, Inference).

    Args:
        graph: Graph.
        rpn: RegionProposalNetwork.
        features: dict of the maps that the RPN gets, (B, K, H, W).
        images: Images.

    Returns:
        Proposals.
    """
    config = rpn.config
    outputs = []
    for level, sizes in zip(STRIDES[config.neck], anchor_sizes(config), strict=True):
        logits, deltas = translate(graph, rpn.head, features[level], "rpn_head", f"/{level}")
        with graph.scope(f"rpn/{level}"):
            logits = logits.transpose(0, 2, 3, 1).reshape(0, -1)
            deltas = deltas.transpose(0, 2, 3, 1).reshape(0, -1, 4)
            outputs.append(
                (logits, deltas, _anchors(config, features[level], level, sizes, images))
            )
    with graph.scope("rpn"):
        if config.rpn_joint_nms:  # treat all levels as one
            axes = (1, 1, 0)
            parts = zip(*outputs, strict=True)
            joined = (graph.add("Concat", *x, axis=a) for x, a in zip(parts, axes, strict=True))
            outputs = [tuple(joined)]
        borders = box_ops.borders_of(images.sizes, rpn.frame.inclusive).unsqueeze(1)
        kept = [_select_level(graph, config, borders, *output) for output in outputs]
        return _best(graph, config, *zip(*kept, strict=True))


def _anchors(config, feature, level, sizes, images):
    """Makes the anchors of one map, as `ops.anchors.level_anchors` does: (N, 4) float32."""
    graph = feature.graph
    torchvision = config.anchor_rule == "torchvision"
    cells = cell_anchors(sizes, config.anchor_ratios, torchvision)
    if config.anchor_rule == "matterport":  # its boxes include their last pixel
        cells -= np.array([0, 0, 1, 1], np.float32)
    height, width = feature.side(2), feature.side(3)
    steps: list[Any] = [float(STRIDES[config.neck][level])] * 2
    if torchvision:  # its strides are whole pixels that fit the padded size
        sides = enumerate((height, width))
        steps = [(images.canvas.take([i]) // side).cast(FLOAT) for i, side in sides]
    ys, xs = (graph.range(n).cast(FLOAT) * s for n, s in zip((height, width), steps, strict=True))
    grid = graph.shape_of(height, width, 1)
    ys = graph.add("Expand", ys.reshape(-1, 1, 1), grid)
    xs = graph.add("Expand", xs.reshape(1, -1, 1), grid)
    shifts = graph.add("Concat", xs, ys, xs, ys, axis=2).reshape(-1, 1, 4)
    return (shifts + cells[None]).reshape(-1, 4)


def _select_level(graph, config, borders, logits, deltas, anchors):
    """Takes the best boxes of a level, and runs NMS; returns boxes (B, k, 4), logits (B, k)."""
    count = graph.add("Min", logits.side(1), config.test_pre_nms)
    best, indices = graph.add("TopK", logits, count, outputs=2, axis=1)
    boxes = box_ops.decode(deltas.take_per_image(indices), anchors.take(indices))
    boxes = box_ops.clip(boxes, borders)
    best = graph.where(box_ops.is_longer(boxes, config.rpn_min_size), best, NOTHING)
    kept = box_ops.suppress(
        graph,
        boxes,
        best,
        iou=[float(config.rpn_nms_iou)],
        lowest=[NOTHING],
        count=[config.test_proposals],  # no level gives more
    )
    return boxes, graph.where(kept, best, NOTHING)


def _best(graph, config, boxes, logits):
    """Takes the best proposals of all levels."""
    count, batch = config.test_proposals, logits[0].side(0)
    # With as many empty slots, there are always enough for TopK.
    boxes = graph.add("Concat", *boxes, graph.full(0.0, batch, count, 4), axis=1)
    logits = graph.add("Concat", *logits, graph.full(NOTHING, batch, count), axis=1)
    best, indices = graph.add("TopK", logits, [count], outputs=2, axis=1)
    return Proposals(boxes.take_per_image(indices), best, best > NOTHING)
