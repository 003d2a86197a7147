import logging
import sys

from absl import logging as absl_logging

from keras_maskrcnn.logger import logger


def test_warnings_go_to_absl_and_without_it_to_python(monkeypatch):
    assert logger() is absl_logging
    monkeypatch.setitem(sys.modules, "absl", None)
    assert logger() is logging.getLogger("keras_maskrcnn")
