"""Configs of models that can be exported to other runtimes."""

import numpy as np
import pytest

C4 = {"neck": "c4", "mask_pool_size": 7, "box_head_layers": 0, "mask_head_convs": 0}
MATTERPORT = {"roi_op": "crop", "anchor_rule": "matterport", "rpn_joint_nms": True}
TORCHVISION = {
    "resize_rule": "torchvision",
    "anchor_rule": "torchvision",
    "roi_level_rule": "torchvision",
    "roi_aligned": False,
    "rpn_min_size": 1e-3,
    "box_min_size": 1e-2,
}
# The default run converts only the model that has every part. Each of the others takes as long.
slow = pytest.mark.slow
FAMILIES = [
    {},
    pytest.param(C4, marks=slow),
    pytest.param({"task": "boxes"}, marks=slow),
    pytest.param({"sampling_ratio": 0}, marks=slow),
    pytest.param({"nms_across_classes": True}, marks=slow),
    pytest.param({"task": "proposals"}, marks=slow),
    pytest.param({"neck": "dc5", "backbone": "resnext50_32x4d"}, marks=slow),
    pytest.param({"neck": "simple_fpn", "head_norm": "layer", "box_head_convs": 1}, marks=slow),
    pytest.param({"head_norm": "group", "fpn_channels": 32, "mask_head_channels": 32}, marks=slow),
]


def assert_close(found, expected, atol):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=atol, err_msg=name)


def assert_same_detections(found, expected, share=0.85, atol=1e-3):
    """Checks that most detections agree, in any order; of a wrong graph, few would.

    In random networks some scores differ by less than rounding errors: such detections change
    places, or suppress each other the other way round.
    """
    expected = {name: np.asarray(value) for name, value in expected.items()}
    assert set(found) == set(expected)
    for image, count in enumerate(expected["num_detections"]):
        assert count > 0
        same = []
        for i in range(count):
            near = found["labels"][image] == expected["labels"][image, i]
            for name in ("boxes", "scores"):
                distance = np.abs(found[name][image] - expected[name][image, i])
                near &= distance.reshape(len(distance), -1).max(axis=1) < atol * 10
            if "masks" in expected and near.any():
                distance = np.abs(found["masks"][image, near] - expected["masks"][image, i])
                near = distance.max(axis=(1, 2)) < atol
            same.append(near.any())
        assert np.mean(same) >= share, (image, np.mean(same))
