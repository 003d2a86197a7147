import json
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from keras_maskrcnn.export.quantization import NETWORKS, PREDICTORS

openvino = pytest.importorskip("openvino", reason="openvino (extra openvino) is not installed")


READ = {("", "box_align/Concat"), ("", "mask_align/Concat")}  # pooled features


@pytest.fixture(scope="module")
def model(lively, tiny_config):
    return lively(tiny_config)


@pytest.fixture(scope="module")
def in_float(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("float") / "model.xml"
    model.export(path, format="openvino", precision="bfloat16", verbose=False)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(0, 256, (1, 64, 96, 3), np.uint8)


def run(path, image, hint="f32"):
    graph = openvino.Core().read_model(path)
    names = [output.any_name for output in graph.outputs]  # compiling renames them
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    return dict(zip(names, compiled({"images": image}).values(), strict=True))


def described(path):
    graph = openvino.Core().read_model(path)
    return json.loads(graph.get_rt_info("keras_maskrcnn").astype(str))


def test_it_finds_what_the_model_finds(model, in_float, image):
    found, expected = run(in_float, image), model.predict_on_batch(image)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-3, err_msg=name)
    content = described(in_float)
    assert content["precision"] == "bfloat16"
    assert content["config"]["num_classes"] == 3 and content["category_ids"] == [1, 2, 3]


def in_bfloat16(path):
    """Returns (type, name of a node in the file) of all that OpenVINO computes in bfloat16."""
    settings = {"INFERENCE_PRECISION_HINT": "bf16"}
    compiled, found = openvino.Core().compile_model(path, "CPU", settings), set()
    for node in compiled.get_runtime_model().get_ops():
        info = {name: value.astype(str) for name, value in node.get_rt_info().items()}
        if info["runtimePrecision"] == "bf16":
            names = info["originalLayersNames"].split(",")
            found |= {(info["layerType"], name) for name in names if "/" in name}
    return found


def of_boxes(nodes):
    """Returns the names of nodes that compute boxes. What pools features does not."""
    harmless = ("ROIAlign", "Concatenation", "ShapeOf")
    prefixes = ("rpn/", "boxes/", "masks/", "box_align/", "mask_align/")
    return {name for kind, name in nodes if kind not in harmless and name.startswith(prefixes)}


def test_bfloat16_is_for_networks_only(in_float, tmp_path):
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    nodes = in_bfloat16(in_float)
    convolutions = {name for kind, name in nodes if kind == "Convolution"}
    assert {name.split("/")[0] for name in convolutions} >= {"backbone", "fpn", "rpn_head"}
    assert not of_boxes(nodes)
    tree = ElementTree.parse(in_float)  # the same file without the marks
    for info in tree.getroot().iterfind("layers/layer/rt_info"):
        for mark in [x for x in info if x.get("name") == "precise"]:
            info.remove(mark)
    tree.write(tmp_path / "model.xml")
    (tmp_path / "model.bin").symlink_to(in_float.with_suffix(".bin"))
    assert of_boxes(in_bfloat16(tmp_path / "model.xml"))


@pytest.mark.slow
def test_int8_is_for_networks_only(model, image, in_float, tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (4, 64, 96, 3), np.uint8)
    path = tmp_path / "model.xml"
    model.export(path, format="openvino", precision="int8", calibration=images, verbose=False)
    rounded = {  # Q and DQ nodes of the ONNX file; OpenVINO makes a FakeQuantize of them
        reader.get_node().get_friendly_name().removesuffix("_QuantizeLinear")
        for node in openvino.Core().read_model(path).get_ops()
        if node.get_type_name() == "FakeQuantize"
        for reader in node.output(0).get_target_inputs()
    }
    networks = {name for name in rounded if name.startswith(NETWORKS)}
    assert {name.split("/")[0] + "/" for name in networks} == {*NETWORKS} - {"res5/"}
    assert not any(name.startswith(PREDICTORS) for name in networks)
    # What the networks read, too: the images, the pooled features of boxes and of masks.
    assert len(rounded - networks) <= 3 and not of_boxes({("", name) for name in rounded} - READ)
    sizes = [x.with_suffix(".bin").stat().st_size for x in (path, in_float)]
    assert sizes[0] < 0.35 * sizes[1]
    found, expected = run(path, image), run(in_float, image)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=0.1)
    assert described(path)["precision"] == "int8"


def test_nothing_is_overwritten(model, tmp_path):
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(FileExistsError, match=f"Received: filepath=.*{name}"):
            model.export(tmp_path / "model.xml", format="openvino")
        assert [x.read_text() for x in tmp_path.iterdir()] == ["mine"]
        (tmp_path / name).unlink()


def test_other_names_and_precisions_are_refused(model, tmp_path):
    for name, options, message in (
        ("model.onnx", {}, r"must end with '\.xml'. Received: filepath=.*model\.onnx"),
        ("model.xml", {"precision": "float16"}, "float32, bfloat16, int8. Received"),
        ("model.xml", {"precision": "int8"}, "int8 needs calibration images"),
    ):
        with pytest.raises(ValueError, match=message):
            model.export(tmp_path / name, format="openvino", **options)


@pytest.mark.parametrize("missing", ["openvino", "onnxruntime.quantization"])
def test_a_missing_package_is_said_with_what_to_install(model, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install keras3-maskrcnn\[.*Received: .*" + missing):
        model.export(
            tmp_path / "model.xml",
            format="openvino",
            precision="int8",
            calibration=np.zeros((1, 64, 96, 3), np.uint8),
        )
    assert not list(tmp_path.iterdir())
