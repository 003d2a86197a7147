"""data/errors.py."""

import pytest

from keras_maskrcnn import DataError, data
from keras_maskrcnn.data import errors


def test_an_error_of_data_is_one_line_of_a_kind():
    error = DataError("a\nb.json: no.\r", "broken json")
    assert str(error) == "a\\nb.json: no.\\r" and error.kind == "broken json"
    assert DataError("a").kind == "" and isinstance(error, ValueError)
    assert DataError is data.DataError is errors.DataError


def test_there_are_two_ways_with_an_error():
    for known in ("raise", "skip"):
        errors.check_on_error(known)
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip'. Received: on_error="):
        errors.check_on_error("ignore")
