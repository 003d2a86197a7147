import sys

import pytest

from keras_maskrcnn.video import extra


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        ImportError, match=r"^x.mp4 is a video.*pip install .*\[video\]. Received: "
    ):
        extra.import_av("x.mp4")
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ImportError, match=r"^tracks need .*pip install .*\[track\]. Received: "):
        extra.import_trackers()
