"""A name of these that fails was renamed by Keras: its reader in keras_private.py has to follow."""

import keras
import numpy as np

from keras_maskrcnn import keras_private


def optimizer(accumulate=None, **kwargs):
    made = keras.optimizers.SGD(gradient_accumulation_steps=accumulate, **kwargs)
    variable = keras.Variable(np.zeros(2, np.float32))
    made.build([variable])
    return made, variable


def test_batches_are_counted_while_gradients_are_accumulated():
    made, variable = optimizer(accumulate=2)
    for _ in range(3):
        made.apply([np.ones(2, np.float32)], [variable])
    assert int(keras_private.batches_seen(made)) == 3 and int(made.iterations) == 1


def test_the_innermost_optimizer_counts_under_loss_scaling():
    made, _ = optimizer()
    scaled = keras.optimizers.LossScaleOptimizer(made)
    assert keras_private.innermost(scaled) is made is keras_private.innermost(made)
    assert keras_private.batches_seen(scaled) is keras_private.batches_seen(made)


def test_a_schedule_is_told_from_a_number():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    made, _ = optimizer(learning_rate=schedule)
    assert keras_private.learning_rate_or_schedule(made) is schedule
    made, _ = optimizer(learning_rate=0.5)
    assert float(keras_private.learning_rate_or_schedule(made)) == 0.5


def test_layers_inside_are_those_of_the_graph_in_order():
    inputs = keras.Input([2])
    first, second = keras.layers.Dense(3), keras.layers.Dense(4)
    model = keras.Model(inputs, second(first(inputs)))
    assert [x for x in keras_private.layers_inside(model) if x.weights] == [first, second]
