import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from keras_maskrcnn.runtime.with_onnxruntime import OnnxRuntime  # noqa: E402


def test_the_session_has_the_given_threads_and_writes_no_warning(onnx_file, gray, capfd):
    file = OnnxRuntime(str(onnx_file), 1)
    assert file._session.get_session_options().intra_op_num_threads == 1
    assert file.inputs == ["images"]
    assert set(file.defaults) == {"score_threshold", "nms_iou", "detections_per_image"}
    assert set(file.run({"images": gray[None]})) == set(file.outputs)
    assert capfd.readouterr() == ("", "")
    assert np.float32 == file.run({"images": gray[None]})["boxes"].dtype
