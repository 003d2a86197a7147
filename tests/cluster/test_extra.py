import sys

import pytest

from keras_maskrcnn.cluster.extra import explained


def test_without_beam_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    line = r"pip install keras3-maskrcnn\[beam\]. Received: imp"
    with pytest.raises(ImportError, match=line), explained():
        import apache_beam  # noqa: F401
