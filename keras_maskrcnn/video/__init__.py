"""Prediction on videos and on folders of frames, with tracks (docs/video.md).

Nothing here needs Keras or TensorFlow, so exported models work too.
"""

from keras_maskrcnn.video.predicting import FrameResult, check_config, predict_video
from keras_maskrcnn.video.reading import Frame, Frames, is_video, open_frames
from keras_maskrcnn.video.tracking import Tracker, track_colors
from keras_maskrcnn.video.writing import VideoWriter

__all__ = [
    "Frame",
    "FrameResult",
    "Frames",
    "Tracker",
    "VideoWriter",
    "check_config",
    "is_video",
    "open_frames",
    "predict_video",
    "track_colors",
]
