"""Compares mask AP of `predict_large` on 4 x 4 tiles with that of whole images, on nuclei.

    python benchmarks/tiles_nuclei.py --model=nuclei/model.keras --images=N/val/images \\
        --annotations=N/annotations/val.json --overlaps=32,48,64

First it resizes images and annotated masks as the model would, so objects have the same size in
whole images and in tiles. A tile is as large as four tiles per side with the overlap need, and the
model gets it unchanged. pycocotools scores masks with up to --detections per image. As a measure of
what no tiling can keep, it also scores whole images that are moved by 8 pixels (--shift): the cells
of the feature maps then lie elsewhere on the objects.
"""

import argparse
import contextlib
import io
import json
import pathlib

import keras
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import keras_maskrcnn as mrcnn
from keras_maskrcnn import predict_large
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.ops import images as image_ops


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--annotations", type=pathlib.Path, required=True)
    parser.add_argument("--overlaps", default="32,48,64", help="pixels, with commas")
    parser.add_argument("--tiles", type=int, default=4, help="per side")
    parser.add_argument("--shift", type=int, default=8, help="pixels")
    parser.add_argument("--detections", type=int, default=500, help="limit per image")
    parser.add_argument("--tile_detections", type=int, default=150, help="limit per tile")
    parser.add_argument("--limit", type=int, help="use only the first images")
    parser.add_argument("--output", help="file to append the results to, lines of json")
    args = parser.parse_args()
    model = keras.models.load_model(args.model)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(args.annotations)
    ids = sorted(coco.getImgIds())[: args.limit]
    images = {i: resized(model.config, load(args.images, coco.imgs[i])) for i in ids}
    truth = resized_truth(coco, images)
    variants = {"whole": lambda image: whole(model, image, args.detections)}
    for shift in (args.shift, -args.shift):
        variants[f"whole, moved by {shift}"] = lambda image, shift=shift: moved(
            model, image, args.detections, shift
        )
    for overlap in map(int, args.overlaps.split(",")):
        variants[f"tiles, overlap {overlap}"] = lambda image, overlap=overlap: tiled(
            model, image, args.tile_detections, args.tiles, overlap
        )
    for name, predict in variants.items():
        found, count = [], 0
        for i in ids:
            one = predict(images[i])
            count += len(one["scores"])
            found += coco_results(one, i, model.config.ids())
        scores = score(truth, found, args.detections)
        line = {"variant": name, "detections": count, **scores}
        print(json.dumps(line), flush=True)
        if args.output:
            with open(args.output, "a") as file:
                print(json.dumps({**line, "model": args.model}), file=file)


def load(folder, image):
    """Reads an image, (H, W, 3) uint8."""
    return np.asarray(Image.open(folder / image["file_name"]).convert("RGB"))


def resized(config, image):
    """Resizes an image as the model does."""
    image = image_ops.resize(
        image, config.image_min_side, config.image_max_side, config.resize_rule
    )
    return np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8)


def resized_truth(coco, images):
    """Returns the annotations in the pixels of the resized images, as a COCO object."""
    annotations = []
    for i, image in images.items():
        height, width = image.shape[:2]
        for one in coco.loadAnns(coco.getAnnIds(i)):
            mask = Image.fromarray(coco.annToMask(one) * np.uint8(255))
            mask = np.asarray(mask.resize((width, height), Image.Resampling.BILINEAR)) >= 128
            encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(
                {
                    **one,
                    "segmentation": encoded,
                    "area": float(coco_mask.area(encoded)),
                    "bbox": coco_mask.toBbox(encoded).tolist(),
                }
            )
    truth = COCO()
    sizes = [{"id": i, "height": x.shape[0], "width": x.shape[1]} for i, x in images.items()]
    categories = coco.dataset["categories"]
    truth.dataset = {"images": sizes, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


_SIZED = {}  # a model for each size of images, because each traces its own graph


def sized(model, height, width, detections):
    """Returns the model for images of a size, which it then does not resize."""
    key = (min(height, width), max(height, width))
    if key not in _SIZED:
        _SIZED[key] = model.with_config(
            image_min_side=key[0], image_max_side=key[1], detections_per_image=detections
        )
    return _SIZED[key]


def whole(model, image, detections):
    """Predicts a whole image."""
    return mrcnn.predict_image(sized(model, *image.shape[:2], detections), image)


def moved(model, image, detections, shift):
    """Predicts an image with a border of its own mirrored pixels, and moves the answer back.

    A negative shift adds the border on the right and below, which moves nothing, but keeps away the
    border of the image.
    """
    height, width = image.shape[:2]
    border = ((shift, 0), (shift, 0)) if shift > 0 else ((0, -shift), (0, -shift))
    found = whole(model, np.pad(image, (*border, (0, 0)), mode="reflect"), detections)
    shift = max(0, shift)
    crops, origins, kept = [], [], []
    for i, (mask, (y, x)) in enumerate(found["masks"].crops()):
        y, x = y - shift, x - shift
        mask = mask[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
        if mask.any():
            crops.append(mask)
            origins.append((max(0, y), max(0, x)))
            kept.append(i)
    result = {name: found[name][kept] for name in ("scores", "labels")}
    return {**result, "masks": InstanceMasks(crops, origins, (height, width))}


def tiled(model, image, detections, tiles, overlap):
    """Predicts an image in `tiles` x `tiles` tiles."""
    height, width = (
        (side + (tiles - 1) * overlap + tiles - 1) // tiles for side in image.shape[:2]
    )
    model = sized(model, height, width, detections)
    return predict_large(model, image, tile=(height, width), overlap=overlap, verbose=0)


def coco_results(found, image_id, category_ids):
    """Converts the detections of an image to COCO results."""
    return [
        {
            "image_id": image_id,
            "category_id": int(category_ids[int(found["labels"][i]) - 1]),
            "score": float(found["scores"][i]),
            "segmentation": found["masks"].rle(i),
        }
        for i in range(len(found["scores"]))
    ]


def score(truth, results, detections):
    """Returns a dict of mask AP, AP50, AP75 and average recall, means over the categories."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.params.maxDets = [1, 100, detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]

    def mean(values):
        return round(float(values[values > -1].mean()), 4)

    scores = {
        "AP": mean(precision[..., 0, 2]),
        "AP50": mean(precision[0, ..., 0, 2]),
        "AP75": mean(precision[5, ..., 0, 2]),
        "AR": mean(recall[..., 0, 2]),
    }
    for k, category in enumerate(evaluation.params.catIds):
        scores[f"AP of {category}"] = mean(precision[:, :, k, 0, 2])
    return scores


if __name__ == "__main__":
    main()
