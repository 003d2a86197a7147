"""The version, importable from below `keras_maskrcnn/__init__.py`."""

__version__ = "0.1.0"
