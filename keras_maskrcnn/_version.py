"""The version. Modules that must not import `keras_maskrcnn/__init__.py` read it here.

It is the newest release in CHANGELOG.md, or a development version of the next one
(docs/releasing.md).
"""

__version__ = "0.2.0.dev0"
