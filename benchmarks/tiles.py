"""Measures `predict_large` on a drawing with known objects.

    python benchmarks/tiles_model.py --output=DIR
    python benchmarks/mosaic.py --output=DIR/mosaic.tif --side=12000 --objects=5000
    python benchmarks/tiles.py --model=DIR/shapes.keras --mosaic=DIR/mosaic.tif

First it finds out what the model finds when each object is well inside of a tile of
--reference_tile pixels: tiles overlap by a quarter or more, and each object is taken from the tile
in whose middle it is. Objects with a score of at least --score are the reference.
Then it runs `predict_large` and counts how many objects of the reference were found exactly once,
twice, in part, or not at all (instance_scores.py). Last it compares the time with that of the bare
tiles, `predict_on_batch` on the same tiles, in turn on a part of the drawing (--part). The CPU time
is the better measure beside other jobs.

Memory is that of this process without pages of files. Its base is the memory after one call of
`predict_on_batch` with as many tiles as `predict_large` predicts at once.
"""

import argparse
import json
import pathlib
import statistics

import keras
import numpy as np
import tifffile
from instance_scores import Index, Instances, compare, iou
from measuring import measured, settle
from mosaic import UNIT, coverage_of

from keras_maskrcnn import predict_large
from keras_maskrcnn.data.tile_grid import tile_windows
from keras_maskrcnn.instance_masks import InstanceMasks


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help=".keras file of tiles_model.py")
    parser.add_argument("--mosaic", type=pathlib.Path, required=True, help=".tif of mosaic.py")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument(
        "--batch_size", type=int, default=1, help="tiles that are predicted at once"
    )
    parser.add_argument("--reference_tile", type=int, default=1024)
    parser.add_argument("--detections", type=int, default=200, help="limit of detections per tile")
    parser.add_argument("--score", type=float, default=0.5)
    parser.add_argument("--part", type=int, default=4000, help="pixels per side; 0: no comparison")
    parser.add_argument("--rounds", type=int, default=3, help="comparisons of time")
    parser.add_argument("--options", default="{}", help="further arguments of predict_large, json")
    parser.add_argument("--found", help="file to write what was found to, .npz")
    parser.add_argument("--output", help="file to append the results to, a line of json")
    args = parser.parse_args()
    model = keras.models.load_model(args.model)
    truth = load_truth(args.mosaic.with_suffix(".json"))
    side = args.reference_tile
    cache = args.mosaic.with_suffix(f".reference{side}.npz")
    if not cache.exists():
        make_reference(
            sized(model, side, args.detections), args.mosaic, truth, side, args.score
        ).save(cache)
    reference = Instances.load(cache)
    reference = reference.above(args.score)
    print(f"{len(truth.labels)} objects; the model finds {len(reference.labels)} inside a tile")

    model = sized(model, args.tile, args.detections)
    options = {"tile": args.tile, "overlap": args.overlap, "score_threshold": args.score}
    options |= {"batch_size": args.batch_size} | json.loads(args.options)
    part = tifffile.imread(args.mosaic)[: args.part, : args.part].copy() if args.part else None
    model.predict_on_batch(tile_batch(args, np.zeros((args.tile, args.tile, 3), np.uint8)))
    base = settle()
    found, cost = measured(lambda: predict_large(model, args.mosaic, verbose=0, **options))
    found = Instances.of(found)
    fates, unknown, others = compare(reference, found)
    result = {"objects": len(fates), "found": len(found.labels), "unknown": len(unknown)}
    result |= {"other classes": sum(others), "in a tile": int(reference.others.sum())}
    for fate in ("once", "doubled", "cut", "other class", "missed"):
        result[fate] = fates.count(fate)
    megapixels = truth.side**2 / 1e6
    result["once_percent"] = 100 * result["once"] / len(fates)
    result["memory_above_base_mib"] = cost["peak"] - base
    result["wall_per_megapixel"] = cost["wall"] / megapixels
    result["cpu_per_megapixel"] = cost["cpu"] / megapixels
    result |= cost | {"base": base}
    print(json.dumps(result))
    if args.found:
        found.save(args.found)
    if args.part:
        result |= compare_times(model, part, args, options)
    if args.output:
        with open(args.output, "a") as file:
            print(json.dumps(vars(args) | result, default=str), file=file)


def sized(model, side, detections):
    """Returns the model for images of `side` pixels, which it then does not resize."""
    return model.with_config(
        image_min_side=side, image_max_side=side, detections_per_image=detections
    )


def load_truth(path):
    """Reads what mosaic.py wrote: `Instances` with scores of 1, and their image's `side`."""
    content = json.loads(path.read_text())
    crops = []
    for polygon in map(np.array, content["polygons"]):
        x, y = np.floor(polygon.min(axis=0)).astype(int) - 1
        width, height = np.ceil(polygon.max(axis=0)).astype(int) + 1 - (x, y)
        share = coverage_of(polygon - (x, y), int(max(width, height)))[:height, :width]
        crops.append((share >= 0.5, (int(y), int(x))))
    truth = Instances(np.array(content["labels"]), np.ones(len(crops)), crops)
    truth.side = content["side"]
    return truth


def make_reference(model, path, truth, side, least):
    """Returns what the model finds of each object inside a tile; score 0 where it finds nothing.

    Args:
        model: `MaskRCNN` for images of `side` pixels.
        path: the .tif file.
        truth: `Instances`.
        side: int. Tile in pixels. Tiles overlap by a quarter, and by two of the largest shapes.
        least: float. Instances of other classes count if they have this score.
    """
    image = tifffile.imread(path)
    starts = tile_windows(truth.side, truth.side, side, max(side // 4, UNIT))[:, :2]
    centers = np.array([(y + m.shape[0] / 2, x + m.shape[1] / 2) for m, (y, x) in truth.crops])
    nearest = [np.argmin(np.abs(starts + side / 2 - center).max(axis=1)) for center in centers]
    labels, others = np.zeros((2, len(centers)), int)
    scores = np.zeros(len(centers))
    crops = [(np.zeros((0, 0), bool), (0, 0))] * len(centers)
    for k, (top, left) in enumerate(starts.tolist()):
        objects = np.flatnonzero(np.array(nearest) == k)
        tile = np.ascontiguousarray(image[top : top + side, left : left + side])
        found = found_in(model, tile, top, left)
        index = Index(found.crops)
        for i in objects.tolist():
            near = index.near(truth.crops[i])
            on_it = [j for j in near if iou(found.crops[j], truth.crops[i]) > 0.5]
            if on_it:  # the first has the highest score
                j = on_it[0]
                labels[i], scores[i], crops[i] = found.labels[j], found.scores[j], found.crops[j]
                clear = [j for j in on_it if found.scores[j] >= least]
                others[i] = np.count_nonzero(found.labels[clear] != labels[i])
    return Instances(labels, scores, crops, others)


def found_in(model, tile, top=0, left=0):
    """Returns the `Instances` of one tile, (side, side, 3) uint8, in pixels of the image."""
    outputs = model.predict_on_batch(tile[None])
    count = int(outputs["num_detections"][0])
    scores, labels, boxes, masks = (
        np.asarray(outputs[name][0])[:count] for name in ("scores", "labels", "boxes", "masks")
    )
    pasted = InstanceMasks.paste(masks, boxes, tile.shape[:2], model.config.mask_paste)
    crops = [(mask, (y + top, x + left)) for mask, (y, x) in pasted.crops()]
    return Instances(labels, scores, crops)


def tile_batch(args, tile):
    """Returns a batch of equal tiles."""
    return np.repeat(tile[None], args.batch_size, axis=0)


def compare_times(model, image, args, options):
    """Times `predict_large` and the bare tiles in turn.

    Returns:
        dict of the medians of the ratios, and of seconds per megapixel of the image.
    """
    windows = tile_windows(*image.shape[:2], args.tile, args.overlap).tolist()

    def bare():
        for start in range(0, len(windows), args.batch_size):
            part = windows[start : start + args.batch_size]
            model.predict_on_batch(np.stack([image[y : y + h, x : x + w] for y, x, h, w in part]))

    def large():
        predict_large(model, image, verbose=0, **options).close()

    costs = {"bare": [], "large": []}
    bare()
    for _ in range(args.rounds):
        for name, call in (("large", large), ("bare", bare)):
            costs[name].append(measured(call)[1])
    result = {"tiles": len(windows)}
    for kind in ("wall", "cpu"):
        large_ones, bare_ones = ([c[kind] for c in costs[name]] for name in ("large", "bare"))
        ratios = [a / b for a, b in zip(large_ones, bare_ones, strict=True)]
        result[f"{kind}_ratio"] = statistics.median(ratios)
        result[f"{kind}_ratios"] = [round(ratio, 3) for ratio in ratios]
        megapixels = image.shape[0] * image.shape[1] / 1e6
        result[f"bare_{kind}_per_megapixel"] = statistics.median(bare_ones) / megapixels
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
