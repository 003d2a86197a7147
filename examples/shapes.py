"""Makes a small data set in COCO format: colored shapes that overlap on a noisy background.

    python examples/shapes.py --output=shapes --train=400 --val=60 --size=128 --seed=0

It writes

    shapes/train/000001.png ...     shapes/annotations/train.json
    shapes/val/000001.png ...       shapes/annotations/val.json

A color does not depend on the class, so the outline alone shows the class. Later shapes cover
earlier ones; a mask is the visible part, at least 60 % of the shape. Shapes in full view are
annotated as polygons and covered ones as run lengths, and the category ids have gaps. COCO has all
of these, so a reader of this set can also read COCO. The same seed gives the same files; with more
images, the first ones stay the same.
"""

import argparse
import colorsys
import json
import math
import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

CATEGORIES = {"circle": 3, "rectangle": 7, "triangle": 8}
_SUPERSAMPLING = 4
_MIN_VISIBLE = 0.6
_MIN_COLOR_DISTANCE = 90  # between shapes and from the background, in RGB


def make_shapes(output, *, train=400, val=60, size=128, seed=0):
    """Writes the data set.

    Args:
        output: folder to make.
        train, val: int. Number of images in each part.
        size: int. Side of the square images in pixels. A shape's size is 0.2 to 0.5 of it (26 to
            64 of 128 pixels).
        seed: int.

    Raises:
        FileExistsError: if `output` exists and is not an empty folder.
    """
    output = pathlib.Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"The output folder must be new or empty. Received: output={output}.")
    (output / "annotations").mkdir(parents=True, exist_ok=True)
    for part, (name, count) in enumerate({"train": train, "val": val}.items()):
        (output / name).mkdir()
        images, annotations = [], []
        for i in range(count):
            image_id, file_name = part * train + i + 1, f"{i + 1:06d}.png"
            image, shapes = make_image(size, np.random.default_rng([seed, part, i]))
            Image.fromarray(image).save(output / name / file_name)
            images.append({"id": image_id, "file_name": file_name, "height": size, "width": size})
            for shape in shapes:
                shape = {"id": len(annotations) + 1, "image_id": image_id, **shape}
                annotations.append(shape)
        content = {
            "info": {"description": f"Shapes, {name}", "seed": seed},
            "images": images,
            "categories": [{"id": id_, "name": name} for name, id_ in CATEGORIES.items()],
            "annotations": annotations,
        }
        (output / "annotations" / f"{name}.json").write_text(json.dumps(content))


def make_image(size, rng):
    """Draws one image of 2 to 5 shapes.

    Args:
        size: int. Side of the image.
        rng: np.random.Generator.

    Returns:
        image: (size, size, 3) uint8.
        annotations: list of COCO annotations, without "id" and "image_id".
    """
    image, colors = _background(size, rng)
    shapes = []  # (class name, polygon, mask), the uppermost last
    visible = []  # the part of each mask that later shapes do not cover
    wanted = rng.integers(2, 6)
    for _ in range(200):  # attempts; crowded images end up with fewer shapes
        name, polygon = random_polygon(size, rng)
        coverage = coverage_of(polygon, size)
        mask = coverage >= 0.5
        remaining = [old & ~mask for old in visible]
        if any(
            rest.sum() < _MIN_VISIBLE * shape[2].sum()
            for rest, shape in zip(remaining, shapes, strict=True)
        ):
            continue
        color = contrasting_color(colors, rng)
        image += coverage[:, :, None] * (color - image)
        shapes.append((name, polygon, mask))
        visible = [*remaining, mask]
        colors.append(color)
        if len(shapes) == wanted:
            break
    image += rng.normal(0, 5, image.shape)
    annotations = [
        _annotation(name, polygon, mask, rest)
        for (name, polygon, mask), rest in zip(shapes, visible, strict=True)
    ]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), annotations


def _background(size, rng):
    """Returns a gradient with soft blotches, (size, size, 3) float, and its two colors."""
    ends = [np.array(colorsys.hsv_to_rgb(*rng.uniform((0, 0, 0.2), (1, 0.5, 0.9)))) * 255]
    ends.append(np.clip(ends[0] + rng.uniform(-60, 60, 3), 0, 255))
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:size, :size] / size - 0.5
    ramp = np.clip(0.5 + math.cos(angle) * x + math.sin(angle) * y, 0, 1)[:, :, None]
    blotches = rng.normal(0, 14, (7, 7, 3)).clip(-30, 30)
    blotches = [Image.fromarray(blotches[:, :, c].astype(np.float32)) for c in range(3)]
    blotches = [blotch.resize((size, size), Image.Resampling.BICUBIC) for blotch in blotches]
    return ends[0] * (1 - ramp) + ends[1] * ramp + np.stack(blotches, axis=-1), ends


def contrasting_color(others, rng):
    """Returns a random color, (3,) in 0..255, that differs from each of `others`."""
    distance = _MIN_COLOR_DISTANCE
    while True:
        color = np.array(colorsys.hsv_to_rgb(*rng.uniform((0, 0.3, 0.3), (1, 1, 1)))) * 255
        if all(np.linalg.norm(color - other) >= distance for other in others):
            return color
        distance *= 0.98  # accept closer colors when the color space is full


def random_polygon(size, rng):
    """Returns a class name and the corners (n, 2) of a shape of it, wholly inside the image."""
    name = str(rng.choice(list(CATEGORIES)))
    angle = rng.uniform(0, 2 * math.pi)
    if name == "circle":
        turn = np.arange(48) / 48
    elif name == "triangle":
        turn = np.arange(3) / 3 + rng.uniform(-0.05, 0.05, 3)
    else:
        corner = rng.uniform(0.07, 0.125)  # 1/8 is a square
        turn = np.array([-corner, corner, 0.5 - corner, 0.5 + corner])
    directions = angle + 2 * math.pi * turn
    polygon = np.stack([np.cos(directions), np.sin(directions)], axis=1)
    polygon -= polygon.min(axis=0)
    polygon *= size * rng.uniform(0.2, 0.5) / polygon.max()
    polygon += rng.uniform(1, size - 1 - polygon.max(axis=0))
    return name, polygon


def coverage_of(polygon, size):
    """Returns the share of each pixel, (size, size) float in 0..1, that a polygon covers."""
    canvas = Image.new("L", (size * _SUPERSAMPLING,) * 2)
    # Pillow counts from pixel centers.
    corners = [tuple(corner) for corner in (polygon * _SUPERSAMPLING - 0.5).tolist()]
    ImageDraw.Draw(canvas).polygon(corners, fill=255)
    return np.asarray(canvas.reduce(_SUPERSAMPLING), np.float64) / 255


def _annotation(name, polygon, mask, visible):
    """Makes a COCO annotation: a polygon for a shape in full view, else compressed run lengths."""
    size = mask.shape[0]
    if np.array_equal(visible, mask):
        polygon = polygon.round(2)
        segmentation = [polygon.ravel().tolist()]
        encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, size, size))
        low, high = polygon.min(axis=0), polygon.max(axis=0)
        box = [*low.tolist(), *(high - low).round(2).tolist()]
    else:
        encoded = coco_mask.encode(np.asfortranarray(visible, np.uint8))
        segmentation = {"size": [size, size], "counts": encoded["counts"].decode("ascii")}
        box = coco_mask.toBbox(encoded).tolist()
    return {
        "category_id": CATEGORIES[name],
        "segmentation": segmentation,
        "bbox": box,
        "area": float(coco_mask.area(encoded)),
        "iscrowd": 0,
    }


def main():
    """Reads the command line; exits with status 1 if the output folder is not empty."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="folder to make")
    parser.add_argument("--train", type=int, default=400, help="number of training images")
    parser.add_argument("--val", type=int, default=60, help="number of validation images")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--seed", type=int, default=0, help="seed of all images")
    try:
        make_shapes(**vars(parser.parse_args()))
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
