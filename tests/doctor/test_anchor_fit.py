"""doctor/anchor_fit.py: the best anchor is found without building all anchors."""

import numpy as np
import pytest

from doctor.faults import geometry
from keras_maskrcnn import doctor
from keras_maskrcnn.ops import anchors as anchor_ops
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops


@pytest.mark.parametrize(
    "preset",
    [
        f"mask_rcnn_resnet50_{name}"
        for name in ("fpn", "c4_detectron2", "fpn_torchvision", "fpn_matterport")
    ],
)
def test_the_best_anchor_is_that_of_all_anchors(preset):
    rng = np.random.default_rng(0)
    height, width = 190, 310
    corners = rng.uniform(0, 1, [60, 2]) * [width, height]
    ends = corners + (rng.uniform(0, 1, [60, 2]) ** 2 * ([width, height] - corners)) + 1e-3
    boxes = np.concatenate([corners, ends], axis=1)
    options = geometry(preset)
    resized, overlaps = doctor.anchor_overlaps(boxes, [[height, width]] * 60, **options)

    rule, multiple = options["anchor_rule"], options["padding_multiple"]
    sides = [
        int(side)
        for side in image_ops.resized_size(height, width, 200, 333, options["resize_rule"])
    ]
    expected = boxes * (np.array(sides) / [height, width])[[1, 0, 1, 0]]
    np.testing.assert_allclose(resized, expected)
    canvas = np.array([-(-side // multiple) * multiple for side in sides])
    far = np.array([0, 0, 1, 1] if rule == "matterport" else [0] * 4, np.float32)
    every = []
    for stride, sizes in zip(options["strides"], options["anchor_sizes"], strict=True):
        cells = -(-canvas // stride)
        step = (canvas // cells).astype(np.int32) if rule == "torchvision" else stride
        anchors = anchor_ops.level_anchors(
            *cells.tolist(), step, sizes, options["anchor_ratios"], rule == "torchvision"
        )
        every.append(anchors - far)
    iou = box_ops.iou(expected.astype(np.float32) - far, np.concatenate(every))
    np.testing.assert_allclose(overlaps, np.max(iou, axis=1), atol=1e-4)
