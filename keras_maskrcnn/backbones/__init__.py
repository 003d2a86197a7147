"""Backbones from outside: networks of keras.applications, of KerasHub, and yours."""

from keras_maskrcnn.backbones.adopting import from_keras
from keras_maskrcnn.backbones.building import build

__all__ = ["build", "from_keras"]
