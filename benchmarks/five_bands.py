r"""Trains on images of five bands of which only the fourth shows the class, and on RGB alone.

    python benchmarks/five_bands.py run --output=DIR [--seeds=0]
    python benchmarks/five_bands.py round_trip --output=DIR [--seed=0]
    python benchmarks/five_bands.py report --output=DIR

The images are those of `examples/shapes.py` with other classes: six materials. A material is drawn
at random for each shape. Neither its outline nor its color depends on it, but its level in band 4
does. Band 5 is noise. Images are 12-bit numbers in `.npy` files, (H, W, 5) uint16. The same first
three bands are stored as 8-bit PNG for the model that sees RGB alone.

That model cannot know the material. If it finds each shape perfectly and guesses, a class has one
right answer in six, so its AP is about 1/6 = 0.17 at best.

`round_trip` compares the trained model with itself after a `.keras` file, a SavedModel and ONNX
(extra onnx), and its scores with those on TFDS records of the same images.
"""

import argparse
import json
import pathlib
import shutil
import sys

import from_scratch
import numpy as np
from pycocotools import mask as coco_mask

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

MATERIALS = ("glass", "paper", "pet", "polystyrene", "steel", "wood")
LEVELS = np.linspace(500, 3600, len(MATERIALS))  # in band 4
WHITE = 4095  # 12 bits
NOISE = 60  # standard deviation in band 4
RUNS = ("five bands", "RGB")
SIZE, TRAIN, VAL, STEPS, BATCH = 128, 400, 80, 1500, 4
CONFIG = dict(  # as in examples/main_job.py, but with batch norm and half the width
    image_min_side=SIZE,
    image_max_side=SIZE,
    anchor_sizes=(16, 32, 64, 128, 256),
    canonical_roi_size=112,
    norm="batch",  # group norm takes the level of band 4 out, which tells the class
    backbone_width=32,
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
)


def draw_image(rng):
    """Draws one image.

    Args:
        rng: np.random.Generator.

    Returns:
        image: (SIZE, SIZE, 5) uint16 in 0..WHITE.
        annotations: as of `shapes.make_image`, with a material's id (1 to 6) as category.
    """
    from shapes import make_image

    rgb, annotations = make_image(SIZE, rng)
    row, column = np.mgrid[:SIZE, :SIZE] / SIZE
    first, down, right = rng.uniform((300, -600, -600), (3800, 600, 600))
    fourth = np.clip(first + down * row + right * column, 200, 3900)
    for annotation in annotations:
        material = int(rng.integers(len(MATERIALS)))
        annotation["category_id"] = material + 1
        fourth[visible(annotation)] = LEVELS[material]
    fourth += rng.normal(0, NOISE, fourth.shape)
    fifth = rng.uniform(0, WHITE, fourth.shape)
    bands = [*np.moveaxis(rgb * (WHITE / 255), -1, 0), fourth, fifth]
    image = np.clip(np.rint(np.stack(bands, axis=-1)), 0, WHITE).astype(np.uint16)
    return image, annotations


def visible(annotation):
    """Returns the mask of an annotation, (SIZE, SIZE) bool."""
    encoded = annotation["segmentation"]
    if isinstance(encoded, list):
        encoded = coco_mask.merge(coco_mask.frPyObjects(encoded, SIZE, SIZE))
    return coco_mask.decode(encoded).astype(bool)


def as_rgb(image):
    """Returns the first three bands, (H, W, 3) uint8."""
    return np.rint(image[:, :, :3] * (255 / WHITE)).astype(np.uint8)


def draw(folder, counts=(("train", TRAIN), ("val", VAL)), seed=0):
    """Writes the data set, in both forms, unless it is there.

    Args:
        folder: folder to make: PART/five_bands/*.npy, PART/rgb/*.png, PART/five_bands.json and
            PART/rgb.json for each part.
        counts: pairs of a part's name and its number of images.
        seed: int.
    """
    from PIL import Image

    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(MATERIALS)]
    for part, (name, count) in enumerate(counts):
        for kind in ("five_bands", "rgb"):
            (unfinished / name / kind).mkdir(parents=True)
        annotations = []
        for i in range(count):
            image, shapes = draw_image(np.random.default_rng([seed, part, i]))
            np.save(unfinished / name / "five_bands" / f"{i + 1:06d}.npy", image)
            Image.fromarray(as_rgb(image)).save(unfinished / name / "rgb" / f"{i + 1:06d}.png")
            for shape in shapes:
                annotations.append({"id": len(annotations) + 1, "image_id": i + 1, **shape})
        for kind, ending in (("five_bands", "npy"), ("rgb", "png")):
            images = [
                {"id": i, "file_name": f"{i:06d}.{ending}", "height": SIZE, "width": SIZE}
                for i in range(1, count + 1)
            ]
            content = {"images": images, "categories": categories, "annotations": annotations}
            (unfinished / name / f"{kind}.json").write_text(json.dumps(content))
    unfinished.rename(folder)


def open_part(folder, part, name):
    """Opens the training or the validation images for a run.

    Args:
        folder: that of `draw`.
        part: "train" or "val".
        name: str, of `RUNS`.
    """
    import keras_maskrcnn as mrcnn

    kind = name.lower().replace(" ", "_")
    reading = {}
    if name == "five bands":
        reading = {"channels": 5, "image_dtype": "uint16", "pixel_max": WHITE}
    return mrcnn.data.coco_json(folder / part / kind, folder / part / f"{kind}.json", **reading)


def one(arguments):
    """Trains, scores and saves one model."""
    import keras

    import keras_maskrcnn as mrcnn

    folder = arguments.output / "data"
    train, val = (open_part(folder, part, arguments.name) for part in ("train", "val"))
    bands = {}
    if arguments.name == "five bands":
        bands = {"in_channels": 5, "image_dtype": "uint16", "pixel_max": WHITE}
    keras.utils.set_random_seed(arguments.seed)
    model = mrcnn.MaskRCNN.from_preset(
        "mask_rcnn_resnet18_fpn_small",
        num_classes=train.num_classes,
        class_names=train.class_names,
        category_ids=train.category_ids,
        **CONFIG,
        **bands,
    )
    recipe = mrcnn.training.Recipe(
        arguments.steps,
        BATCH,
        warmup_fraction=0.05,
        milestones=(0.8,),
        **mrcnn.training.ADAMW,
    )
    result = {"name": arguments.name, "seed": arguments.seed}
    result |= from_scratch.train(model, train, recipe, arguments.seed)
    path = from_scratch.result_path(arguments.output, arguments.name, arguments.seed)
    model.save(path.with_suffix(".keras"))
    result |= mrcnn.evaluate(
        model, val, batch_size=BATCH, max_detections=50, per_class=True, verbose=0
    )
    path.write_text(json.dumps(result, indent=1))


def round_trip(arguments):
    """Compares the trained model of five bands with its file, exports and records."""
    import keras
    import tensorflow_datasets as tfds

    import keras_maskrcnn as mrcnn
    from keras_maskrcnn.data import tfds_coco
    from keras_maskrcnn.runtime import ExportedModel

    path = from_scratch.result_path(arguments.output, "five bands", arguments.seed)
    result = json.loads(path.read_text())
    model = keras.models.load_model(path.with_suffix(".keras"))
    folder = arguments.output / "data"
    val = open_part(folder, "val", "five bands")
    images = [val.load_image(i) for i in range(arguments.images)]
    expected = [mrcnn.predict_image(model, image) for image in images]
    there = arguments.output / "round_trip"
    shutil.rmtree(there, ignore_errors=True)
    model.save(there.with_suffix(".keras"))
    model.export(there / "served/1", verbose=False)
    model.export(there / "model.onnx", format="onnx", verbose=False)
    others = {
        ".keras": keras.models.load_model(there.with_suffix(".keras")),
        "SavedModel": ExportedModel(there / "served"),
        "ONNX": ExportedModel(there / "model.onnx"),
    }
    print("| | images | detections | largest difference of a box, pixels | of a score | mask IoU |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, other in others.items():
        found = [mrcnn.predict_image(other, image) for image in images]
        print(f"| {name} |", " | ".join(differences(expected, found)), "|", flush=True)

    config = tfds_coco.CocoConfig(
        name="five",
        splits={"val": (str(folder / "val/five_bands"), str(folder / "val/five_bands.json"))},
        **{"channels": 5, "image_dtype": "uint16", "pixel_max": WHITE},
    )
    builder = tfds.builder("coco_instances", config=config, data_dir=there / "records")
    builder.download_and_prepare()
    records = mrcnn.data.tfds_dataset(builder.data_path, "val")
    place = {image_id: i for i, image_id in enumerate(records.image_ids)}  # TFDS shuffles
    equal = all(
        np.array_equal(records.load_image(place[image_id]), val.load_image(i))
        for i, image_id in enumerate(val.image_ids)
    )
    metrics = mrcnn.evaluate(model, records, batch_size=BATCH, max_detections=50, verbose=0)
    print(
        f"TFDS records: pixels equal: {equal}; mask AP {metrics['segm/AP']:.4f}, "
        f"files: {result['segm/AP']:.4f}"
    )


def differences(expected, found):
    """Compares detections of the same images.

    Args:
        expected, found: lists of dicts as of `predict_image`, one for each image.

    Returns:
        list of str: the images, the detections of `expected`, the largest differences of boxes and
            scores, and the smallest IoU of two masks. Instead of the differences, the numbers of
            detections if these or labels differ.
    """
    count = sum(len(one["scores"]) for one in expected)
    cells = [str(len(expected)), str(count)]
    pairs = list(zip(expected, found, strict=True))
    if any(not np.array_equal(a["labels"], b["labels"]) for a, b in pairs):
        return [*cells, f"other labels: {sum(len(one['scores']) for one in found)}", "-", "-"]
    for name, digits in (("boxes", 4), ("scores", 6)):
        gaps = [np.abs(a[name] - b[name]).max(initial=0) for a, b in pairs]
        cells.append(f"{max(gaps):.{digits}f}")
    ious = [
        np.sum(one & other) / max(1, np.sum(one | other))
        for a, b in pairs
        for one, other in zip(np.asarray(a["masks"]), np.asarray(b["masks"]), strict=True)
    ]
    return [*cells, f"{min(ious, default=1):.4f}"]


def report(output):
    """Prints a table of the runs that have a result."""
    columns = ["segm/AP", "segm/AP50", "bbox/AP", "segm/AR50"]
    from_scratch.print_table(output, "bands", RUNS, columns)


def main(arguments=None):
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "one", "round_trip", "report"])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--only", help="runs, separated by commas")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--images", type=int, default=20, help="that `round_trip` compares")
    parser.add_argument("--name", choices=RUNS, help="for `one`, which `run` calls")
    parser.add_argument("--seed", type=int, default=0, help="for `one` and `round_trip`")
    arguments = parser.parse_args(arguments)
    if arguments.action != "run":
        actions = {"one": one, "round_trip": round_trip}
        return actions.get(arguments.action, lambda _: report(arguments.output))(arguments)
    draw(arguments.output / "data")
    names = arguments.only.split(",") if arguments.only else RUNS
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    further = [f"--steps={arguments.steps}"]
    return bool(from_scratch.run_missing(__file__, arguments.output, names, seeds, further))


if __name__ == "__main__":
    sys.exit(main())
