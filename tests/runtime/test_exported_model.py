import copy
import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from outside import IMPORTED_FROM
from PIL import Image
from tiny_exports import BOXES, CONFIG, SAVED_MODEL, describe, write_onnx

from keras_maskrcnn.data import DataError
from keras_maskrcnn.detections import predict_image
from keras_maskrcnn.ops import masks as mask_ops
from keras_maskrcnn.runtime import ExportedModel, is_exported

FILES = [
    pytest.param("onnx_file", "onnxruntime", id="onnxruntime"),
    pytest.param("onnx_file", "openvino", id="onnx_in_openvino"),
    pytest.param("openvino_file", None, id="openvino"),
]


@pytest.fixture
def opened(request):
    """Returns a function that opens a file, given by the name of its fixture."""

    def opened(name, runtime=None, **options):
        path = request.getfixturevalue(name)
        pytest.importorskip(runtime or "openvino", reason="needs an extra")
        return ExportedModel(path, runtime=runtime, **options)

    return opened


@pytest.mark.parametrize(("file", "runtime"), FILES)
def test_an_image_gives_what_predict_image_gives(opened, gray, file, runtime):
    found = opened(file, runtime).predict(gray)
    np.testing.assert_array_equal(found["boxes"], BOXES[:2])
    np.testing.assert_allclose(found["scores"], [0.4, 0.2], rtol=1e-6)
    assert found["labels"].tolist() == [2, 1] and found["class_names"] == ("cell", "dot")
    whole = mask_ops.paste_binary(np.ones((4, 4)), BOXES[0], 30, 40)
    np.testing.assert_array_equal(found["masks"][0], whole)
    assert found["masks"].shape == (2, 30, 40) and found["masks"].dtype == bool
    assert {name: value.dtype for name, value in found.items() if name in ("boxes", "labels")} == {
        "boxes": np.float32,
        "labels": np.int32,
    }


def test_a_photo_on_its_side_is_turned_if_asked(opened, tmp_path):
    upright = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    exif, model, seen = Image.Exif(), opened("onnx_file", "onnxruntime"), []
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    run = model._file.run
    model._file.run = lambda given: seen.append(given["images"][0]) or run(given)
    assert model.predict(tmp_path / "a.png")["masks"].shape[1:] == (40, 30)
    found = model.predict(tmp_path / "a.png", orientation="apply")
    assert found["masks"].shape[1:] == (30, 40)
    np.testing.assert_array_equal(seen[0], np.rot90(upright))
    np.testing.assert_array_equal(seen[1], upright)


@pytest.mark.parametrize(("file", "runtime"), FILES)
def test_a_batch_gives_padded_outputs_of_each_image(opened, gray, file, runtime):
    model = opened(file, runtime, threads=1)
    found = model.predict_on_batch(np.stack([gray, gray // 2, gray * 0]))
    expected = [[0.4, 0.2, 0], [0.2, 0.1, 0], [0, 0, 0]]
    np.testing.assert_allclose(found["scores"], expected, atol=1e-6)
    assert found["num_detections"].tolist() == [2, 2, 0]
    again = model.predict_on_batch(gray[None])  # the first outputs stay as they are
    assert found["masks"].shape == (3, 3, 4, 4) and again["masks"].shape == (1, 3, 4, 4)
    np.testing.assert_allclose(found["scores"], expected, atol=1e-6)


def test_the_description_is_that_of_the_export(opened):
    model = opened("onnx_file", "onnxruntime")
    assert model.class_names == ("cell", "dot") and model.category_ids == (7, 11)
    assert model.description["keras_maskrcnn"] == "0.2.0" and model.config.num_classes == 2
    assert model.runtime == "onnxruntime"


def test_a_path_a_pil_image_and_an_array_give_the_same(opened, gray, tmp_path):
    Image.fromarray(gray).save(tmp_path / "a.png")
    model = opened("onnx_file", "onnxruntime")
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(gray)):
        assert model.predict(image)["scores"].tolist() == model.predict(gray)["scores"].tolist()
    assert predict_image(model, gray)["labels"].tolist() == [2, 1]


def test_low_scores_are_left_out(opened, gray):
    model = opened("onnx_file", "onnxruntime")
    assert model.predict(gray, 0.3)["labels"].tolist() == [2]
    assert model.predict(gray, score_threshold=0.9)["masks"].shape == (0, 30, 40)


def test_inputs_with_defaults_can_be_replaced(opened, gray):
    file = "onnx_file", "onnxruntime"
    assert opened(*file, score_threshold=0.3).predict(gray)["labels"].tolist() == [2]
    assert opened(*file, detections_per_image=1).predict(gray)["labels"].tolist() == [2]
    model = opened(*file, nms_iou=0.25)
    np.testing.assert_allclose(model.predict(gray)["scores"], [0.4, 0.1], rtol=1e-6)
    assert model.config.nms_iou == 0.25 and model.config.score_threshold == 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"score_threshold": 2},
            r"must be in 0\.\.1\. Received: score_threshold=2",
        ),
        ({"detections_per_image": 0}, "must be positive. Received: detections_per_image=0"),
        ({"threads": 0}, r"threads must be a whole number of at least 1\. Received: threads=0"),
        ({"threads": 1.5}, r"Received: threads=1\.5"),
        ({"runtime": "tensorrt"}, "one of onnxruntime, .* Received: runtime='tensorrt'"),
        (
            {"runtime": "tensorflow"},
            "runs in onnxruntime or openvino. Received: runtime=",
        ),
    ],
)
def test_bad_arguments_are_refused(onnx_file, options, words):
    with pytest.raises(ValueError, match=words):
        ExportedModel(onnx_file, **options)


@pytest.mark.parametrize(("file", "runtime"), FILES[1:])
def test_openvino_cannot_replace_constants(opened, file, runtime):
    with pytest.raises(ValueError, match=r"fixed nms_iou in openvino; .*with_config\(nms_iou="):
        opened(file, runtime, nms_iou=0.3)


# Bad images


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), np.uint8), r"Received: shape=\(4, 4\), dtype=uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"Received: shape=\(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "dtype=float32"),
        (np.zeros((0, 4, 3), np.uint8), r"at least one pixel.* shape=\(0, 4, 3\)"),
        ([[1]], r"array, a PIL image or a path\. Received: image=\[\[1\]\]"),
    ],
)
def test_an_image_of_another_kind_is_refused(opened, image, words):
    with pytest.raises(ValueError, match=words):
        opened("onnx_file", "onnxruntime").predict(image)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"images must be a \(B, H, W, 3\) .*shape=\(4, 4, 3\)"),
        (np.zeros((1, 4, 4, 3)), "dtype=float64"),
        (np.zeros((1, 4, 4, 1), np.uint8), r"shape=\(1, 4, 4, 1\)"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"at least one pixel.*shape=\(0, 4, 4, 3\)"),
        (np.zeros((1, 4, 0, 3), np.uint8), r"at least one pixel.*shape=\(1, 4, 0, 3\)"),
        ([np.zeros((4, 4, 3), np.uint8)], "Received: <class 'list'>"),
    ],
)
def test_a_batch_of_another_kind_is_refused(opened, images, words):
    with pytest.raises(ValueError, match=words):
        opened("onnx_file", "onnxruntime").predict_on_batch(images)


def test_an_image_file_that_cannot_be_read_is_refused(opened, tmp_path):
    model = opened("onnx_file", "onnxruntime")
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="a.png: not an image"):
        model.predict(tmp_path / "a.png")
    with pytest.raises(DataError, match="b.png: image file does not exist"):
        model.predict(tmp_path / "b.png")
    with pytest.raises(ValueError, match="score_threshold must be in 0..1. Received: .*=7"):
        model.predict(tmp_path / "a.png", 7)


def test_an_error_of_the_runtime_is_one_line(opened, monkeypatch, gray):
    model = opened("onnx_file", "onnxruntime")

    def fail(inputs):
        raise OSError(text)

    monkeypatch.setattr(model._file, "run", fail)
    for text, kind in (("a\n b", RuntimeError), ("cannot allocate\n 9 bytes", MemoryError)):
        line = f"onnxruntime cannot run .*model.onnx on shape=.*: {' '.join(text.split())}$"
        with pytest.raises(kind, match=line):
            model.predict(gray)


# Bad files


def test_files_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder. Received: .*m.onnx"):
        ExportedModel(tmp_path / "m.onnx")
    (tmp_path / "m.keras").touch()
    for path in (tmp_path, tmp_path / "m.keras"):
        with pytest.raises(ValueError, match="must be a .onnx or .xml file, or a Saved"):
            ExportedModel(path)
        assert not is_exported(path)
    assert is_exported("any.onnx") and is_exported("any.xml") and is_exported(SAVED_MODEL)


@pytest.mark.parametrize(
    ("name", "runtime"),
    [("m.onnx", "onnxruntime"), ("m.onnx", "openvino"), ("m.xml", "openvino")],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path, name, runtime):
    pytest.importorskip(runtime, reason="needs an extra")
    for content in (b"", b"no model\n" * 99):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read by {runtime}.*damaged") as e:
            ExportedModel(tmp_path / name, runtime=runtime)
        assert "\n" not in str(e.value) and len(str(e.value)) < 600


def test_a_damaged_saved_model_is_told_in_one_line(tmp_path):
    shutil.copytree(SAVED_MODEL, tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(ValueError, match="cannot be read by tensorflow.*damaged"):
        ExportedModel(tmp_path)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_of_another_program_is_refused(tmp_path, runtime):
    pytest.importorskip(runtime, reason="needs an extra")
    write_onnx(tmp_path / "m.onnx", None)
    with pytest.raises(ValueError, match="m.onnx was not written by model.export .*has no"):
        ExportedModel(tmp_path / "m.onnx", runtime=runtime)


def test_a_file_for_images_of_one_size_is_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    write_onnx(tmp_path / "m.onnx", describe(), fixed=True)
    with pytest.raises(ValueError, match="images of one size only; export .* without image_size"):
        ExportedModel(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("runtime", "extra"), [("onnxruntime", r"\[onnx\]"), ("openvino", r"\[openvino\]")]
)
def test_a_missing_runtime_is_told_with_its_extra(onnx_file, monkeypatch, runtime, extra):
    monkeypatch.setitem(sys.modules, runtime, None)
    words = f"model.onnx needs {runtime}: pip install {runtime}, or .*keras3-maskrcnn{extra}"
    with pytest.raises(ImportError, match=words):
        ExportedModel(onnx_file, runtime=runtime)


# Without TensorFlow

PROGRAM = """
import sys

class Refused:  # stands for an environment without them
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refused())
from keras_maskrcnn.runtime import ExportedModel
model = ExportedModel({path!r}, runtime={runtime!r})
print(len(model.predict({image!r})["masks"]))
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
HEAVY = {"tensorflow", "keras", "pycocotools", "absl", "h5py", "tensorboard", "yaml", "google"}


def imported(onnx_file, tmp_path, runtime, refused):
    """Predicts in a new process; returns the packages that it imported."""
    pytest.importorskip(runtime, reason="needs an extra")
    exif = Image.Exif()
    exif[0x0112] = 6  # there is a remark to log
    Image.new("RGB", (40, 30), (102, 102, 102)).save(tmp_path / "a.jpg", exif=exif)
    program = PROGRAM.format(
        refused=refused, path=str(onnx_file), runtime=runtime, image=str(tmp_path / "a.jpg")
    )
    environment = {**os.environ, "PYTHONPATH": str(IMPORTED_FROM), "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 image has an orientation tag" in done.stderr
    count, modules = done.stdout.splitlines()
    assert count == "2"
    return set(modules.split())


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_neither_tensorflow_nor_keras_is_imported_even_if_they_are_there(
    onnx_file, tmp_path, runtime
):
    modules = imported(onnx_file, tmp_path, runtime, refused=set())
    assert {runtime, "numpy", "PIL", "keras_maskrcnn"} <= modules
    assert not modules & (HEAVY - {"absl", "google"})


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_it_works_where_only_numpy_pillow_and_the_runtime_are_installed(
    onnx_file, tmp_path, runtime
):
    assert not imported(onnx_file, tmp_path, runtime, refused=HEAVY) & HEAVY


# SavedModels


@pytest.fixture(scope="module")
def old():
    """A SavedModel of version 0.1, and what it found."""
    with np.load(SAVED_MODEL.parent / "found.npz") as file:
        return ExportedModel(SAVED_MODEL), dict(file)


def test_a_saved_model_of_version_0_1_finds_what_it_found(old):
    model, found = old
    assert model.runtime == "tensorflow"
    outputs = model.predict_on_batch(found["image"][None])
    for name, value in outputs.items():
        np.testing.assert_allclose(value, found[f"serving_{name}"], rtol=1e-4, atol=1e-4)
    assert model.predict(found["image"])["masks"].shape[1:] == found["image"].shape[:2]


def test_a_saved_model_cannot_replace_what_is_in_its_graph():
    with pytest.raises(ValueError, match="a fixed score_threshold in tensorflow"):
        ExportedModel(SAVED_MODEL, score_threshold=0.5)


def test_a_saved_model_without_its_description_is_refused(tmp_path):
    shutil.copytree(SAVED_MODEL, tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "assets.extra")
    with pytest.raises(ValueError, match="1 was not written by .*no assets.extra/model.json"):
        ExportedModel(tmp_path)


def test_masks_in_another_form_are_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    write_onnx(tmp_path / "m.onnx", describe(masks="rle"))
    with pytest.raises(ValueError, match="with masks='soft'. Received: masks='rle'"):
        ExportedModel(tmp_path / "m.onnx")


def test_a_file_without_an_output_of_its_task_is_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    rpn = dataclasses.replace(CONFIG, task="proposals")
    write_onnx(tmp_path / "m.onnx", describe(rpn))
    with pytest.raises(ValueError, match="m.onnx lacks outputs of a model with task='proposals'"):
        ExportedModel(tmp_path / "m.onnx")


def test_with_config_leaves_the_model_as_it_is(opened, gray):
    model = opened("onnx_file", "onnxruntime", nms_iou=0.25)
    other = model.with_config(score_threshold=0.2, mask_paste="torchvision")
    assert other.predict(gray)["labels"].tolist() == [2]
    assert other.config.nms_iou == 0.25 and other.config.mask_paste == "torchvision"
    assert model.predict(gray)["labels"].tolist() == [2, 1]
    with pytest.raises(ValueError, match="fixed image_min_side in onnxruntime"):
        model.with_config(image_min_side=64)
    with pytest.raises(TypeError, match="score_thresh'"):
        model.with_config(score_thresh=0.2)


def test_a_copy_shares_the_session_and_a_pickle_opens_the_file_again(opened, gray):
    model = opened("onnx_file", "onnxruntime", nms_iou=0.25, threads=1)
    assert copy.copy(model)._file is model._file
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other._file is not model._file and other.config == model.config
        np.testing.assert_array_equal(other.predict(gray)["boxes"], model.predict(gray)["boxes"])


@pytest.mark.parametrize(("file", "runtime"), FILES)
def test_threads_may_share_a_model(opened, gray, file, runtime):
    model = opened(file, runtime)
    images = [gray // (1 + i % 3) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        for image, found in zip(images, pool.map(model.predict, images), strict=True):
            np.testing.assert_array_equal(found["scores"], model.predict(image)["scores"])
