import pytest

from keras_maskrcnn.ops.portable import is_portable, portable


def test_portable_ends_with_its_block():
    with pytest.raises(RuntimeError), portable():
        assert is_portable()
        raise RuntimeError
    assert not is_portable()
