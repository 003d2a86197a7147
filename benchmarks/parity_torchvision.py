"""Compares our full-size model, with torchvision's weights, to torchvision's outputs.

    TORCH_PYTHON ../shared/peerlab/tv_reference.py --out REF [--variant v2] astronaut coffee
    python benchmarks/parity_torchvision.py --reference=REF

It imports REF/model.pth and runs each image of REF. It prints, as JSON, the largest difference of
each stage in units of the standard deviation, and the share of detections that have a partner (the
same class, IoU > 0.999, score within 1e-4). With --double, tv_reference.py computes in float64.
Compare its two runs as well, to see which part of a difference comes from float32.
"""

import json
import pathlib
import resource
import sys
import time

import numpy as np
from absl import app, flags

import keras_maskrcnn as mrcnn
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.ops import masks as mask_ops

FLAGS = flags.FLAGS
flags.DEFINE_string("reference", None, "Folder that tv_reference.py wrote.", required=True)

LEVELS = ("p2", "p3", "p4", "p5", "p6")


def peak_mib():
    """Returns the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def imported(folder):
    """Returns the model, and the time and memory of the import."""
    variant = json.loads((folder / "model.json").read_text())["variant"]
    suffix = "torchvision" if variant == "v1" else "torchvision_v2"
    model = mrcnn.MaskRCNN.from_preset(f"mask_rcnn_resnet50_fpn_{suffix}")
    start, before = time.perf_counter(), peak_mib()
    mrcnn.weights.load_torchvision(model, folder / "model.pth", verbose=False)
    cost = {"import_seconds": time.perf_counter() - start, "import_mib": peak_mib() - before}
    return model, {name: round(value, 1) for name, value in cost.items()}


def difference(actual, expected):
    """Returns the largest absolute difference, in units of the standard deviation."""
    return float(np.max(np.abs(np.asarray(actual) - expected)) / np.std(expected))


def compare(model, data):
    """Compares the stages of the model on one image."""
    config, image = model.config, data["image.0"]
    resized = image_ops.resize(
        image, config.image_min_side, config.image_max_side, config.resize_rule
    )
    size = np.array([resized.shape[:2]], np.int32)
    inputs = {
        "images": image_ops.pad_to_multiple(resized[None], 32),
        "sizes": size,
        "original_sizes": np.array([image.shape[:2]], np.int32),
    }
    features = model.features(inputs)
    raw = model.rpn(features)
    logits, deltas, _ = raw
    proposals, _ = model.rpn.select(raw, size)
    found = {"size": size[0].tolist(), "features": 0.0, "rpn_logits": 0.0, "rpn_deltas": 0.0}
    for i, level in enumerate(LEVELS):
        for name, value, key in (
            ("features", features[level], level),
            ("rpn_logits", logits[i], f"rpn_logits.{level}"),
            ("rpn_deltas", deltas[i], f"rpn_deltas.{level}"),
        ):
            expected = np.moveaxis(data[key], 1, -1)
            value = np.reshape(value, expected.shape)
            found[name] = max(found[name], difference(value, expected))
    stored = data["proposals.0"]
    nearest = np.max(box_ops.iou(stored, proposals[0]), axis=1)
    found["proposals_found"] = float(np.mean(nearest > 0.999))
    class_logits, box_deltas, _ = model.roi_heads.box_branch(features, stored[None])
    found["class_logits"] = difference(class_logits[0], data["class_logits"])
    expected = data["box_deltas"].reshape(len(stored), -1, 4)[:, 1:]
    found["box_deltas"] = difference(box_deltas[0], expected)
    outputs = model.predict_on_batch(inputs)
    found |= compare_detections(outputs, data, image.shape[:2], config.mask_paste)
    return {k: round(v, 7) if isinstance(v, float) else v for k, v in found.items()}


def compare_detections(outputs, data, size, paste):
    """Compares detections one to one, and the masks of those that have a partner."""
    count = int(outputs["num_detections"][0])
    boxes, scores, labels = (outputs[k][0][:count] for k in ("boxes", "scores", "labels"))
    iou = np.asarray(box_ops.iou(data["boxes.0"], boxes))
    same = (iou > 0.999) & (data["labels.0"][:, None] == labels)
    same &= np.abs(data["scores.0"][:, None] - scores) < 1e-4
    found = {"detections": len(iou), "detections_found": float(np.mean(same.any(axis=1)))}
    soft, pasted = [], []
    for i in np.flatnonzero(same.any(axis=1)):
        j = int(np.argmax(same[i]))
        mask = outputs["masks"][0][j]
        soft.append(np.max(np.abs(mask - data["masks_28.0"][i])))
        ours = mask_ops.paste_binary(mask, boxes[j], *size, rule=paste) > 0
        theirs = np.unpackbits(data["masks_bits.0"][i].squeeze(), axis=-1)[:, : size[1]] > 0
        pasted.append(np.sum(ours & theirs) / max(1, np.sum(ours | theirs)))
    return found | {"soft_masks": float(np.max(soft)), "pasted_iou": float(np.min(pasted))}


def main(_):
    folder = pathlib.Path(FLAGS.reference)
    model, cost = imported(folder)
    print(json.dumps(cost), flush=True)
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as stored:
            data = {
                k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in stored.items()
            }
        print(json.dumps({"image": path.stem, **compare(model, data)}), flush=True)


if __name__ == "__main__":
    sys.exit(app.run(main))
