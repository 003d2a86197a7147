"""Training on several devices and machines; docs/distribution.md is the guide.

`replicas.py` is internal: it has what a training step needs when several replicas share a batch.
"""

from keras_maskrcnn.aliases import moved
from keras_maskrcnn.distribution.processes import (
    STRATEGIES,
    gather,
    is_chief,
    make_strategy,
    worker,
)

__all__ = ["STRATEGIES", "gather", "is_chief", "make_strategy", "worker"]
__getattr__ = moved(
    __name__,
    {
        name: f"keras_maskrcnn.distribution.replicas:{name}"
        for name in (
            "choose",
            "concat_over_replicas",
            "first_image",
            "mean_over_replicas",
            "moments",
            "not_empty",
            "part_of_batch",
            "sum_gradients",
            "summed_before",
        )
    },
)
