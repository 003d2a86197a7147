"""Explains why annotated objects were not detected."""

from keras_maskrcnn.explaining.explanation import COLORS, FOUND, Explanation, explain, summary

__all__ = ["COLORS", "FOUND", "Explanation", "explain", "summary"]
