"""Measures the formats of `keras_maskrcnn.writers` on an image with many objects.

    python benchmarks/writers.py                       # 50,000 objects in 12,000 x 12,000 pixels
    python benchmarks/writers.py --tolerance=1 --formats=geojson,labelme
    python benchmarks/writers.py --open                # also opens the files with their libraries

Each format is written in a process of its own. Objects are 30 to 52 pixels wide; one in ten has a
hole, and one in twenty two parts. Peak memory is that of the whole process. With --open another
process reads the file with a library of its owner, if it is installed, and counts the objects.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

SIDE, CELL = 12_000, 53
NAMES = ("cell", "nucleus", "debris")


class Drawn:
    """Masks of objects on a grid, drawn when they are asked for, as `predict_large` reads them."""

    def __init__(self, count):
        self.size, self._count = (SIDE, SIDE), count
        self._shapes = [drawn_shape(i) for i in range(60)]

    def __len__(self):
        return self._count

    def crop(self, index):
        row, column = divmod(index, SIDE // CELL)
        return self._shapes[index % len(self._shapes)], (row * CELL, column * CELL)

    def rle(self, index):
        from keras_maskrcnn.ops import rle

        region, origin = self.crop(index)
        return rle.encode_region(region, origin, *self.size)


def drawn_shape(number, side=None):
    """Returns a round mask with bays; one in ten has a hole, and one in twenty two parts."""
    draw = np.random.default_rng(number)
    drawn = int(draw.integers(30, CELL))
    side = side or drawn
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle, turn = np.arctan2(y, x), draw.uniform(0, 6, 2)
    limit = 0.8 + 0.12 * np.sin(3 * angle + turn[0]) + 0.08 * np.sin(7 * angle + turn[1])
    region = np.hypot(y, x) <= side / 2 * limit
    middle = side // 2
    if number % 10 == 3:
        region[middle - 4 : middle + 4, middle - 4 : middle + 4] = False
    if number % 20 == 7:
        region[middle - 1 : middle + 1] = False
    return region


def found_objects(count):
    masks = Drawn(count)
    boxes = []
    for i in range(count):
        region, (y, x) = masks.crop(i)
        boxes.append([x, y, x + region.shape[1], y + region.shape[0]])
    return {
        "boxes": np.array(boxes, np.float32),
        "scores": np.linspace(0.99, 0.3, count, dtype=np.float32),
        "labels": np.arange(count, dtype=np.int32) % len(NAMES) + 1,
        "masks": masks,
    }


def write(name, folder, count, tolerance):
    """Prints seconds, CPU seconds, peak MiB and written MB of one format."""
    from keras_maskrcnn.writers import ImageRecord, open_writer

    found = found_objects(count)
    record = ImageRecord("mosaic.tif", SIDE, SIDE, microns_per_pixel=0.5)
    start, cpu = time.perf_counter(), time.process_time()
    with open_writer(name, folder, class_names=NAMES, tolerance=tolerance) as writer:
        writer.add(record, found)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())
    print(json.dumps([wall, cpu, peak, size / 1e6]))


def _coco(folder):
    from pycocotools.coco import COCO

    return len(COCO(f"{folder}/coco.json").anns)


def _rle(folder):
    from pycocotools import mask

    with open(f"{folder}/predictions.json", encoding="utf-8") as file:
        results = json.load(file)
    return sum(int(mask.area(r["segmentation"]) > 0) for r in results)


def _geojson(folder):
    import geopandas

    table = geopandas.read_file(f"{folder}/geojson/mosaic.geojson")
    return int(table.geometry.is_valid.sum())


def _save_image(folder):
    from PIL import Image

    os.makedirs(folder, exist_ok=True)
    Image.new("1", (SIDE, SIDE)).save(f"{folder}/mosaic.tif", compression="group4")


def _labelme(folder):
    """labelme's own reader, which wants the image; the parts of an object are a group."""
    from labelme._label_file import LabelFile

    _save_image(f"{folder}/labelme")
    shapes = LabelFile(f"{folder}/labelme/mosaic.json").shapes
    groups = [shape["group_id"] for shape in shapes]
    return groups.count(None) + len({*groups} - {None})


def _via(folder):
    with open(f"{folder}/via.json", encoding="utf-8") as file:
        return sum(len(entry["regions"]) for entry in json.load(file).values())


def _cvat(folder):
    import datumaro

    _save_image(f"{folder}/images")
    dataset = datumaro.Dataset.import_from(f"{folder}/cvat.xml", "cvat")
    return sum(len(item.annotations) for item in dataset)


def _label_studio(folder):
    from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config

    config = pathlib.Path(f"{folder}/label_studio_config.xml").read_text(encoding="utf-8")
    controls = parse_config(config)
    with open(f"{folder}/label_studio.json", encoding="utf-8") as file:
        [task] = json.load(file)
    regions = task["predictions"][0]["result"]
    return sum(controls[r["from_name"]]["type"].lower() == r["type"] for r in regions)


def _yolo(folder):
    """The rule of Ultralytics' `verify_image_label`."""
    with open(f"{folder}/yolo_seg/labels/mosaic.txt", encoding="utf-8") as file:
        rows = [line.split() for line in file.read().strip().splitlines()]
    segments = [np.array(row[1:], np.float32).reshape(-1, 2) for row in rows]
    boxes = np.array([[*s.min(0), *s.max(0)] for s in segments])
    assert boxes.min() >= 0 and boxes.max() <= 1
    return len(np.unique(boxes, axis=0))


def _csv(folder):
    import pandas

    table = pandas.read_csv(f"{folder}/measurements.csv")
    return int(table["perimeter_um"].gt(0).sum())


def _labels(folder):
    import tifffile

    return len(np.unique(tifffile.imread(f"{folder}/png_labels/mosaic.tif"))) - 1


OPENED_BY = {
    "coco_json": ("pycocotools", _coco),
    "geojson": ("geopandas", _geojson),
    "labelme": ("labelme", _labelme),
    "via": ("json", _via),
    "cvat": ("datumaro", _cvat),
    "label_studio": ("label-studio-sdk", _label_studio),
    "yolo_seg": ("Ultralytics' rule", _yolo),
    "csv": ("pandas", _csv),
    "png_labels": ("tifffile", _labels),
    "rle": ("pycocotools", _rle),
}


def open_file(name, folder):
    """Prints seconds and the number of objects that the library finds."""
    start = time.perf_counter()
    try:
        count = OPENED_BY[name][1](folder)
    except ImportError as error:
        count = f"no {error.name}"
    print(json.dumps([time.perf_counter() - start, count]))


def child(*arguments):
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def main(formats, count, tolerance, opened):
    """Prints a table."""
    print("| Format | s | CPU s | Peak MiB | MB | Read by | s | Objects |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in formats:
        with tempfile.TemporaryDirectory(prefix="writers") as folder:
            options = f"--objects={count}", f"--tolerance={tolerance}"
            row = child("--child=write", f"--formats={name}", f"--folder={folder}", *options)
            cells = [f"{value:.1f}" if i < 2 else f"{value:.0f}" for i, value in enumerate(row)]
            seconds, objects = 0, ""
            if opened:
                os.environ["QT_QPA_PLATFORM"] = "offscreen"
                seconds, objects = child("--child=open", f"--formats={name}", f"--folder={folder}")
            cells += [OPENED_BY[name][0], f"{seconds:.1f}", str(objects)]
            print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formats", default=",".join(OPENED_BY))
    parser.add_argument("--objects", type=int, default=50_000)
    parser.add_argument("--tolerance", type=float, default=0.0)
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--child", choices=["write", "open"])
    parser.add_argument("--folder")
    options = parser.parse_args()
    if options.child == "write":
        write(options.formats, options.folder, options.objects, options.tolerance)
    elif options.child == "open":
        open_file(options.formats, options.folder)
    else:
        chosen = options.formats.split(",")
        main(chosen, options.objects, options.tolerance, options.open)
