r"""Repeats the paper's comparisons (Tables 2b to 2e and 3, and §4.1) at a size for two CPU cores.

    python benchmarks/ablations.py run --output=DIR --seed=0 [--only="C4,FPN"] [--steps=900] \
        [--nuclei=FOLDER]
    python benchmarks/ablations.py report --output=DIR

`run` trains every configuration once per seed, from random weights, on images of colored shapes
(`examples/shapes.py`) or of nuclei (a folder like ../shared/data/nuclei). It scores each model with
pycocotools on unseen images and writes DIR/NAME-SEED.json. Existing files are kept, so a stopped
`run` can be started again.

`report` prints the tables of RESULTS.md: mean and spread over the seeds, next to the paper's
figures. It also draws DIR/ablations.png with matplotlib, which the package does not need. The rows
of a table differ only in what the table compares.

The networks are narrow, because res5 runs on every RoI of C4. With twice the channels and group
norm, C4 took twice the time for the same number of steps, and its scores were lower.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

SIZE, TRAIN, VAL, BATCH, STEPS = 128, 500, 100, 4, 900
SMALL = dict(
    image_min_side=SIZE,
    image_max_side=SIZE,
    norm="batch",
    frozen_stages=0,
    backbone_width=16,
    anchor_sizes=(16, 32, 64, 96, 128),
    canonical_roi_size=112,
    fpn_channels=64,
    roi_batch=32,
    train_pre_nms=300,
    train_proposals=200,
    test_pre_nms=300,
    test_proposals=50,
    box_head_units=256,
    mask_head_convs=2,
    mask_head_channels=64,
    detections_per_image=50,
)
# Real images: larger, with more and smaller objects.
NUCLEI = dict(
    image_min_side=256,
    image_max_side=448,
    anchor_sizes=(8, 16, 32, 64, 128),
    roi_batch=64,
    canonical_roi_size=56,
    train_pre_nms=600,
    test_pre_nms=600,
    test_proposals=300,
    detections_per_image=100,
)
FPN = dict(SMALL, backbone="resnet18")
C4 = dict(FPN, neck="c4", mask_pool_size=7, box_head_layers=0, mask_head_convs=0)
C5 = dict(FPN, neck="c5")
POOL = dict(roi_op="pool", roi_pooling="max")

# name: config. A row that is in two tables is trained once.
CONFIGS = {
    "C4": C4,
    "C4 softmax": dict(C4, mask_loss="softmax"),
    "C4 RoIPool max": dict(C4, **POOL),
    "C4 RoIWarp max": dict(C4, roi_op="warp", roi_pooling="max"),
    "C4 RoIWarp average": dict(C4, roi_op="warp"),
    "C4 RoIAlign max": dict(C4, roi_pooling="max"),
    "C4 class-agnostic": dict(C4, class_agnostic_masks=True),
    "C5": C5,
    "C5 RoIPool": dict(C5, **POOL),
    "C5 RoIWarp": dict(C5, roi_op="warp"),
    "FPN": FPN,
    "FPN softmax": dict(FPN, mask_loss="softmax"),
    "FPN class-agnostic": dict(FPN, class_agnostic_masks=True),
    "FPN RoIPool": dict(FPN, **POOL),
    "FPN RoIWarp": dict(FPN, roi_op="warp"),
    "FPN 4 convs": dict(FPN, mask_head_convs=4),
    "FPN MLP 2": dict(FPN, mask_predictor="mlp", mask_mlp_units=256),
    "FPN MLP 3": dict(FPN, mask_predictor="mlp", mask_mlp_units=256, mask_mlp_layers=3),
    "FPN boxes": dict(FPN, task="boxes"),
}
# title: (metrics, rows with the paper's figures). Those are for COCO, so only their order counts.
TABLES = {
    "2b: sigmoid and softmax (C4)": (
        ("segm/AP", "segm/AP50", "segm/AP75"),
        {"C4 softmax": (24.8, 44.1, 25.1), "C4": (30.3, 51.2, 31.5)},
    ),
    "2c: RoI operations at stride 16 (C4)": (
        ("segm/AP", "segm/AP50", "segm/AP75"),
        {
            "C4 RoIPool max": (26.9, 48.8, 26.4),
            "C4 RoIWarp max": (27.2, 49.2, 27.1),
            "C4 RoIWarp average": (27.1, 48.9, 27.1),
            "C4 RoIAlign max": (30.2, 51.0, 31.8),
            "C4": (30.3, 51.2, 31.5),
        },
    ),
    "2d: RoI operations at stride 32 (C5)": (
        ("segm/AP", "segm/AP50", "segm/AP75", "bbox/AP", "bbox/AP75"),
        {
            "C5 RoIPool": (23.6, 46.5, 21.6, 28.2, 26.9),
            "C5 RoIWarp": None,  # not in the paper's table
            "C5": (30.9, 51.8, 32.1, 34.0, 36.4),
        },
    ),
    "RoI operations on a pyramid (FPN; not in the paper)": (
        ("segm/AP", "segm/AP50", "segm/AP75"),
        {"FPN RoIPool": None, "FPN RoIWarp": None, "FPN": None},
    ),
    "Sigmoid and softmax on a pyramid (FPN; not in the paper)": (
        ("segm/AP", "segm/AP50", "segm/AP75"),
        {"FPN softmax": None, "FPN": None},
    ),
    "2e: mask branch (FPN)": (
        ("segm/AP", "segm/AP50", "segm/AP75"),
        {
            "FPN MLP 2": (31.5, 53.7, 32.8),
            "FPN MLP 3": (31.5, 54.0, 32.6),
            "FPN": None,
            "FPN 4 convs": (33.6, 55.2, 35.3),
        },
    ),
    "§4.1: class-agnostic masks (C4)": (
        ("segm/AP",),
        {"C4 class-agnostic": (29.7,), "C4": (30.3,)},
    ),
    "Class-agnostic masks on a pyramid (FPN; not in the paper)": (
        ("segm/AP", "segm/AP50", "segm/AP75"),
        {"FPN class-agnostic": None, "FPN": None},
    ),
    "3: does the mask help the box? (FPN; the paper's ResNet-101)": (
        ("bbox/AP",),
        {"FPN boxes": (37.3,), "FPN": (38.2,)},
    ),
}


def result_path(output, name, seed):
    """Returns the path of a run's scores."""
    return output / f"{name.replace(' ', '_')}-{seed}.json"


def data_sets(output, nuclei):
    """Opens the training and the validation images."""
    import keras_maskrcnn as mrcnn

    folder, images = nuclei, "images"
    if not nuclei:
        from shapes import make_shapes

        folder, images = output / "data", ""
        if not folder.exists():
            make_shapes(folder, train=TRAIN, val=VAL, size=SIZE)
    return [
        mrcnn.data.coco_json(folder / part / images, folder / f"annotations/{part}.json")
        for part in ("train", "val")
    ]


def run(output, seed, only, nuclei, steps):
    """Trains and scores the configurations that have no scores yet."""
    import keras

    import keras_maskrcnn as mrcnn

    train, val = data_sets(output, nuclei)
    batch_size = BATCH // 2 if nuclei else BATCH
    for name, config in CONFIGS.items():
        path = result_path(output, name, seed)
        if path.exists() or (only and name not in only):
            continue
        started = time.time()
        keras.utils.set_random_seed(seed)
        config = {**config, **(NUCLEI if nuclei else {})}
        model = mrcnn.MaskRCNN(mrcnn.MaskRCNNConfig(num_classes=train.num_classes, **config))
        recipe = mrcnn.training.Recipe(steps, batch_size, **mrcnn.training.ADAMW)
        model.compile(recipe.optimizer())
        batches = mrcnn.data.batches(
            train,
            batch_size,
            training=True,
            seed=seed,
            repeat=True,
            cache=True,
            **model.config.resizing(),
        )
        model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
        metrics = mrcnn.evaluate(
            model,
            val,
            batch_size=batch_size,
            max_detections=config["detections_per_image"],
            verbose=0,
        )
        metrics["seconds"] = time.time() - started
        path.write_text(json.dumps(metrics, indent=1))
        print(f"{path.name}: {metrics.get('segm/AP', metrics['bbox/AP']):.3f}", flush=True)


def scores(output, name, metric):
    """Returns a metric of all seeds, in percent."""
    paths = sorted(output.glob(result_path(output, name, "*").name))
    return np.array([100 * json.loads(path.read_text())[metric] for path in paths])


def report(output):
    """Prints and draws the tables that have at least two rows with scores."""
    there = {name for name in CONFIGS if len(scores(output, name, "bbox/AP"))}
    tables = {
        title: (metrics, {name: paper for name, paper in rows.items() if name in there})
        for title, (metrics, rows) in TABLES.items()
    }
    tables = {title: table for title, table in tables.items() if len(table[1]) > 1}
    for title, (metrics, rows) in tables.items():
        print(f"\n### {title}\n")
        print("| | seeds |", " | ".join(f"{m} | paper" for m in metrics), "|")
        print("| --- | --- |", " | ".join(["--- | ---"] * len(metrics)), "|")
        for name, paper in rows.items():
            values = [scores(output, name, metric) for metric in metrics]
            cells = [f"{v.mean():.1f} ± {v.std(ddof=1):.1f}" if len(v) > 1 else "-" for v in values]
            figures = ["-"] * len(metrics) if paper is None else paper
            pairs = [f"{cell} | {figure}" for cell, figure in zip(cells, figures, strict=True)]
            print(f"| {name} | {len(values[0])} |", " | ".join(pairs), "|")
    draw(output, tables)


def draw(output, tables):
    """Draws each table's last metric: a bar per row, a dot per seed."""
    from matplotlib import pyplot

    columns = -(-len(tables) // 2)
    figure, axes = pyplot.subplots(2, columns, figsize=(4.8 * columns, 8), squeeze=False)
    for axis, (title, (metrics, rows)) in zip(axes.flat, tables.items(), strict=False):
        for i, name in enumerate(rows):
            values = scores(output, name, metrics[-1])
            axis.bar(i, values.mean(), color="#0072b2", alpha=0.5)
            axis.plot([i] * len(values), values, "k.")
        axis.set_xticks(range(len(rows)), rows, rotation=20, ha="right")
        axis.set_title(f"{title}, {metrics[-1]}", fontsize=9)
    for axis in axes.flat[len(tables) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(output / "ablations.png", dpi=80)
    print(f"\nWrote {output / 'ablations.png'}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "report"])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", help="configurations to train, separated by commas")
    parser.add_argument("--nuclei", type=pathlib.Path, help="folder of real images to train on")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.action == "run":
        only = arguments.only.split(",") if arguments.only else None
        run(arguments.output, arguments.seed, only, arguments.nuclei, arguments.steps)
    else:
        report(arguments.output)
