import json

import pytest
from tiny_exports import CONFIG, describe

from keras_maskrcnn.runtime.description import read_description


def changed(**fields):
    """A description with other values; None removes a field."""
    content = {**json.loads(describe()), **fields}
    return json.dumps({name: value for name, value in content.items() if value is not None})


def test_a_description_gives_its_config():
    found, config = read_description("m.onnx", describe(precision="int8"))
    assert found["precision"] == "int8" and config == CONFIG


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "m.onnx: its description is not JSON"),
        ("[" * 100_000, "m.onnx: its description is not JSON"),
        ("[]", "no 'config', or a damaged one"),
        (changed(config="7"), "no 'config', or a damaged one"),
        (changed(precision=None), "no 'precision', or a damaged one"),
        (changed(config={"new_field": 1}), "no such config field.*new_field.*written by 0.2.0"),
        (changed(config={"nms_iou": 3}), "nms_iou must be in 0..1.*written by 0.2.0"),
    ],
)
def test_another_text_is_refused_in_one_line(text, words):
    with pytest.raises(ValueError, match=words) as error:
        read_description("m.onnx", text)
    assert "\n" not in str(error.value)
