"""Stand-ins for what the blocks of our pages need: small presets, no downloads, few steps.

tests/test_doc_blocks.py calls `install` before it runs Python blocks. For shell blocks this file
is the command `keras-maskrcnn`: it installs the same stand-ins, and then runs the real command.
"""

import os
import pathlib
import runpy
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
STEPS = 4  # at most, in a run of `keras-maskrcnn train`
SMALL = dict(
    backbone_width=32,  # norm="group" has 32 groups
    fpn_channels=32,
    box_head_units=64,
    mask_head_channels=32,
    image_min_side=64,
    image_max_side=96,
    train_pre_nms=100,
    train_proposals=50,
    test_pre_nms=100,
    test_proposals=50,
    roi_batch=32,
    detections_per_image=20,
)
CLASSES = {"torchvision": 90, "detectron2": 80, "matterport": 80}
CHECKPOINTS = {  # file -> golden layout
    "maskrcnn_resnet50_fpn_v2_coco.pth": "fpn_torchvision_v2",
    "maskrcnn_resnet50_fpn_coco.pth": "fpn_torchvision",
    "model_final.pkl": "fpn_detectron2",
    "mask_rcnn_coco.h5": "matterport",
}


def write_checkpoint(path, layout):
    """Writes random weights for COCO's classes, in a peer's layout and with the small widths.

    Args:
        path: pathlib.Path to write.
        layout: str, the name of a golden file without "tiny_", such as "fpn_torchvision".
    """
    from parity import peer_weights, write_h5

    classes = next(n for peer, n in CLASSES.items() if peer in layout)
    axis = -1 if layout == "matterport" else 0
    arrays = {}
    for name, array in peer_weights(layout).items():
        predicts = ("predictor", "mask_fcn_logits", "mrcnn_class_logits", "mrcnn_bbox_fc")
        if any(part in name for part in (*predicts, "mrcnn_mask/")) and "conv5_mask" not in name:
            count = array.shape[axis]  # of 4 classes, with or without background
            count = count // 5 * (classes + 1) if count % 5 == 0 else count // 4 * classes
            shape = list(array.shape)
            shape[axis] = count
            array = np.resize(array, shape)
        arrays[name] = array
    if layout == "matterport":
        write_h5(path, arrays)
    else:
        with open(path, "wb") as file:
            np.savez(file, **arrays)


def write_folder(folder):
    """Fills a working directory: data, a photo, and checkpoints of the peers."""
    make_shapes = runpy.run_path(str(ROOT / "examples" / "shapes.py"))["make_shapes"]
    made = folder / "made"
    make_shapes(made, train=8, val=4, size=64)
    for part in ("train", "val"):
        (folder / part).mkdir()
        (made / part).rename(folder / part / "images")
        (made / "annotations" / f"{part}.json").rename(folder / f"{part}.json")
    (made / "annotations").rmdir()
    made.rmdir()
    with Image.open(folder / "val" / "images" / "000001.png") as image:
        photo = image.resize((160, 120))
    (folder / "photos").mkdir()
    for path in ("photo.jpg", "photos/a.jpg"):
        photo.save(folder / path)
    for path, layout in CHECKPOINTS.items():
        write_checkpoint(folder / path, layout)
    for name in ("examples", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)


def install(setattr=setattr, setitem=dict.__setitem__):
    """Makes the presets small, and replaces downloads by files of the working directory.

    Args:
        setattr, setitem: those of pytest's monkeypatch, which takes all back after a test.
    """
    import keras

    from keras_maskrcnn.catalog import BACKBONES
    from keras_maskrcnn.presets import PRESETS
    from keras_maskrcnn.weights import load, public

    for name, fields in PRESETS.items():
        small = dict(SMALL)
        if load.peer_of(name):  # the widths of the golden files' networks
            small |= dict(backbone="resnet50", backbone_width=8)
        if BACKBONES[fields.get("backbone", "resnet50")].source != "ours":
            del small["backbone_width"]
        if name.endswith("_matterport"):
            small |= dict(rpn_head_channels=64, image_max_side=64)
        setitem(PRESETS, name, {**fields, **small})

    def get_file(fname=None, origin=None, **arguments):
        preset = next((p for p, url in public.URLS.items() if url == origin), "")
        layouts = ((path, layout.split("_", 1)[-1]) for path, layout in CHECKPOINTS.items())
        found = next((path for path, layout in layouts if preset.endswith(layout)), None)
        return os.path.abspath(found or "photo.jpg")

    setattr(keras.utils, "get_file", get_file)
    for preset in list(public.SHA256):
        setitem(public.SHA256, preset, "")


def few_steps(arguments):
    """The arguments of a command, with --steps of at most `STEPS`."""
    return [
        f"--steps={min(STEPS, int(a.partition('=')[2]))}" if a.startswith("--steps=") else a
        for a in arguments
    ]


if __name__ == "__main__":
    from keras_maskrcnn import cli

    install()
    sys.argv = ["keras-maskrcnn", *few_steps(sys.argv[1:])]
    sys.exit(cli.main())
