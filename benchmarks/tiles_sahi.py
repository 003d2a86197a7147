"""Runs SAHI with torchvision's model on a drawing of mosaic.py, for tiles_beside_sahi.py.

    TORCH_PYTHON benchmarks/tiles_sahi.py --weights=weights.npz --mosaic=mosaic.tif --found=sahi.npz

The weights are a file of to_torchvision.py. It needs torch, torchvision, sahi and psutil, and not
this package. --settings are arguments of `get_sliced_prediction`; without them it runs with its
defaults. --no_grad adds what SAHI 0.12 leaves out for torchvision's models: `torch.no_grad`.
--limit_gib limits the memory of this process, so that a machine with other work survives.
"""

import argparse
import json
import resource
import sys

import cv2
import numpy as np
import sahi
import torch
import torchvision_model
from instance_scores import Instances
from measuring import measured, settle
from sahi import AutoDetectionModel
from sahi.predict import get_sliced_prediction


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True)
    parser.add_argument("--mosaic", required=True)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--detections", type=int, default=200, help="limit of detections per tile")
    parser.add_argument("--score", type=float, default=0.5)
    parser.add_argument("--settings", default="{}", help="json")
    parser.add_argument("--no_grad", action="store_true")
    parser.add_argument("--limit_gib", type=float, default=8)
    parser.add_argument("--found", required=True, help="file to write what was found to, .npz")
    args = parser.parse_args()
    limit = int(args.limit_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_grad_enabled(not args.no_grad)
    model, config = torchvision_model.load(args.weights, args.tile, args.detections)
    names = {str(i + 1): name for i, name in enumerate(config["class_names"])}
    model = AutoDetectionModel.from_pretrained(
        "torchvision",
        model=model,
        confidence_threshold=args.score,
        category_mapping=names,
        device="cpu",
    )
    model.perform_inference(np.zeros((args.tile, args.tile, 3), np.uint8))
    base = settle()

    def call():
        return get_sliced_prediction(
            args.mosaic,
            model,
            slice_height=args.tile,
            slice_width=args.tile,
            overlap_height_ratio=args.overlap / args.tile,
            overlap_width_ratio=args.overlap / args.tile,
            verbose=0,
            **json.loads(args.settings),
        )

    try:
        result, cost = measured(call)
    except (MemoryError, RuntimeError) as error:
        sys.exit(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    found = instances(result.object_prediction_list)
    found.save(args.found)
    seconds = {name: round(value, 2) for name, value in result.durations_in_seconds.items()}
    cost |= {"base": base, "found": len(found.labels), "sahi": sahi.__version__, "parts": seconds}
    print(json.dumps(cost))


def instances(predictions):
    """Converts SAHI's polygons, as its `bool_mask` does, but only inside of their boxes."""
    labels, scores, crops = [], [], []
    for one in predictions:
        if one.mask is None or not one.mask.segmentation:
            continue
        parts = [
            np.array(part).reshape(-1, 2).round().astype(int) for part in one.mask.segmentation
        ]
        corner = np.concatenate(parts).min(axis=0)
        width, height = np.concatenate(parts).max(axis=0) + 1 - corner
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [part - corner for part in parts], (1,))
        labels.append(one.category.id)
        scores.append(one.score.value)
        crops.append((mask > 0, (int(corner[1]), int(corner[0]))))
    return Instances(np.array(labels, int), np.array(scores), crops)


if __name__ == "__main__":
    main()
