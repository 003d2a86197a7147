"""Why an annotated object was not detected."""

from keras_maskrcnn.explaining.explanation import COLORS, FOUND, Explanation, explain, summary

__all__ = ["COLORS", "FOUND", "Explanation", "explain", "summary"]
