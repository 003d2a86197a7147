"""data/tfds_import.py: one line instead of protobuf's error."""

import pytest

from keras_maskrcnn.data.tfds_import import explained


class VersionError(Exception):
    """Stands for protobuf's error, which is no ImportError."""


def test_a_protobuf_that_is_too_old_is_named_with_the_remedy():
    text = "loading tensorflow_metadata/proto/v0/schema.proto:\n gencode 6.31.1 runtime 5.29.6"
    with pytest.raises(ImportError) as caught, explained():
        raise VersionError(text)
    message = str(caught.value)
    assert "\n" not in message and "gencode 6.31.1 runtime 5.29.6" in message
    assert message.startswith("tensorflow_datasets cannot be imported: ")
    assert 'pip install "tensorflow-metadata<1.18"' in message


def test_any_other_error_is_named_without_that_remedy():
    with pytest.raises(ImportError, match="imported: No module named 'promise'$"), explained():
        raise ModuleNotFoundError("No module named 'promise'")
