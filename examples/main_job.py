"""The whole workflow on generated data: train, score, save, export, serve, draw.

    python examples/main_job.py --output=shapes_demo

It makes a COCO data set of colored shapes, trains Mask R-CNN on it from scratch, scores the model
with pycocotools, saves `model.keras` and exports a SavedModel. A second process, without
keras_maskrcnn, runs the SavedModel. `predictions.png` shows its detections next to the truth. Soon
after the training has begun, a line says how long it will take on this machine.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import hide_notices  # noqa: F401 (comes before TensorFlow)
import keras
import numpy as np
from shapes import make_shapes

import keras_maskrcnn as mrcnn

IMAGES_SHOWN = 12


def main():
    """Runs the whole workflow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("shapes_demo"), help="folder to make"
    )
    parser.add_argument("--epochs", type=int, default=9, help="passes over the training images")
    parser.add_argument("--train", type=int, default=500, help="number of training images")
    parser.add_argument("--val", type=int, default=60, help="number of validation images")
    parser.add_argument("--seed", type=int, default=0, help="seed of the images and the training")
    parser.add_argument("--quiet", action="store_true", help="print only the last line")
    args = parser.parse_args()
    started = time.time()
    output, verbose = args.output, 0 if args.quiet else 1

    make_shapes(output / "data", train=args.train, val=args.val, seed=args.seed)
    folder = output / "data"
    train = mrcnn.data.coco_json(folder / "train", folder / "annotations/train.json")
    val = mrcnn.data.coco_json(folder / "val", folder / "annotations/val.json")

    keras.utils.set_random_seed(args.seed)
    model = train_model(train, val, args.epochs, args.seed, verbose)
    metrics = mrcnn.evaluate(model, val, batch_size=8, max_detections=50, verbose=verbose)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1))

    model.save(output / "model.keras")
    model.export(output / "served/1", verbose=not args.quiet)
    found = serve_elsewhere(output, val)
    draw(output / "predictions.png", val, found)
    print(
        f"mask AP {metrics['segm/AP']:.3f}, AP50 {metrics['segm/AP50']:.3f}, "
        f"box AP {metrics['bbox/AP']:.3f} on {len(val)} unseen images; "
        f"{time.time() - started:.0f} s in total. Look at {output / 'predictions.png'}."
    )


def train_model(train, val, epochs, seed, verbose):
    """Trains a small model from scratch with model.fit; the images are few and small."""
    batch_size = 4
    model = mrcnn.MaskRCNN.from_preset(
        "mask_rcnn_resnet18_fpn_small",
        image_min_side=128,
        image_max_side=128,
        anchor_sizes=(16, 32, 64, 128, 256),
        canonical_roi_size=112,
        norm="group",
        fpn_channels=64,
        roi_batch=32,
        train_pre_nms=300,
        train_proposals=300,
        test_pre_nms=300,
        test_proposals=100,
        box_head_units=256,
        mask_head_convs=2,
        mask_head_channels=64,
        detections_per_image=50,
        num_classes=train.num_classes,
        class_names=train.class_names,
        category_ids=train.category_ids,
    )
    steps = epochs * (len(train) // batch_size)
    # From random weights, AdamW learns these shapes in a third of the steps of SGD.
    recipe = mrcnn.training.Recipe(
        steps, batch_size, warmup_fraction=0.05, milestones=(0.8,), **mrcnn.training.ADAMW
    )
    model.compile(recipe.optimizer())
    batches = mrcnn.data.batches(
        train, batch_size, training=True, seed=seed, **model.config.resizing()
    )
    callbacks = [mrcnn.CocoEvaluation(val, batch_size=8, max_detections=50)]
    callbacks += [mrcnn.training.TimeLeft()] * verbose
    model.fit(batches, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=verbose)
    return model


def serve_elsewhere(output, val):
    """Runs the SavedModel in another process, which imports TensorFlow but not this package."""
    paths = [os.path.join(val.images, name) for name in val.file_names[:IMAGES_SHOWN]]
    answers = output / "served.npz"
    script = pathlib.Path(__file__).with_name("run_saved_model.py")
    subprocess.run([sys.executable, script, output / "served/1", answers, *paths], check=True)
    with np.load(answers) as file:
        return {name: file[name] for name in file.files}


def draw(path, val, found):
    """Writes a grid with two pictures per image: the predictions, then the truth."""
    paste_all = mrcnn.ops.masks.paste_all
    pictures, titles = [], []
    for i in range(len(found["boxes"])):
        image, (height, width) = val.load_image(i), val.sizes[i]
        count = int(found["num_detections"][i])
        predicted = {name: found[name][i][:count] for name in ("boxes", "scores", "labels")}
        masks = found["masks"][i][:count]
        predicted["masks"] = paste_all(masks, predicted["boxes"], height, width)
        truth = val.load(i)
        truth["masks"] = paste_all(truth["masks"] / 255, truth["boxes"], height, width)
        for title, things in (("predicted", predicted), ("truth", truth)):
            pictures.append(mrcnn.visualize.draw(image, things, val.class_names))
            titles.append(title)
    mrcnn.visualize.save_png(path, mrcnn.visualize.grid(pictures, 6, titles))


if __name__ == "__main__":
    main()
