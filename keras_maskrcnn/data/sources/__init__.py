"""Images of any size, of which windows are read. There is one file per kind of source.

Nothing here imports TensorFlow. Packages beyond NumPy and Pillow are imported where a file needs
them.
"""

from keras_maskrcnn.data.sources.opening import SUFFIXES, open_source, reading
from keras_maskrcnn.data.sources.source import Source

__all__ = ["SUFFIXES", "Source", "open_source", "reading"]
