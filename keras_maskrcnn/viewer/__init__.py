"""Pictures of detections in large images: an overview, and a viewer page that pans and zooms.

Both need only NumPy and Pillow, and read the image window by window.
"""

from keras_maskrcnn.viewer.folder import write_viewer
from keras_maskrcnn.viewer.overview import draw_overview

__all__ = ["draw_overview", "write_viewer"]
