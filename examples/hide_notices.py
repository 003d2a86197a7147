"""Hides TensorFlow's start-up notices in the examples; imported before TensorFlow.

It runs the package's file without the package, as importing that imports TensorFlow.
"""

import pathlib
import runpy

QUIET = pathlib.Path(__file__).parents[1] / "keras_maskrcnn" / "quiet.py"

runpy.run_path(str(QUIET))["hide_notices"]()
