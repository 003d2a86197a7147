r"""Compares backbones, all from random weights, at equal steps, with the same neck and heads.

    python benchmarks/compare_backbones.py run --output=DIR [--nuclei=FOLDER] [--only=NAME,NAME]
    python benchmarks/compare_backbones.py report --output=DIR [--nuclei=FOLDER]

Each row is the preset mask_rcnn_resnet18_fpn_small with another backbone. It is trained on colored
shapes (`examples/shapes.py`), or on nuclei (a folder like ../shared/data/nuclei), and scored with
pycocotools on images that it has not seen. Each training is a process of its own, and writes
DIR/shapes/NAME-SEED.json or DIR/nuclei/NAME-SEED.json. Trainings with a result are not repeated.

ImageNet weights are not used: the comparison is of networks, not of their pretraining.
"""

import argparse
import json
import pathlib
import sys

import from_scratch

BACKBONES = ("resnet18", "mobilenetv3_large", "efficientnetv2_b0", "convnext_tiny")
OPTIMIZERS = ("adamw", "sgd")
# A name is a backbone and an optimizer.
RUNS = [f"{backbone} {optimizer}" for optimizer in OPTIMIZERS for backbone in BACKBONES]
SHAPES = dict(image_min_side=128, image_max_side=128, detections_per_image=50)
NUCLEI = dict(image_min_side=192, image_max_side=320, detections_per_image=300)
STEPS, BATCH = 350, {"shapes": 4, "nuclei": 2}
TRAIN, VAL = 400, 60  # images of shapes
# The same for all: heads of half the preset's width, those of examples/main_job.py. Those of the
# preset would take three quarters of a step's time, whichever the backbone is.
SMALL = dict(
    norm="batch",
    frozen_stages=0,
    fpn_channels=64,
    roi_batch=32,
    train_pre_nms=300,
    train_proposals=300,
    test_pre_nms=500,
    test_proposals=300,
    box_head_units=256,
    mask_head_convs=2,
    mask_head_channels=64,
)


def config_of(name, nuclei, dataset):
    """Returns the config of a run.

    Args:
        name: str, of `RUNS`.
        nuclei: whether images are nuclei.
        dataset: the data set, for its classes.
    """
    import keras_maskrcnn as mrcnn

    return mrcnn.preset_config(
        "mask_rcnn_resnet18_fpn_small",
        backbone=name.split()[0],
        num_classes=dataset.num_classes,
        class_names=dataset.class_names,
        category_ids=dataset.category_ids,
        **SMALL,
        **(NUCLEI if nuclei else SHAPES),
    )


def recipe_of(name, steps, batch_size):
    """Returns the recipe of a run: `training.ADAMW`, or the preset's SGD."""
    import keras_maskrcnn as mrcnn

    fields = {
        "adamw": mrcnn.training.ADAMW,
        "sgd": mrcnn.training.PRESET_RECIPES["mask_rcnn_resnet18_fpn_small"],
    }
    return mrcnn.training.Recipe(steps, batch_size, **fields[name.split()[1]])


def data_sets(output, nuclei):
    """Opens the training and the validation images; draws the shapes if there are none yet."""
    import keras_maskrcnn as mrcnn

    folder, images = nuclei, "images"
    if not nuclei:
        sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
        from shapes import make_shapes

        folder, images = output.parent / "shapes_data", ""
        if not folder.exists():
            make_shapes(folder, train=TRAIN, val=VAL, size=SHAPES["image_min_side"])
    return [
        mrcnn.data.coco_json(folder / part / images, folder / f"annotations/{part}.json")
        for part in ("train", "val")
    ]


def one(arguments):
    """Trains and scores one model."""
    import keras

    import keras_maskrcnn as mrcnn

    train, val = data_sets(arguments.output, arguments.nuclei)
    batch_size = BATCH["nuclei" if arguments.nuclei else "shapes"]
    keras.utils.set_random_seed(arguments.seed)
    model = mrcnn.MaskRCNN(config_of(arguments.name, arguments.nuclei, train))
    recipe = recipe_of(arguments.name, arguments.steps, batch_size)
    result = {"name": arguments.name, "seed": arguments.seed}
    result |= from_scratch.train(model, train, recipe, arguments.seed)
    result |= mrcnn.evaluate(
        model,
        val,
        batch_size=batch_size,
        max_detections=model.config.detections_per_image,
        per_class=True,
        verbose=0,
    )
    path = from_scratch.result_path(arguments.output, arguments.name, arguments.seed)
    path.write_text(json.dumps(result, indent=1))


def report(output):
    """Prints a table of all runs that have a result."""
    columns = ["segm/AP", "segm/AP50", "bbox/AP", "CPU s per step", "s per step", "peak, MiB"]
    columns += ["parameters, M", "of the backbone, M"]
    print("| backbone | optimizer | seeds |", " | ".join(columns), "|")
    print("| --- |", " | ".join(["---"] * (len(columns) + 2)), "|")
    for name in RUNS:
        found = from_scratch.read(output, name)
        if not found:
            continue
        cells = [
            from_scratch.mean_and_spread([result[key] for result in found], digits)
            for key, digits in (
                *((metric, 3) for metric in columns[:3]),
                *(("cpu_per_step", 2), ("wall_per_step", 2), ("peak_mib", 0)),
            )
        ]
        cells += [f"{found[0][key] / 1e6:.1f}" for key in ("parameters", "parameters_of_backbone")]
        backbone, optimizer = name.split()
        print(f"| {backbone} | {optimizer} | {len(found)} |", " | ".join(cells), "|")


def main(arguments=None):
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "one", "report"])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--nuclei", type=pathlib.Path, help="folder of real images to train on")
    parser.add_argument("--only", help="runs or backbones to train, separated by commas")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--name", choices=RUNS, help="for `one`, which `run` calls")
    parser.add_argument("--seed", type=int, default=0, help="for `one`")
    arguments = parser.parse_args(arguments)
    if arguments.action == "one":
        return one(arguments)
    output = arguments.output / ("nuclei" if arguments.nuclei else "shapes")
    if arguments.action == "report":
        return report(output)
    only = arguments.only.split(",") if arguments.only else RUNS
    names = [name for name in RUNS if name in only or name.split()[0] in only]
    if not arguments.nuclei:
        data_sets(output, None)
    further = [f"--steps={arguments.steps}"]
    if arguments.nuclei:
        further.append(f"--nuclei={arguments.nuclei.resolve()}")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    return bool(from_scratch.run_missing(__file__, output, names, seeds, further))


if __name__ == "__main__":
    sys.exit(main())
