import dataclasses
import json
import sys

import numpy as np
import pytest
from families import (
    C4,
    FAMILIES,
    MATTERPORT,
    TORCHVISION,
    assert_close,
    assert_same_detections,
    slow,
)

import keras_maskrcnn as mrcnn
from keras_maskrcnn.networks import build_roi_heads, build_rpn
from keras_maskrcnn.presets import PRESETS
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork
from keras_maskrcnn.runtime import ExportedModel

onnx = pytest.importorskip("onnx", reason="onnx (extra onnx) is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
EVERY_FAMILY = [
    *FAMILIES,
    MATTERPORT,
    TORCHVISION,
    *(
        pytest.param(fields, marks=slow)
        for fields in (
            {"roi_op": "warp"},
            {"roi_pooling": "max"},
            {"mask_loss": "softmax"},
            {"class_agnostic_masks": True},
            {"mask_predictor": "mlp"},
            {"head_norm": "batch", "box_head_convs": 2, "rpn_head_convs": 2, "norm": "batch"},
            {**C4, "box_pool_size": 14, "mask_pool_size": 14, "res5_stride": 2},
        )
    ),
]


def run(path, **inputs):
    """Runs a file in ONNX Runtime; returns its outputs by name."""
    session = onnxruntime.InferenceSession(path)
    values = session.run(None, inputs)
    return dict(zip((x.name for x in session.get_outputs()), values, strict=True))


def images_of(batch, height, width):
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), np.uint8)


@pytest.mark.parametrize("overrides", EVERY_FAMILY, ids=str)
def test_onnx_runtime_finds_what_the_model_finds(lively, tiny_config, tmp_path, overrides):
    model, path = lively(tiny_config, **overrides), tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    for shape in ((1, 64, 96), (2, 50, 70), (5, 80, 120)):  # as it is, larger, smaller
        images = images_of(*shape)
        assert_close(run(path, images=images), model(images), 1e-3)


@slow
@pytest.mark.parametrize("preset", [name for name in PRESETS if name.startswith("mask_rcnn_")])
def test_the_file_of_a_preset_finds_what_the_model_finds(tmp_path, preset):
    small = dict(
        num_classes=3,
        backbone_width=16 if "32x4d" in preset else 8,
        fpn_channels=16,
        image_min_side=64,
        image_max_side=96,
        box_head_units=32,
        mask_head_channels=16,
        test_pre_nms=200,
        test_proposals=100,
        detections_per_image=100,
        score_threshold=0.0,
    )
    model, path = mrcnn.MaskRCNN.from_preset(preset, **small), tmp_path / "model.onnx"
    rng = np.random.default_rng(0)
    for weight in model.weights:  # so that maps neither grow nor vanish
        if weight.name == "moving_variance":
            weight.assign(rng.uniform(1, 2, weight.shape))
        elif weight.name == "gamma":
            weight.assign(rng.uniform(0.3, 0.6, weight.shape))
        elif weight.path.split("/")[-2] in ("logits", "class_logits", "box_deltas", "deltas"):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    bias = next(w for w in model.weights if w.path.endswith("class_logits/bias"))
    bias.assign([-2.0, 0.0, 0.0, 0.0])  # Matterport takes no class that is below background
    model.export(path, format="onnx", verbose=False)
    for shape in ((1, 64, 96), (2, 50, 70), (5, 80, 120)):
        images = images_of(*shape)
        assert_same_detections(run(path, images=images), model(images))


def test_fields_may_be_whole_numbers(lively, tiny_config, tmp_path):
    """JSON and older files have them, and ONNX does not mix int64 with float32."""
    fields = {"canonical_roi_size": 112, "rpn_min_size": 0, "box_min_size": 0, "rpn_nms_iou": 1}
    model, path = lively(tiny_config, **fields), tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    images = images_of(1, 64, 96)
    assert_close(run(path, images=images), model(images), 1e-3)


@pytest.fixture(scope="module")
def exported(lively, tiny_config, tmp_path_factory):
    """A model, and its file."""
    model = lively(tiny_config, class_names=("cat", "dog", "cow"))
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    return model, path


def test_a_caller_can_change_the_limits(exported):
    model, path = exported
    images = images_of(2, 64, 96)
    for changes in (
        {"score_threshold": 0.5},
        {"nms_iou": 0.05},
        {"detections_per_image": 3},
        {"detections_per_image": 200},  # more than there are
        {"score_threshold": 1.0},  # nothing is found
    ):
        limits = {
            name: np.array([x], np.int64 if isinstance(x, int) else np.float32)
            for name, x in changes.items()
        }
        expected = model.with_config(**changes)(images)
        assert_close(run(path, images=images, **limits), expected, 1e-3)
    assert not np.any(expected["num_detections"])


@slow
def test_class_thresholds_are_in_the_file(lively, tiny_config, tmp_path):
    model, path = lively(tiny_config), tmp_path / "model.onnx"
    images = images_of(2, 64, 96)
    scores, labels = (np.asarray(model(images)[name]) for name in ("scores", "labels"))
    label = int(np.bincount(labels[labels > 0]).argmax())
    thresholds = np.zeros(tiny_config.num_classes)
    thresholds[label - 1] = np.median(scores[labels == label]) + 1e-4
    chosen = model.with_config(class_thresholds=tuple(thresholds.tolist()))
    chosen.export(path, format="onnx", verbose=False)
    expected = chosen(images)
    ours = np.asarray(expected["scores"])[np.asarray(expected["labels"]) == label]
    assert 0 < len(ours) < (labels == label).sum() and ours.min() >= thresholds.max()
    assert_close(run(path, images=images), expected, 1e-3)
    assert ExportedModel(path).class_thresholds == chosen.config.class_thresholds
    high = float(np.median(np.asarray(expected["scores"])[np.asarray(expected["scores"]) > 0]))
    found = run(path, images=images, score_threshold=np.array([high], np.float32))
    assert_close(found, chosen.with_config(score_threshold=high)(images), 1e-3)


def test_nms_across_classes_is_in_the_file(lively, tiny_config, tmp_path):
    fields = {"nms_across_classes": True, "nms_iou": 0.2, "detections_per_image": 60}
    model, path = lively(tiny_config, **fields), tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    images = images_of(2, 64, 96)
    expected, found = model(images), run(path, images=images)
    assert_close(found, expected, 1e-3)
    within = model.with_config(nms_across_classes=False)(images)
    assert np.any(expected["boxes"] != within["boxes"])
    openvino = pytest.importorskip("openvino", reason="openvino (extra openvino) is not installed")
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", precise)(images)
    assert_close({name: compiled[name] for name in expected}, expected, 1e-3)
    raised = run(path, images=images, nms_iou=np.array([0.9], np.float32))
    assert_close(raised, model.with_config(nms_iou=0.9)(images), 1e-3)


# ONNX Runtime above runs the file of torchvision's rules, which need no other operations.
IN_OPENVINO = [
    pytest.param(fields, marks=slow) if fields == TORCHVISION else fields for fields in EVERY_FAMILY
]


@pytest.mark.parametrize("overrides", IN_OPENVINO, ids=str)
def test_openvino_finds_what_the_model_finds(lively, tiny_config, tmp_path, overrides):
    openvino = pytest.importorskip("openvino", reason="openvino (extra openvino) is not installed")
    model, path = lively(tiny_config, **overrides), tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    precise = {"INFERENCE_PRECISION_HINT": "f32"}  # it takes bfloat16 where the machine has it
    compiled = openvino.Core().compile_model(str(path), "CPU", precise)
    for shape in ((1, 64, 96), (2, 50, 70)):
        images, found = images_of(*shape), compiled(images_of(*shape))
        expected = model(images)
        assert_close({name: found[name] for name in expected}, expected, 1e-3)


def test_openvino_finds_nothing_where_nothing_is(lively, tiny_config, tmp_path):
    openvino = pytest.importorskip("openvino", reason="openvino (extra openvino) is not installed")
    model = lively(tiny_config).with_config(score_threshold=1.0)
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    found = openvino.Core().compile_model(str(tmp_path / "model.onnx"), "CPU")(images_of(2, 64, 96))
    for name, shape in (("masks", (2, 10, 28, 28)), ("scores", (2, 10)), ("num_detections", (2,))):
        assert found[name].shape == shape and not found[name].any()


def test_a_file_for_one_size_takes_padded_images_as_in_version_0_1(
    exported, canvas, tmp_path_factory
):
    model, _ = exported
    path = tmp_path_factory.mktemp("onnx") / "fixed.onnx"
    model.export(path, format="onnx", image_size=(64, 96), batch_size=1, verbose=False)
    found = run(path, images=canvas["images"], sizes=canvas["sizes"])
    assert_close(found, model(canvas, training=False), 1e-3)
    shapes = {x.name: x.shape for x in onnxruntime.InferenceSession(path).get_inputs()}
    assert shapes == {"images": [1, 64, 96, 3], "sizes": [1, 2]}


def test_the_file_has_native_nodes_and_stores_nothing_but_weights(exported):
    model, path = exported
    graph = onnx.load(path).graph
    onnx.checker.check_model(str(path), full_check=True)
    names = [node.op_type for node in graph.node]
    # One RoIAlign for each of the 4 levels, for boxes and for masks; NMS of 5 levels and of boxes.
    assert names.count("RoiAlign") == 8 and names.count("NonMaxSuppression") == 6
    assert "Loop" not in names and "NonZero" in names
    stored = sum(onnx.numpy_helper.to_array(x).nbytes for x in graph.initializer)
    weights = sum(array.nbytes for array in model.get_weights())
    assert 0.9 * weights < stored < weights + 10_000  # without norms, with small constants


def test_metadata_describes_the_model(exported):
    model, path = exported
    text = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["keras_maskrcnn"]
    found = json.loads(text)
    assert found["class_names"] == ["cat", "dog", "cow"] and found["category_ids"] == [1, 2, 3]
    assert found["config"] == json.loads(json.dumps(dataclasses.asdict(model.config)))
    assert found["keras_maskrcnn"] == mrcnn.__version__ and found["precision"] == "float32"
    assert found["preset"] is None  # its widths are those of no preset


class OtherLoss(RoIHeads):
    """As ours at inference, so it is written as ours."""

    def box_loss(self, *args):
        return 2 * super().box_loss(*args)


class OtherNms(OtherLoss):
    def suppress(self, boxes, scores, **limits):
        return super().suppress(boxes, scores, **limits)


def with_heads(config, kind):
    return mrcnn.MaskRCNN(config, roi_heads=build_roi_heads(config, 16, kind=kind))


def test_a_stage_of_ones_own_needs_an_image_size(tiny_config, tmp_path):
    model = with_heads(tiny_config, OtherNms)
    with pytest.raises(ValueError, match="own class of roi_heads .* one image_size"):
        model.export(tmp_path / "model.onnx", format="onnx")


def test_a_stage_with_other_losses_is_written_as_ours(tiny_config):
    class OtherCall(RegionProposalNetwork):
        def __call__(self, features, training=False):
            return super().__call__(features, training)

    from keras_maskrcnn.export.native_onnx.model import foreign_part

    assert foreign_part(with_heads(tiny_config, RoIHeads)) == ""
    model = with_heads(tiny_config, OtherLoss)
    assert foreign_part(model) == ""
    model.rpn = build_rpn(tiny_config, 16, kind=OtherCall)
    assert foreign_part(model) == "rpn"


def test_an_older_set_of_operations_is_not_used(exported, tmp_path, caplog):
    model, _ = exported
    model.export(tmp_path / "a.onnx", format="onnx", opset_version=13, verbose=False)
    assert "opset_version must be at least 18" in caplog.text
    assert onnx.load(tmp_path / "a.onnx").opset_import[0].version == 18


def test_that_a_package_is_missing_is_said_with_what_to_install(
    lively, tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install keras3-maskrcnn\[onnx\]. Received: .*onnx"):
        lively(tiny_config).export(tmp_path / "a.onnx", format="onnx")
    assert not list(tmp_path.iterdir())
