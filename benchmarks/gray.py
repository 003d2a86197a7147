r"""Trains on nuclei as RGB and as gray images of one channel: scores, time, size on disk.

    python benchmarks/gray.py run --nuclei=FOLDER --output=DIR [--seeds=0,1]
    python benchmarks/gray.py sizes --nuclei=FOLDER --output=DIR
    python benchmarks/gray.py report --output=DIR

FOLDER is like ../shared/data/nuclei. Three trainings of equal steps from random weights:

- RGB: the images as they are.
- gray: one channel (`in_channels=1`), which the model repeats three times, so the network is the
  same as for RGB.
- one band: one channel, and a `pixel_mean` of one number, so the first convolution sees one.

A gray image is Pillow's `convert("L")`. Most of these images are gray pictures stored as RGB; only
stained tissue has colors. `sizes` compares bytes of PNG files and of TFDS records.
"""

import argparse
import json
import pathlib
import shutil
import sys

import from_scratch
import numpy as np
from PIL import Image

ONE = {"pixel_mean": (117.8,), "pixel_std": (57.6,)}  # the means of ImageNet's three numbers
RUNS = {"RGB": {}, "gray": {"in_channels": 1}, "one band": {"in_channels": 1, **ONE}}
STEPS, BATCH = 300, 2
CONFIG = dict(
    image_min_side=192,
    image_max_side=320,
    norm="group",
    backbone_width=32,
    fpn_channels=64,
    roi_batch=32,
    train_pre_nms=300,
    train_proposals=300,
    test_pre_nms=500,
    test_proposals=300,
    box_head_units=256,
    mask_head_convs=2,
    mask_head_channels=64,
    detections_per_image=300,
)


def make_gray(nuclei, folder):
    """Copies the images as gray PNG files, with the same annotations, unless they are there.

    Args:
        nuclei: folder of PART/images and annotations/PART.json.
        folder: folder to make, of the same layout.
    """
    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(nuclei / "annotations", unfinished / "annotations")
    for part in ("train", "val"):
        (unfinished / part / "images").mkdir(parents=True)
        for path in sorted((nuclei / part / "images").iterdir()):
            with Image.open(path) as image:
                image.convert("L").save(unfinished / part / "images" / path.name)
    unfinished.rename(folder)


def open_part(folder, part, **reading):
    """Opens the images of a part, as `coco_json` reads them."""
    import keras_maskrcnn as mrcnn

    images, annotations = folder / part / "images", folder / f"annotations/{part}.json"
    return mrcnn.data.coco_json(images, annotations, **reading)


def one(arguments):
    """Trains and scores one model."""
    import keras

    import keras_maskrcnn as mrcnn

    fields = RUNS[arguments.name]
    folder = arguments.output / "gray" if fields else arguments.nuclei
    reading = {"channels": 1} if fields else {}
    train, val = (open_part(folder, part, **reading) for part in ("train", "val"))
    keras.utils.set_random_seed(arguments.seed)
    model = mrcnn.MaskRCNN.from_preset(
        "mask_rcnn_resnet18_fpn_small",
        num_classes=train.num_classes,
        class_names=train.class_names,
        category_ids=train.category_ids,
        **CONFIG,
        **fields,
    )
    recipe = mrcnn.training.Recipe(arguments.steps, BATCH, **mrcnn.training.ADAMW)
    result = {"name": arguments.name, "seed": arguments.seed}
    result |= from_scratch.train(model, train, recipe, arguments.seed)
    result |= mrcnn.evaluate(
        model, val, batch_size=BATCH, max_detections=300, per_class=True, verbose=0
    )
    path = from_scratch.result_path(arguments.output, arguments.name, arguments.seed)
    path.write_text(json.dumps(result, indent=1))


def sizes(nuclei, output):
    """Prints the bytes of images as gray, RGB and RGBA, all written by Pillow, and of records."""
    import tensorflow_datasets as tfds

    from keras_maskrcnn.data import tfds_coco

    paths = sorted(nuclei.glob("*/images/*"))
    total, colored = {"L": 0, "RGB": 0, "RGBA": 0}, 0
    scratch = output / "scratch.png"
    for path in paths:
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"))
            colored += bool(np.ptp(rgb.astype(int), axis=-1).any())
            for mode in total:
                image.convert(mode).save(scratch)
                total[mode] += scratch.stat().st_size
    scratch.unlink()
    stored = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} images, of which {colored} have a color; as stored {stored / 1e6:.1f} MB")
    for mode, size in total.items():
        print(f"{mode}: PNG {size / 1e6:.1f} MB")
    for name, folder, reading in (("rgb", nuclei, {}), ("gray", output / "gray", {"channels": 1})):
        folder = folder.resolve()
        config = tfds_coco.CocoConfig(
            name=name,
            splits={
                part: (str(folder / part / "images"), str(folder / f"annotations/{part}.json"))
                for part in ("train", "val")
            },
            **reading,
        )
        builder = tfds.builder("coco_instances", config=config, data_dir=output / "records")
        builder.download_and_prepare()
        files = [path for path in pathlib.Path(builder.data_path).iterdir() if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(f"{name}: TFDS records {size / 1e6:.1f} MB")


def report(output):
    """Prints a table of the runs that have a result."""
    metrics = ["segm/AP", "segm/AP50", "segm/AP/fluorescence_nucleus", "bbox/AP"]
    from_scratch.print_table(output, "images", RUNS, metrics)


def main(arguments=None):
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "one", "sizes", "report"])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--nuclei", type=pathlib.Path, help="folder of the images")
    parser.add_argument("--only", help="runs, separated by commas")
    parser.add_argument("--seeds", default="0,1", help="separated by commas")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--name", choices=RUNS, help="for `one`, which `run` calls")
    parser.add_argument("--seed", type=int, default=0, help="for `one`")
    arguments = parser.parse_args(arguments)
    if arguments.action == "report":
        return report(arguments.output)
    if arguments.nuclei is None:
        parser.error("--nuclei is needed")
    if arguments.action == "one":
        return one(arguments)
    make_gray(arguments.nuclei, arguments.output / "gray")
    if arguments.action == "sizes":
        return sizes(arguments.nuclei, arguments.output)
    names = arguments.only.split(",") if arguments.only else list(RUNS)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    further = [f"--steps={arguments.steps}", f"--nuclei={arguments.nuclei.resolve()}"]
    return bool(from_scratch.run_missing(__file__, arguments.output, names, seeds, further))


if __name__ == "__main__":
    sys.exit(main())
