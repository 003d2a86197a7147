"""Draws large images of known objects: the shapes of examples/shapes.py, at the same scale.

    python benchmarks/mosaic.py --output=mosaic.tif --side=12000 --objects=5000
    python benchmarks/mosaic.py --output=corners.tif --side=4000 --corners=416 --first=464

writes mosaic.tif, a tiled TIFF, and mosaic.json, the truth. It draws one tile of the file after the
other, so memory does not grow with the image. No two shapes overlap. With --corners=STEP the shapes
lie at the crossings of a grid with lines at FIRST, FIRST + STEP, and so on. If these are the
seams of tiles, each shape lies in four tiles.
"""

import argparse
import colorsys
import json
import math
import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "examples"))
from shapes import CATEGORIES, contrasting_color, coverage_of, random_polygon

UNIT = 128  # size of the images of examples/shapes.py; a shape's size is 0.2 to 0.5 of it
NAMES = tuple(CATEGORIES)  # label 1 first
_GAP = 3  # pixels between a shape and the border of its cell
_LATTICE = UNIT / 7  # pixels between two random values of the background, as in shapes.py
_FIELD = 4 * UNIT  # pixels over which the background changes its color


class Mosaic:
    """A large image that is drawn block by block.

    Args:
        side: int. Height and width in pixels.
        count: int. Number of shapes, each at a random place in its own cell of a square grid.
        seed: int.
        corners: None, or (first, step) in pixels: the shapes are at the crossings of a grid
            instead, and `count` is ignored.
        block: int. Side of a block in pixels.

    Attributes:
        polygons: list of (k, 2) float corners in pixels of the image.
        labels: list of int, from 1.
    """

    def __init__(self, side, count, seed=0, corners=None, block=400):
        self.side, self.block, self.seed = side, block, seed
        rng = np.random.default_rng([seed, 0])
        size = math.ceil(side / _FIELD) + 4
        hsv = rng.uniform((0, 0, 0.2), (1, 0.5, 0.9), (size, size, 3)).reshape(-1, 3)
        colors = np.array([colorsys.hsv_to_rgb(*color) for color in hsv]) * 255
        self._field = colors.reshape(size, size, 3).astype(np.float32)
        size = math.ceil(side / _LATTICE) + 4
        blotches = rng.normal(0, 14, (size, size, 3)).clip(-30, 30)
        self._blotches = blotches.astype(np.float32)
        self.polygons, self.labels, self._colors, self._origins = [], [], [], []
        self._shares = []  # the covered share of each pixel around a shape
        self._of_block = {}
        places = _cells(side, count, rng) if corners is None else _crossings(side, *corners)
        for top, left, free in places:
            name, polygon = random_polygon(UNIT, rng)
            polygon -= polygon.min(axis=0)
            slack = np.maximum(0, free - polygon.max(axis=0))
            at = rng.uniform(0, 1, 2) if corners is None else 0.5 + rng.uniform(-0.1, 0.1, 2)
            self._add(name, polygon + (left, top) + slack * at, rng)

    def _add(self, name, polygon, rng):
        origin = np.floor(polygon.min(axis=0)).astype(int) - 1  # x, y
        extent = np.ceil(polygon.max(axis=0)).astype(int) + 1 - origin
        share = coverage_of(polygon - origin, int(extent.max()))[: extent[1], : extent[0]]
        here = [self._at(self._field, _FIELD, *(origin[::-1]), *(extent[::-1]))]
        color = contrasting_color([here[0][0, 0], here[0][-1, -1]], rng)
        for row in range(origin[1] // self.block, (origin[1] + extent[1]) // self.block + 1):
            for column in range(origin[0] // self.block, (origin[0] + extent[0]) // self.block + 1):
                self._of_block.setdefault((row, column), []).append(len(self.labels))
        self.polygons.append(polygon)
        self.labels.append(NAMES.index(name) + 1)
        self._colors.append(color)
        self._origins.append((int(origin[1]), int(origin[0])))
        self._shares.append(share.astype(np.float32))

    def crop(self, i):
        """Returns the mask of shape i, (h, w) bool, and its upper left pixel (y, x)."""
        return self._shares[i] >= 0.5, self._origins[i]

    def draw(self, row, column):
        """Draws a block, (block, block, 3) uint8; it can reach beyond the image."""
        side = self.block
        top, left = row * side, column * side
        image = self._at(self._field, _FIELD, top, left, side, side)
        image = image + self._at(self._blotches, _LATTICE, top, left, side, side)
        for i in self._of_block.get((row, column), ()):
            share, (y, x) = self._shares[i], self._origins[i]
            bottom, right = y + share.shape[0], x + share.shape[1]
            y1, y2 = max(top, y), min(top + side, bottom)
            x1, x2 = max(left, x), min(left + side, right)
            if y1 < y2 and x1 < x2:
                part = share[y1 - y : y2 - y, x1 - x : x2 - x, None]
                window = image[y1 - top : y2 - top, x1 - left : x2 - left]
                window += part * (self._colors[i].astype(np.float32) - window)
        rng = np.random.default_rng([self.seed, 1, row, column])
        image += rng.normal(0, 5, image.shape)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _at(self, lattice, spacing, top, left, height, width):
        """Interpolates a lattice of values in a window, (height, width, C) float32."""
        # Two more values on each side: what the interpolation reads must not end with the window.
        y0, x0 = max(0, math.floor(top / spacing)), max(0, math.floor(left / spacing))
        y1 = min(lattice.shape[0], math.ceil((top + height) / spacing) + 5)
        x1 = min(lattice.shape[1], math.ceil((left + width) / spacing) + 5)
        part = lattice[y0:y1, x0:x1]
        box = [left / spacing + 2 - x0, top / spacing + 2 - y0]
        box = (*box, box[0] + width / spacing, box[1] + height / spacing)
        box = tuple(np.clip(box, 0, [part.shape[1], part.shape[0]] * 2))
        channels = [
            Image.fromarray(np.ascontiguousarray(part[..., c])).resize(
                (width, height), Image.Resampling.BICUBIC, box=box
            )
            for c in range(part.shape[2])
        ]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _cells(side, count, rng):
    """Returns `count` cells of a grid: (top, left, free side)."""
    per_side = math.ceil(math.sqrt(count))
    cell = side / per_side
    if cell < UNIT / 2 + 2 * _GAP:
        raise SystemExit(f"{count} shapes do not fit into {side} pixels.")
    chosen = np.sort(rng.permutation(per_side**2)[:count])
    places = [(i // per_side * cell + _GAP, i % per_side * cell + _GAP) for i in chosen]
    return [(top, left, cell - 2 * _GAP) for top, left in places]


def _crossings(side, first, step):
    """Returns squares around the crossings of a grid: (top, left, free side)."""
    lines = [x for x in range(first, side, step) if UNIT / 2 < x < side - UNIT / 2]
    free = UNIT * 0.6
    return [(y - free / 2, x - free / 2, free) for y in lines for x in lines]


def write(mosaic, path):
    """Writes the image as a tiled TIFF, and the truth beside it as json."""
    import tifffile

    blocks = range(math.ceil(mosaic.side / mosaic.block))
    tifffile.imwrite(
        path,
        (mosaic.draw(row, column) for row in blocks for column in blocks),
        shape=(mosaic.side, mosaic.side, 3),
        dtype=np.uint8,
        tile=(mosaic.block, mosaic.block),
        photometric="rgb",
    )
    truth = {
        "side": mosaic.side,
        "labels": mosaic.labels,
        "polygons": [polygon.round(3).tolist() for polygon in mosaic.polygons],
    }
    pathlib.Path(path).with_suffix(".json").write_text(json.dumps(truth))


def write_coco(mosaic, folder):
    """Writes each block as an image of a COCO set: folder/images/*.png and folder/coco.json."""
    from pycocotools import mask as coco_mask

    folder = pathlib.Path(folder)
    (folder / "images").mkdir(parents=True)
    side = mosaic.block
    images, annotations = [], []
    blocks = range(mosaic.side // side)
    for row, column in ((row, column) for row in blocks for column in blocks):
        image = {"id": len(images) + 1, "height": side, "width": side}
        image["file_name"] = f"{image['id']:06d}.png"
        Image.fromarray(mosaic.draw(row, column)).save(folder / "images" / image["file_name"])
        images.append(image)
        for i in mosaic._of_block.get((row, column), ()):
            mask, (y, x) = mosaic.crop(i)
            canvas = np.zeros((side + 2 * UNIT,) * 2, np.uint8)  # room on all sides
            y, x = y - row * side + UNIT, x - column * side + UNIT
            canvas[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
            inside = canvas[UNIT : UNIT + side, UNIT : UNIT + side]
            if inside.sum() < 0.15 * mask.sum():
                continue  # nobody can tell the class of such a piece
            encoded = coco_mask.encode(np.asfortranarray(inside))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": mosaic.labels[i],
                    "segmentation": {"size": [side, side], "counts": encoded["counts"].decode()},
                    "bbox": coco_mask.toBbox(encoded).tolist(),
                    "area": float(coco_mask.area(encoded)),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content))


def main():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help=".tif file; beside it .json, the truth")
    parser.add_argument("--side", type=int, default=12000, help="height and width in pixels")
    parser.add_argument("--objects", type=int, default=5000, help="number of shapes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corners", type=int, help="pixels between the seams of tiles")
    parser.add_argument("--first", type=int, default=0, help="position of the first seam in pixels")
    args = parser.parse_args()
    corners = None if args.corners is None else (args.first, args.corners)
    mosaic = Mosaic(args.side, args.objects, args.seed, corners)
    write(mosaic, args.output)
    print(f"{args.output}: {len(mosaic.labels)} shapes in {args.side} x {args.side} pixels")


if __name__ == "__main__":
    main()
