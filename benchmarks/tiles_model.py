"""Trains the small model of tiles.py and tiles_sahi.py on drawn shapes.

    python benchmarks/tiles_model.py --output=DIR

The images are 400 blocks of 256 x 256 pixels from a large drawing (mosaic.py), so shapes at the
border of a block are cut, as they are at the border of a tile. The conventions are torchvision's,
so that torchvision computes the same with these weights (to_torchvision.py). Batch norm is used
because, unlike with group norm, the answer for an object doesn't depend on all of the tile.
"""

import argparse
import json
import pathlib

import keras
from mosaic import Mosaic, write_coco

import keras_maskrcnn as mrcnn


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to make")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sets = []
    for name, side, seed in (("train", 5120, 101), ("val", 2048, 102)):
        folder = args.output / name
        if not folder.exists():
            write_coco(Mosaic(side, int((side / 85) ** 2), seed, block=256), folder)
        sets.append(mrcnn.data.coco_json(folder / "images", folder / "coco.json"))
    train, val = sets
    keras.utils.set_random_seed(args.seed)
    model = mrcnn.MaskRCNN.from_preset(
        "mask_rcnn_resnet50_fpn_torchvision",
        backbone="resnet18",
        norm="batch",
        norm_epsilon=1e-5,
        frozen_stages=0,
        image_min_side=256,
        image_max_side=256,
        fpn_channels=64,
        anchor_sizes=(16, 32, 64, 128, 256),
        canonical_roi_size=112,
        roi_batch=64,
        train_pre_nms=500,
        train_proposals=500,
        test_pre_nms=500,
        test_proposals=300,
        box_head_units=256,
        mask_head_convs=2,
        mask_head_channels=64,
        num_classes=train.num_classes,
        class_names=train.class_names,
        category_ids=train.category_ids,
    )
    batch_size = 4
    steps = args.epochs * (len(train) // batch_size)
    recipe = mrcnn.training.Recipe(
        steps, batch_size, warmup_fraction=0.05, milestones=(0.8,), **mrcnn.training.ADAMW
    )
    model.compile(recipe.optimizer())
    batches = mrcnn.data.batches(
        train, batch_size, training=True, seed=args.seed, **model.config.resizing()
    )
    model.fit(
        batches,
        epochs=args.epochs,
        callbacks=[mrcnn.training.TimeLeft()],
        shuffle=False,
        verbose=2,
    )
    model.save(args.output / "shapes.keras")
    metrics = mrcnn.evaluate(model, val, batch_size=8, verbose=0)
    (args.output / "metrics.json").write_text(json.dumps(metrics, indent=1))
    print(f"mask AP {metrics['segm/AP']:.3f}, box AP {metrics['bbox/AP']:.3f}")


if __name__ == "__main__":
    main()
