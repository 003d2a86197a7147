"""Copies the arrays that the default tests need from the large golden files.

These are outputs of torchvision and detectron2 on random inputs. As plain arrays, they make neither
library a dependency of the tests.

    python tests/golden/make_golden.py --source=../shared/golden

`../shared/golden/README.md` says how each array was made. Each entry of `GOLDEN` becomes one .npz
file beside this script.
"""

import argparse
import pathlib

import numpy as np

# Output file → {source file: names of arrays}.
GOLDEN = {
    "paste.npz": {
        "ops_paste.npz": ("masks", "boxes", "image_size"),
        "ops_detectron2.npz": ("pasted", "pasted_bool"),
    },
    "paste_torchvision.npz": {
        "ops_paste.npz": ("pasted",),
    },
    "anchors_torchvision.npz": {
        "ops_anchors.npz": ("fpn.anchors", "uneven.anchors"),
    },
    "anchors.npz": {
        "ops_detectron2.npz": ("fpn.anchors", "c4.anchors"),
    },
    "boxes.npz": {
        "ops_boxes.npz": (
            *("anchors", "truth", "deltas", "class_deltas", "weights_rpn", "weights_head"),
            *("encoded_rpn", "decoded_rpn", "encoded_head", "decoded_head"),
            *("class_decoded_head", "to_clip", "clip_size_hw", "clipped"),
            *("match_truth", "match_candidates", "match_iou", "matched_rpn", "matched_head"),
        ),
    },
    "levels.npz": {
        "ops_levels.npz": ("boxes", "level_detectron2_formula", "level_torchvision"),
    },
    "losses.npz": {
        "ops_losses.npz": (
            *("class_logits", "box_regression", "labels", "targets"),
            *("loss_classifier", "loss_box_reg"),
        ),
    },
    "mask_targets.npz": {
        "ops_paste.npz": ("boxes", "gt_masks", "roi_index"),
        "ops_detectron2.npz": ("mask_targets_28",),
    },
    "multiscale.npz": {
        "ops_multiscale.npz": (
            *("features.p2", "features.p3", "features.p4", "features.p5", "boxes.0", "boxes.1"),
            *("canonical56_ratio2_7x7", "canonical56_ratio0_7x7", "levels_canonical56"),
        ),
    },
    "transform_torchvision.npz": {
        "ops_transform.npz": (
            *("image.0", "image.1", "batch", "image_sizes"),
            *("shapes_in", "shapes_out_800_1333"),
        ),
    },
    "nms.npz": {
        "ops_nms.npz": (
            *("boxes", "scores", "classes", "tied_boxes", "tied_scores", "tied_keep_0.5000"),
            *("keep_0.3", "keep_0.5", "keep_0.7"),
            *("batched_keep_0.3", "batched_keep_0.5", "batched_keep_0.7"),
        ),
    },
    "roi_align.npz": {
        "ops_roi_align.npz": (
            *("features", "rois", "grad_weight"),
            *(f"aligned{a}_ratio{n}_7x7" for a in (0, 1) for n in (0, 1, 2)),
            *(f"grad_aligned{a}_ratio{n}" for a in (0, 1) for n in (0, 2)),
        ),
    },
    "roi_pool.npz": {
        "ops_roi_pool.npz": ("features", "rois", "out_7x7"),
    },
}

# Output file → folder of a whole tiny network: its weights, and its outputs for one image.
NETWORKS = {
    "tiny_fpn_torchvision.npz": "tv_tiny_v1",
    "tiny_fpn_torchvision_v2.npz": "tv_tiny_v2",
    "tiny_fpn_detectron2.npz": "d2_tiny_fpn",
    "tiny_c4_detectron2.npz": "d2_tiny_c4",
}
NETWORK_ARRAYS = (
    *("image.0", "image_sizes", "proposals.0", "class_logits", "box_deltas", "mask_logits"),
    *("boxes.0", "scores.0", "labels.0", "masks_28.0", "masks.0"),
)


def make_networks(source, target, only=None):
    """Writes the golden files of whole networks; names of weights are "weights.KEY"."""
    for output, folder in NETWORKS.items():
        if only and output not in only:
            continue
        with np.load(pathlib.Path(source) / folder / "weights.npz") as stored:
            arrays = {f"weights.{key}": stored[key] for key in stored.files}
        with np.load(pathlib.Path(source) / folder / "single.npz") as stored:
            arrays |= {name: stored[name] for name in NETWORK_ARRAYS}
            for name in stored.files:
                kind, _, level = name.partition(".")
                if kind in ("rpn_logits", "rpn_deltas"):
                    arrays |= {name: stored[name], level: stored[level]}
        arrays["masks.0"] = arrays["masks.0"] >= 0.5
        np.savez_compressed(pathlib.Path(target) / output, **arrays)


def make_golden(source, target, only=None):
    """Writes the golden files.

    Args:
        source: folder of the large files.
        target: folder to write to.
        only: names of output files; None for all.

    Raises:
        ValueError: if two sources of one output have an array of the same name.
    """
    for output, sources in GOLDEN.items():
        if only and output not in only:
            continue
        arrays = {}
        for file, names in sources.items():
            clash = set(names) & set(arrays)
            if clash:
                raise ValueError(f"Names must be unique in {output}. Received: {sorted(clash)}.")
            with np.load(pathlib.Path(source) / file) as stored:
                arrays.update({name: stored[name] for name in names})
        np.savez_compressed(pathlib.Path(target) / output, **arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = pathlib.Path(__file__).parent
    parser.add_argument("--source", default=here.parents[2] / "shared" / "golden")
    parser.add_argument("only", nargs="*", help="output files; all without")
    arguments = parser.parse_args()
    make_golden(arguments.source, here, arguments.only)
    make_networks(arguments.source, here, arguments.only)
