"""Pure functions on boxes, anchors and masks: no weights, no config."""
