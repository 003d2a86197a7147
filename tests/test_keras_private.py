"""If a test fails, Keras or TensorFlow renamed a private name: adapt keras_private.py."""

import functools
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn
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


def test_a_distributed_data_set_has_the_number_of_steps_that_was_set(two_devices):
    numbers = tf.data.Dataset.range(6).batch(1)
    distributed = two_devices.distribute_datasets_from_function(lambda context: numbers)
    assert int(distributed.cardinality) == 6
    keras_private.set_cardinality(distributed, 3)
    # Fails if Keras counts steps in another way.
    adapter = keras.src.trainers.data_adapters.get_data_adapter(distributed)
    assert adapter.num_batches == 3 == len(list(distributed))


def test_there_are_no_other_workers_to_tell_without_a_cluster():
    assert keras_private.tell_other_workers("a line") is None  # fails if the name is gone


def test_registered_gradients_hold_one_for_each_custom_gradient_in_a_graph():
    names = []

    @tf.function
    def double(x):
        y = tf.custom_gradient(lambda x: (2 * x, lambda upstream: 2 * upstream))(x)
        names.extend([keras_private.gradient_of(y.op), keras_private.gradient_of(x.op)])
        return y

    before = set(keras_private.registered_gradients())
    double.get_concrete_function(tf.TensorSpec([]))
    assert set(keras_private.registered_gradients()) - before == {names[0]}
    assert names[1] == ""


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


def test_the_outermost_graph_is_that_of_the_function_around_branches_and_functions():
    graphs = []

    @tf.function
    def inner(x):
        graphs.append(tf.compat.v1.get_default_graph())
        return x

    @tf.function
    def outer(x):
        graphs.append(tf.compat.v1.get_default_graph())
        return tf.cond(x > 0, lambda: inner(x), lambda: x)

    outer.get_concrete_function(tf.TensorSpec([]))
    assert graphs[0] is not graphs[1]
    assert [keras_private.outermost_graph(graph) for graph in graphs] == [graphs[0]] * 2


def test_keras_calls_the_method_that_a_built_model_overrides(monkeypatch):
    class Model(keras_private.BuiltModel):
        def train_step(self, data):
            return {"loss": 0.0}

    calls, name = [], "_maybe_symbolic_build"
    monkeypatch.setattr(
        keras_private.BuiltModel, name, lambda *args, **kwargs: calls.append(kwargs)
    )
    model = Model()
    model.built = True
    model.compile(run_eagerly=True)
    model.fit(np.zeros([1, 2]), verbose=0)
    assert len(calls) == 1 and set(calls[0]) <= {"iterator", "data_batch"}
    assert hasattr(keras.Model, name)


def test_a_call_of_evaluate_by_fit_is_known():
    class Model(keras.Sequential):
        def evaluate(self, *args, **kwargs):
            calls.append(keras_private.is_called_by_fit(kwargs))
            return super().evaluate(*args, **kwargs)

    calls, model, data = [], Model([keras.layers.Dense(1)]), np.zeros([1, 1])
    model.compile(loss="mse", run_eagerly=True)
    model.fit(data, data, validation_data=(data, data), verbose=0)
    model.evaluate(data, data, verbose=0)
    assert calls == [True, False]


def test_a_renamed_name_is_in_the_error_with_the_versions():
    line = rf"Keras {keras.__version__} and TensorFlow {tf.__version__} .*: int without _layers\."
    with pytest.raises(RuntimeError, match=line):
        keras_private.layers_inside(1)


@functools.cache
def private_names(cls):
    """Returns the set of private names that a class sets, in its body or in `self`."""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):  # written in C, or made at run time
        source = ""
    names = {*vars(cls), *re.findall(r"\bself\.(\w+)(?:, self\.\w+)*(?:: [^=\n]+)? = ", source)}
    names |= set(re.findall(r", self\.(\w+)(?:, self\.\w+)* = ", source))
    return {x for x in names if re.match("_(?!_|abc_|is_protocol)", x)}


def test_no_class_overrides_a_private_name_by_chance():
    """Keras may call a method of ours that has the name of one of its own."""
    shared = {}
    for found in pkgutil.walk_packages(keras_maskrcnn.__path__, "keras_maskrcnn."):
        if found.name.endswith(("__main__", "tfds_coco")):  # TFDS asks builders for such methods
            continue
        if found.name.startswith("keras_maskrcnn.cluster.") and not find_spec("apache_beam"):
            continue
        for cls in vars(importlib.import_module(found.name)).values():
            if not inspect.isclass(cls) or cls.__module__ != found.name:
                continue
            bases = [x for x in cls.__mro__ if not x.__module__.startswith("keras_maskrcnn")]
            theirs = {name for base in bases for name in private_names(base)}
            if private_names(cls) & theirs:
                shared[cls.__name__] = private_names(cls) & theirs
    assert shared == {"BuiltModel": {"_maybe_symbolic_build"}}
