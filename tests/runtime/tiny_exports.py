"""Tiny exported files with the inputs, outputs and metadata of real ones, made by hand."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from keras_maskrcnn.config import MaskRCNNConfig

SAVED_MODEL = pathlib.Path(__file__).parents[1] / "version_0_1" / "saved_model"
CONFIG = MaskRCNNConfig(
    num_classes=2, class_names=("cell", "dot"), category_ids=(7, 11), detections_per_image=3
)
BOXES = [[1, 2, 21, 12], [5.5, 5, 15, 25], [0, 0, 0, 0]]


def describe(config=CONFIG, **more):
    """The description that an export of this config writes."""
    content = {
        "class_names": config.names(),
        "category_ids": config.ids(),
        "masks": "soft",
        "precision": "float32",
        "config": dataclasses.asdict(config),
        "keras_maskrcnn": "0.2.0",
        "preset": None,
        **more,
    }
    return json.dumps(content)


def write_onnx(path, description, fixed=False):
    """Writes a model that finds two objects, whose scores are the brightness of the image.

    The first score is the mean pixel / 255, and the second is that times nms_iou.

    Args:
        path: the file.
        description: str or None. The metadata.
        fixed: bool. Whether it also takes `sizes`, as files for one size of images do.
    """
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    from onnx import TensorProto as Type
    from onnx import helper

    def constant(name, value, kind):
        return onnx.numpy_helper.from_array(np.array(value, kind), name)

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    node = helper.make_node
    masks = np.zeros((1, 3, 4, 4))
    masks[0, 0] = 1
    masks[0, 1, :2] = 0.9
    nodes = [
        node("Cast", ["images"], ["pixels"], to=Type.FLOAT),
        node("ReduceMean", ["pixels", "spatial"], ["mean"], keepdims=0),
        node("Div", ["mean", "white"], ["score"]),
        node("Unsqueeze", ["score", "last"], ["first"]),
        node("Mul", ["first", "nms_iou"], ["second"]),
        node("Mul", ["first", "zero"], ["third"]),
        node("Concat", ["first", "second", "third"], ["all_scores"], axis=1),
        node("Greater", ["all_scores", "score_threshold"], ["passes"]),
        node("Cast", ["passes"], ["flags"], to=Type.INT64),
        node("ReduceSum", ["flags", "last"], ["count"], keepdims=0),
        node("Min", ["count", "detections_per_image"], ["least"]),
        node("Cast", ["least"], ["num_detections"], to=Type.INT32),
        node("Identity", ["all_scores"], ["scores"]),
        node("Shape", ["score"], ["batch"]),
        node("Concat", ["batch", "one", "one"], ["by_three"], axis=0),
        node("Concat", ["batch", "one", "one", "one"], ["by_four"], axis=0),
        node("Concat", ["batch", "one"], ["by_two"], axis=0),
        node("Expand", ["all_boxes", "by_three"], ["boxes"]),
        node("Expand", ["all_labels", "by_two"], ["labels"]),
        node("Expand", ["all_masks", "by_four"], ["masks"]),
    ]
    defaults = [
        constant("score_threshold", [0.05], np.float32),
        constant("nms_iou", [0.5], np.float32),
        constant("detections_per_image", [3], np.int64),
    ]
    constants = [
        constant("spatial", [1, 2, 3], np.int64),
        constant("white", 255, np.float32),
        constant("zero", [0], np.float32),
        constant("last", [1], np.int64),
        constant("one", [1], np.int64),
        constant("all_boxes", [BOXES], np.float32),
        constant("all_labels", [[2, 1, 0]], np.int32),
        constant("all_masks", masks, np.float32),
    ]
    inputs = [
        value("images", Type.UINT8, ["batch", "height", "width", 3]),
        *([value("sizes", Type.INT32, ["batch", 2])] if fixed else []),
        value("score_threshold", Type.FLOAT, [1]),
        value("nms_iou", Type.FLOAT, [1]),
        value("detections_per_image", Type.INT64, [1]),
    ]
    outputs = [
        value("boxes", Type.FLOAT, ["batch", 3, 4]),
        value("scores", Type.FLOAT, ["batch", 3]),
        value("labels", Type.INT32, ["batch", 3]),
        value("masks", Type.FLOAT, ["batch", 3, 4, 4]),
        value("num_detections", Type.INT32, ["batch"]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [*defaults, *constants])
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    if description is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "keras_maskrcnn", description
    onnx.checker.check_model(model)
    onnx.save(model, path)
