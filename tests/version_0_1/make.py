"""Made the files beside it, with the code of version 0.1: they must go on working.

    git worktree add ../0.1 622dd5c && cd ../0.1
    PYTHONPATH=. python ../main/tests/version_0_1/make.py OUTPUT

A narrow network, trained for four steps by the command `train`: the run's folder (model.keras,
backup), the weights alone, a SavedModel, and what the model finds in one image.
"""

import pathlib
import runpy
import sys

import numpy as np
import tensorflow as tf

from keras_maskrcnn import cli, data

FLAGS = [
    *("--quiet", "--preset=mask_rcnn_resnet18_fpn_small", "--image_size=64", "--steps=4"),
    *("--backbone_width=4", "--fpn_channels=16", "--box_head_units=16", "--mask_head_convs=1"),
    *("--mask_head_channels=16", "--roi_batch=16", "--train_pre_nms=50", "--train_proposals=50"),
    *("--test_pre_nms=50", "--test_proposals=50", "--score_threshold=0.2", "--save_every=2"),
    *("--detections_per_image=20",),
]


def main(output):
    """Writes all files into a folder that does not exist."""
    shapes = runpy.run_path("examples/shapes.py")
    shapes["make_shapes"](output / "shapes", train=4, val=1, size=64)
    images, annotations = output / "shapes/train", output / "shapes/annotations/train.json"
    run = output / "run"
    flags = [f"--images={images}", f"--annotations={annotations}", f"--output={run}", *FLAGS]
    assert cli.run(["train", *flags]) == 0
    from keras_maskrcnn.cli.files import load_model

    model = load_model(str(run / "model.keras"))
    model.save_weights(output / "model.weights.h5")
    model.export(str(output / "saved_model"))
    image = data.images.read_image(str(next(iter(sorted(images.iterdir())))))
    found = model.predict(image[None], verbose=0)
    served = tf.saved_model.load(str(output / "saved_model")).signatures["serving_default"]
    answers = served(images=tf.constant(image[None]))
    np.savez_compressed(
        output / "found.npz",
        image=image,
        **{f"predict_{name}": value for name, value in found.items()},
        **{f"serving_{name}": value.numpy() for name, value in answers.items()},
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
