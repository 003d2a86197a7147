"""Fixtures: the tiny exported files of tiny_exports.py."""

import numpy as np
import pytest
from tiny_exports import describe, write_onnx


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory):
    """An ONNX file."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(path, describe())
    return path


@pytest.fixture(scope="session")
def openvino_file(onnx_file):
    """An OpenVINO IR of the same graph."""
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    model = openvino.Core().read_model(onnx_file)
    model.set_rt_info(describe(), "keras_maskrcnn")
    path = onnx_file.with_suffix(".xml")
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


@pytest.fixture(scope="session")
def gray():
    """An image whose pixels are 102 = 0.4 x 255, so that the scores are 0.4 and 0.2."""
    return np.full((30, 40, 3), 102, np.uint8)
