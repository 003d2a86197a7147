"""The smallest runs of the commands: a data set of shapes, and flags for a tiny model."""

import json
import pathlib
import runpy

make_shapes = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "examples" / "shapes.py"))[
    "make_shapes"
]
TINY = [
    "--quiet",
    "--preset=mask_rcnn_resnet18_fpn_small",
    "--image_size=64",
    "--fpn_channels=16",
    "--box_head_units=16",
    "--mask_head_convs=1",
    "--mask_head_channels=16",
    "--roi_batch=16",
    "--train_pre_nms=50",
    "--train_proposals=50",
    "--test_pre_nms=50",
    "--test_proposals=50",
    "--score_threshold=0.2",
    "--detections_per_image=20",
    "--anchor_sizes=8,16,32,64,128",
]


def data_flags(folder, part, prefix=""):
    """Returns --images and --annotations for one part of a folder that `make_shapes` made."""
    return [
        f"--{prefix}images={folder / part}",
        f"--{prefix}annotations={folder / 'annotations' / part}.json",
    ]


def without_times(path):
    """Returns the epochs of a history.json without measured times."""
    measured = ("images_per_second", "waiting")
    return [
        {name: value for name, value in epoch.items() if name not in measured}
        for epoch in json.loads(path.read_text())
    ]
