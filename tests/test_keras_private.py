"""If a test fails, Keras or TensorFlow renamed a private name: adapt keras_private.py."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

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


def test_variables_have_the_index_in_which_an_optimizer_was_built():
    variables = [keras.Variable(np.zeros(2, np.float32)) for _ in range(3)]
    made = keras.optimizers.SGD()
    made.build(variables)
    assert [keras_private.variable_index(made, v) for v in variables] == [0, 1, 2]


@pytest.mark.parametrize("scaled", [False, True])
def test_an_optimizer_sums_gradients_of_replicas_again_after_without_summing(two_devices, scaled):
    with two_devices.scope():
        variable = keras.Variable(np.zeros(1, np.float32))
        inner = keras.optimizers.SGD(1.0)
        made = keras.optimizers.LossScaleOptimizer(inner, 1.0) if scaled else inner
        made.build([variable])

    def step(summed):
        def apply():
            made.apply([tf.ones(1)], [variable])

        def apply_without():
            with keras_private.without_summing(made):
                apply()

        two_devices.run(apply if summed else apply_without)
        return -variable.numpy()[0]

    assert step(False) == 1.0 and not {"_all_reduce_sum_gradients"} & set(vars(inner))
    assert step(True) == 3.0  # 1 + the sum of 1 over both replicas
    with pytest.raises(ZeroDivisionError), keras_private.without_summing(made):
        raise ZeroDivisionError
    assert "_all_reduce_sum_gradients" not in vars(inner)


def test_inputs_of_a_dataset_are_what_it_was_made_from():
    numbers = tf.data.Dataset.range(3)
    assert keras_private.inputs_of_dataset(numbers.take(2)) == [numbers]
    assert list(keras_private.inputs_of_dataset(numbers)) == []


def test_registered_gradients_hold_one_for_each_custom_gradient_in_a_graph():
    @tf.function
    def double(x):
        return tf.custom_gradient(lambda x: (2 * x, lambda upstream: 2 * upstream))(x)

    before = len(keras_private.registered_gradients())
    double.get_concrete_function(tf.TensorSpec([]))
    assert len(keras_private.registered_gradients()) == before + 1


@pytest.mark.parametrize(("value", "is_on"), [("0", "False"), ("1", "True")])
def test_tensorflow_says_whether_onednn_is_on(value, is_on):
    code = "from keras_maskrcnn import keras_private; print(keras_private.onednn_is_on())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": value},
    )
    assert done.stdout == f"{is_on}\n"


def test_a_released_iterator_has_lost_its_resource():
    iterator = iter(tf.data.Dataset.range(5))
    assert int(next(iterator)) == 0
    keras_private.release(iterator)
    with pytest.raises(AttributeError, match="_iterator_resource"):
        next(iterator)
