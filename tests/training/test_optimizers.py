import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.training import SGD, WarmupSteps, sgd


class Variables(keras.layers.Layer):
    """A kernel, a gamma and a beta (the names in norms); all have the same value."""

    def __init__(self):
        super().__init__()
        start = keras.initializers.Constant(2.0)
        names = ("kernel", "gamma", "beta")
        self.all = [self.add_weight(name=n, shape=(1,), initializer=start) for n in names]


def torch_sgd(weight, gradients, *, learning_rate, momentum, weight_decay):
    """torch.optim.SGD, after its documentation (dampening 0, no Nesterov)."""
    buffer = None
    for gradient in gradients:
        gradient = gradient + weight_decay * weight
        buffer = gradient if buffer is None else momentum * buffer + gradient
        weight = weight - learning_rate * buffer
    return weight


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.2), (1, 0.4), (4, 1.0), (9, 1.0), (10, 0.1), (19, 0.1), (20, 0.01), (1000, 0.01)],
)
def test_rate_rises_and_then_falls_in_steps(step, rate):
    schedule = WarmupSteps(1.0, warmup_steps=5, milestones=(10, 20), decay=0.1)
    assert float(schedule(step)) == pytest.approx(rate, rel=1e-6)


def test_rate_without_warmup_is_full_at_once():
    assert float(WarmupSteps(0.5)(0)) == 0.5


def test_rate_takes_the_iterations_of_an_optimizer():
    optimizer = keras.optimizers.SGD(WarmupSteps(1.0, warmup_steps=4))
    optimizer.iterations.assign(2)
    assert float(optimizer.learning_rate) == 0.75


def test_schedule_round_trips():
    schedule = WarmupSteps(0.3, 7, [10, 20], 0.5)
    stored = keras.saving.serialize_keras_object(schedule)
    assert keras.saving.deserialize_keras_object(stored).get_config() == schedule.get_config()


def test_sgd_equals_torch_s():
    kernel = Variables().all[0]
    optimizer = SGD(0.1, momentum=0.9, l2=0.5)
    gradients = [1.0, -2.0, 0.5]
    for gradient in gradients:
        optimizer.apply([tf.constant([gradient])], [kernel])
    expected = torch_sgd(2.0, gradients, learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    np.testing.assert_allclose(kernel, [expected], rtol=1e-6)


def test_scales_and_shifts_of_norms_do_not_decay():
    variables = Variables().all
    optimizer = SGD(0.1, momentum=0.0, l2=0.5)
    optimizer.apply([tf.zeros([1])] * 3, variables)
    # The kernel loses 0.1 * 0.5 * 2.
    np.testing.assert_allclose(np.concatenate(variables), [1.9, 2.0, 2.0], rtol=1e-6)


def test_without_undecayed_names_everything_decays():
    variables = Variables().all
    optimizer = SGD(0.1, momentum=0.0, l2=0.5, undecayed=())
    optimizer.apply([tf.zeros([1])] * 3, variables)
    np.testing.assert_allclose(np.concatenate(variables), [1.9, 1.9, 1.9], rtol=1e-6)
    assert SGD.from_config(optimizer.get_config()).undecayed == ()


def test_no_decay_without_l2():
    kernel = Variables().all[0]
    SGD(0.1, l2=0.0).apply([tf.zeros([1])], [kernel])
    np.testing.assert_array_equal(kernel, [2.0])


def test_decay_is_not_clipped():
    # The gradient of 30 is clipped to 3; then the decay of 0.5 * 2 is added, as in torch.
    kernel = Variables().all[0]
    SGD(0.1, momentum=0.0, l2=0.5, global_clipnorm=3.0).apply([tf.constant([30.0])], [kernel])
    np.testing.assert_allclose(kernel, [2 - 0.1 * (3 + 1)], rtol=1e-6)


def test_two_replicas_step_like_one(two_devices):
    with two_devices.scope():
        variables = Variables().all
        optimizer = SGD(0.1, momentum=0.9, l2=0.5)
        optimizer.build(variables)

    @tf.function
    def step():
        def replica():
            optimizer.apply([tf.fill([1], 0.5)] * 3, variables)  # summed over replicas: 1

        two_devices.run(replica)

    for _ in range(2):
        step()
    kernel = torch_sgd(2.0, [1, 1], learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    norm = torch_sgd(2.0, [1, 1], learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    np.testing.assert_allclose(
        np.concatenate([v.numpy() for v in variables]), [kernel, norm, norm], rtol=1e-6
    )


def test_optimizer_round_trips():
    optimizer = sgd(0.3, warmup_steps=7, milestones=(10,), weight_decay=0.5, clip_norm=2.0)
    stored = keras.saving.serialize_keras_object(optimizer)
    restored = keras.saving.deserialize_keras_object(stored)
    assert isinstance(restored, SGD)
    assert restored.l2 == 0.5
    assert restored.global_clipnorm == 2.0
    restored.iterations.assign(3)
    assert float(restored.learning_rate) == pytest.approx(0.3 * 4 / 7)


def test_rates_that_are_no_rates_are_named():
    with pytest.raises(ValueError, match="Received: learning_rate=-1"):
        sgd(-1)
