"""Names of Keras that are private and that we need, each read in one place.

tests/test_keras_private.py says which is missing when Keras renames one.
"""


def innermost(optimizer):
    """Returns the optimizer inside of a LossScaleOptimizer, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def batches_seen(optimizer):
    """Returns the variable that counts an optimizer's batches, () int.

    The public `iterations` counts changes of the weights: it stands still while gradients are
    accumulated.
    """
    return innermost(optimizer)._iterations


def learning_rate_or_schedule(optimizer):
    """Returns what an optimizer's rate was set to: a variable, or a LearningRateSchedule.

    The public `learning_rate` is a number in both cases.
    """
    return getattr(innermost(optimizer), "_learning_rate", None)


def layers_inside(layer):
    """Returns the list of a layer's own layers, in the order of a model's graph.

    The public `layers` is an attribute of models alone.
    """
    return layer._layers
