"""The version. Modules that must not import `keras_maskrcnn/__init__.py` read it here."""

__version__ = "0.1.0"
