import pytest
import tensorflow as tf


def test_an_unknown_format_is_refused(lively, tiny_config, tmp_path):
    with pytest.raises(ValueError, match="format='torch'"):
        lively(tiny_config).export(tmp_path / "model", format="torch")


def test_options_that_an_export_lacks_are_named_with_those_it_has(lively, tiny_config, tmp_path):
    model = lively(tiny_config)
    for options, message in (
        ({"input_signature": [tf.TensorSpec([1, 64, 96, 3])]}, "fixed inputs.*: input_signature"),
        ({"opset_version": 18}, "tf_saved_model .* are masks, precision, .*: opset_version"),
        ({"format": "onnx", "masks": "rle"}, "onnx .* are image_size, batch_size, .*: masks"),
    ):
        with pytest.raises(ValueError, match=message):
            model.export(tmp_path / "served", **options)
    assert not list(tmp_path.iterdir())
