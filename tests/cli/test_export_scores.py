import types

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import cli
from keras_maskrcnn.cli.export_scores import read_val, refuse_shared


def test_an_image_that_is_scored_must_not_calibrate(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    refuse_shared(paths[:2], paths[2:])
    (tmp_path / "copy.png").write_bytes(paths[1].read_bytes())
    (tmp_path / "link.png").symlink_to(paths[2])
    for same, of in ((tmp_path / "copy.png", "b"), (tmp_path / "link.png", "c"), (paths[0], "a")):
        with pytest.raises(ValueError, match=rf"{same.name}, scored image .*{of}\.png"):
            refuse_shared([same], [*paths, tmp_path / "missing.png"])


def test_what_cannot_be_scored_is_refused_before_any_work(tmp_path):
    given = {"images": None, "annotations": None, "image_size": None, "masks": None}
    assert read_val(types.SimpleNamespace(**given), None) is None
    given["images"] = str(tmp_path)
    with pytest.raises(ValueError, match="go together. Received: --images only"):
        read_val(types.SimpleNamespace(**given), None)
    given["annotations"] = str(tmp_path / "val.json")
    for name, value in (("image_size", "64x96"), ("masks", "rle")):
        with pytest.raises(ValueError, match=f"any size, with soft masks.*{name}='{value}'"):
            read_val(types.SimpleNamespace(**{**given, name: value}), None)


@pytest.fixture
def int8(small_model, shapes, tmp_path):
    """A function that exports an INT8 file, with more flags, and returns the exit status."""

    def export(*flags, name="model.onnx", calibration=None):
        return cli.run(
            [
                "export",
                f"--model={small_model}",
                f"--output={tmp_path / name}",
                "--precision=int8",
                f"--calibration={calibration or shapes / 'train'}",
                f"--images={shapes / 'val'}",
                f"--annotations={shapes / 'annotations' / 'val.json'}",
                "--score_threshold=0",
                *flags,
            ]
        )

    return export


@pytest.mark.parametrize("kind", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_ap_is_printed_of_the_model_and_of_the_file(int8, small_model, tmp_path, capsys, kind):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("openvino", reason="openvino is not installed")
    name = {"onnx": "model.onnx", "openvino": "model.xml"}[kind]
    assert int8(f"--format={kind}", name=name) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line[1::2] for line in lines if "segm/AP" in line}
    assert rows == dict.fromkeys([str(small_model), str(tmp_path / name)], ["segm/AP", "bbox/AP"])


def test_images_of_both_sets_and_files_that_exist_are_refused(int8, shapes, tmp_path, capsys):
    assert int8("--format=onnx", calibration=shapes / "val") == 1
    assert "images to score on must not be calibration images" in capsys.readouterr().err
    assert not list(tmp_path.glob("model*"))
    (tmp_path / "model.onnx").write_text("mine")
    assert int8("--format=onnx") == 1
    assert "model.onnx exists" in capsys.readouterr().err
    assert (tmp_path / "model.onnx").read_text() == "mine"
