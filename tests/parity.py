"""Compares the stages of our model with those of a peer, on golden files.

`python tests/parity.py` prints the table of docs/parity.md.
"""

import dataclasses
import pathlib
import tempfile

import h5py
import numpy as np
import tensorflow as tf

import keras_maskrcnn as mrcnn
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.ops import masks as mask_ops
from keras_maskrcnn.presets import preset_config

GOLDEN = pathlib.Path(__file__).parent / "golden"
SHARED = pathlib.Path(__file__).parents[2] / "shared" / "golden"
TINY = dict(
    num_classes=4,
    backbone_width=8,
    norm_epsilon=1e-5,
    fpn_channels=32,
    box_head_units=64,
    mask_head_channels=32,
    image_min_side=128,
    image_max_side=200,
    canonical_roi_size=56.0,
    anchor_sizes=(16.0, 32.0, 64.0, 128.0, 256.0),
    train_pre_nms=150,
    train_proposals=100,
    test_pre_nms=150,
    test_proposals=100,
    detections_per_image=20,
)
C4 = dict(TINY, train_pre_nms=400, test_pre_nms=400)
PEERS = {  # suffix of the preset's name -> folder of ../shared/golden
    "fpn_torchvision": "tv_tiny_v1",
    "fpn_torchvision_v2": "tv_tiny_v2",
    "fpn_detectron2": "d2_tiny_fpn",
    "c4_detectron2": "d2_tiny_c4",
}


@dataclasses.dataclass
class Network:
    """A peer's tiny model, imported from its weights."""

    peer: str
    model: mrcnn.MaskRCNN

    @property
    def background_last(self):
        return self.peer.endswith("detectron2")

    @property
    def levels(self):
        """Names of our maps, and their names in the golden files."""
        return {level: "res4" if level == "c4" else level for level in self.model.strides}


def load_golden(name):
    """Returns the arrays of golden/NAME.npz."""
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


def peer_weights(peer):
    """Returns the state dict of a peer's tiny model."""
    stored = load_golden(f"tiny_{peer}").items()
    return {k.removeprefix("weights."): v for k, v in stored if k.startswith("weights.")}


def write_h5(path, arrays):
    """Writes arrays as float32 into an .h5 file, as `save_weights` of Keras 2 does."""
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value.astype(np.float32)


def import_network(peer):
    """Returns the `Network` of a peer. All weights of both sides must match."""
    fields = C4 if peer.startswith("c4") else TINY
    model = mrcnn.MaskRCNN(preset_config(f"mask_rcnn_resnet50_{peer}", **fields))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.npz"
        np.savez(path, **peer_weights(peer))
        load = mrcnn.weights.LOADERS[peer.split("_")[1]]
        report = load(model, path, verbose=False)
    assert not report.missing
    return Network(peer, model)


def inputs_of(network, data, resize=True):
    """The peer's images as inputs that `data.batches` would make."""
    images = [data[f"image.{i}"] for i in (0, 1) if f"image.{i}" in data]
    originals = np.array([image.shape[:2] for image in images], np.int32)
    if resize:
        rule = network.model.config.resize_rule
        images = [image_ops.resize(image, 128, 200, rule) for image in images]
    sizes = np.array([image.shape[:2] for image in images], np.int32)
    np.testing.assert_array_equal(sizes, data.get("image_sizes", sizes))
    multiple = network.model.config.padding_multiple
    sides = -(-sizes.max(axis=0) // multiple) * multiple
    canvas = np.zeros((len(sizes), *sides, 3), np.float32)
    for row, image, (height, width) in zip(canvas, images, sizes, strict=True):
        row[:height, :width] = image
    return {"images": canvas, "sizes": sizes, "original_sizes": originals}


def stages(network, data):
    """Yields (name, our result, the peer's result) of each stage, from pixels to pasted masks.

    The heads get the peer's proposals, so that each stage is compared alone. Detections are from
    the whole model.
    """
    model, config, inputs = network.model, network.model.config, inputs_of(network, data)
    count = len(inputs["sizes"])
    features = model.features(inputs)
    for level, stored in network.levels.items():
        yield f"features {level}", features[level], np.moveaxis(data[stored], 1, -1)
    raw = model.rpn(features)
    logits, deltas, _ = raw
    proposals, _ = model.rpn.select(raw, inputs["sizes"])
    for i, (level, stored) in enumerate(network.levels.items()):
        expected = np.moveaxis(data[f"rpn_logits.{stored}"], 1, -1)
        yield f"RPN logits {level}", logits[i], expected.reshape(count, -1)
        expected = np.moveaxis(data[f"rpn_deltas.{stored}"], 1, -1)
        yield f"RPN deltas {level}", deltas[i], expected.reshape(count, -1, 4)
    stored = np.stack([data[f"proposals.{i}"] for i in range(count)])
    yield "proposals", proposals, stored
    logits, deltas, _ = model.roi_heads.box_branch(features, tf.constant(stored))
    expected = data["class_logits"].reshape(logits.shape)
    yield "class logits", logits, np.roll(expected, 1, 2) if network.background_last else expected
    expected = data["box_deltas"].reshape(count, len(stored[0]), -1, 4)
    yield "box deltas", deltas, expected[:, :, -config.num_classes :]
    outputs = model.predict_on_batch(inputs)
    for i in range(count):
        found = outputs["num_detections"][i]
        assert found == len(data[f"scores.{i}"])
        yield f"boxes of image {i}", outputs["boxes"][i, :found], data[f"boxes.{i}"]
        yield f"scores of image {i}", outputs["scores"][i, :found], data[f"scores.{i}"]
        labels = data[f"labels.{i}"] + int(network.background_last)
        yield f"labels of image {i}", outputs["labels"][i, :found], labels
        masks = outputs["masks"][i, :found]
        yield f"masks of image {i}", masks, data[f"masks_28.{i}"]
        expected = data[f"masks.{i}"] >= 0.5
        pasted = [
            mask_ops.paste_binary(mask, box, *expected.shape[1:], rule=config.mask_paste) > 0
            for mask, box in zip(masks, outputs["boxes"][i], strict=False)
        ]
        yield f"pasted masks of image {i}", np.stack(pasted), expected


def main():
    """Prints the largest difference of each stage of each network, and the peer's spread."""
    table = {}
    for peer in PEERS:
        for name, ours, expected in stages(import_network(peer), load_golden(f"tiny_{peer}")):
            difference = np.abs(np.asarray(ours, np.float64) - expected)
            if expected.dtype == bool:
                cell = f"{np.count_nonzero(difference)} of {expected.size} pixels"
            else:
                cell = f"{difference.max():.1e} ({np.std(expected.astype(np.float64)):.2g})"
            table.setdefault(name, {})[peer] = cell
    print("| tensor |", " | ".join(PEERS), "|\n|", " | ".join(["---"] * (1 + len(PEERS))), "|")
    for name, row in table.items():
        print(f"| {name} |", " | ".join(row.get(peer, "") for peer in PEERS), "|")


if __name__ == "__main__":
    main()
