import json

import numpy as np
import pytest

from keras_maskrcnn.export.quantization import NETWORKS, PREDICTORS

onnx = pytest.importorskip("onnx", reason="onnx (extra onnx) is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="module")
def exported(lively, tiny_config, tmp_path_factory):
    """A model and its INT8 file."""
    model = lively(tiny_config)
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    images = np.random.default_rng(2).integers(0, 256, (4, 64, 96, 3), np.uint8)
    model.export(path, format="onnx", precision="int8", calibration=images, verbose=False)
    return model, path


def makers_of(graph):
    """Returns a dict of each tensor's name to the node that makes it."""
    return {output: node for node in graph.node for output in node.output}


def is_rounded(makers, tensor):
    return tensor in makers and makers[tensor].op_type == "DequantizeLinear"


def test_nothing_that_computes_boxes_reads_rounded_values(exported):
    graph = onnx.load(exported[1]).graph
    makers = makers_of(graph)
    read = set()  # (node, place of the input)
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            places = [i for i, x in enumerate(node.input) if is_rounded(makers, x)]
            read |= {(node.name, node.op_type, place) for place in places}
    # Names without a slash are inside of networks, such as those of group norm.
    outside = {x for x in read if "/" in x[0] and not x[0].startswith(NETWORKS)}
    # Features are rounded where RoIs pool them, and their shapes are read for the anchors.
    assert outside and {(kind, i) for _, kind, i in outside} <= {("RoiAlign", 0), ("Shape", 0)}


def test_networks_multiply_whole_numbers_up_to_their_last_layers(exported):
    graph = onnx.load(exported[1]).graph
    makers, rounded, kept = makers_of(graph), set(), set()
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            both = [is_rounded(makers, x) for x in node.input[:2]]
            (rounded if all(both) else kept).add(node.name)
    assert {name.split("/")[0] + "/" for name in rounded} == {*NETWORKS} - {"res5/"}
    networks = {name for name in kept if name.startswith(NETWORKS)}
    assert networks and all(name.startswith(PREDICTORS) for name in networks)


def test_the_file_is_smaller_and_finds_nearly_the_same(exported, tmp_path):
    model, path = exported
    plain = tmp_path / "plain.onnx"
    model.export(plain, format="onnx", verbose=False)
    assert path.stat().st_size < 0.35 * plain.stat().st_size
    image = np.random.default_rng(3).integers(0, 256, (1, 64, 96, 3), np.uint8)
    found = []
    for file in (plain, path):
        session = onnxruntime.InferenceSession(file)
        names = [x.name for x in session.get_outputs()]
        found.append(dict(zip(names, session.run(None, {"images": image}), strict=True)))
    # 0.15: on CPUs without VNNI, ONNX Runtime adds products of 8 bits in 16 bits, which saturate.
    # With VNNI all differences are below 0.1. On a machine with AVX2 only, one was 0.103.
    np.testing.assert_allclose(found[1]["scores"], found[0]["scores"], atol=0.15)
    metadata = {x.key: x.value for x in onnx.load(path).metadata_props}
    assert json.loads(metadata["keras_maskrcnn"])["precision"] == "int8"


def test_what_onnx_cannot_is_refused_with_what_can(lively, tiny_config, tmp_path):
    model, image = lively(tiny_config), np.zeros((64, 96, 3), np.uint8)
    for options, message in (
        ({"precision": "bfloat16"}, "OpenVINO, or as a SavedModel. Received: precision='bfloat16'"),
        ({"precision": "int8"}, "int8 needs calibration images"),
        ({"precision": "int8", "calibration": [image], "image_size": (64, 96)}, "image_size"),
    ):
        with pytest.raises(ValueError, match=message):
            model.export(tmp_path / "model.onnx", format="onnx", **options)
    assert not list(tmp_path.iterdir())


def test_images_in_which_nothing_is_found_are_refused(lively, tiny_config, tmp_path):
    model = lively(tiny_config).with_config(score_threshold=0.99)
    with pytest.raises(
        ValueError, match="finds nothing in the images for calibration.* Received: 2 images"
    ):
        model.export(
            tmp_path / "model.onnx",
            format="onnx",
            precision="int8",
            calibration=np.zeros((2, 64, 96, 3), np.uint8),
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_few_calibration_images_are_told(lively, tiny_config, tmp_path, caplog):
    images = np.random.default_rng(2).integers(0, 256, (10, 64, 96, 3), np.uint8)
    for count in (3, 10):
        caplog.clear()
        lively(tiny_config).export(
            tmp_path / f"{count}.onnx",
            format="onnx",
            precision="int8",
            calibration=images,
            calibration_images=count,
        )
        assert ("fitted to 3 of 3 calibration images" in caplog.text) == (count == 3)
        assert ("fitted to" in caplog.text) == (count == 3)
