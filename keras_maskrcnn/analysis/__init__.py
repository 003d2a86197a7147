"""Numbers to decide by: errors by kind, thresholds, confusions, and whether B is better than A.

All of it works on COCO results and annotations, without a model and without TensorFlow.
"""

from typing import TYPE_CHECKING

from keras_maskrcnn.on_demand import names_on_demand

if TYPE_CHECKING:
    from keras_maskrcnn.analysis.matching import Matched, match

__all__ = ["Matched", "match"]
__getattr__, __dir__ = names_on_demand(__name__, {"matching": ["Matched", "match"]})
