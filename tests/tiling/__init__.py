"""A package, because other folders have a `test_predicting.py`, too."""
