"""The model's Keras steps are traced once, and report each loss and share."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as mrcnn
from keras_maskrcnn.model import LOSSES, SHARES, MaskRCNN
from keras_maskrcnn.steps import StepHook, TrainSteps


@pytest.fixture
def model(tiny_config):
    model = MaskRCNN(tiny_config)
    model.compile(optimizer=mrcnn.training.sgd(0.01, warmup_steps=0))
    return model


def dataset(batch, steps):
    return tf.data.Dataset.from_tensors(batch).repeat(steps)


def test_shares_count_every_box_alike_however_many_slots_a_batch_has(model):
    model.count_share("proposal_recall", [[True]], [[True]])
    model.count_share("proposal_recall", [[False, False, True]], [[True, True, False]])
    assert float(model.trackers["proposal_recall"].result()) == pytest.approx(1 / 3)


def of_two_sizes(batch, steps):
    """Batches of unknown number whose images differ in width, with the spec of `data.batches`."""
    inputs, gt = batch
    wider = {**inputs, "images": np.pad(inputs["images"], [[0, 0], [0, 0], [0, 32], [0, 0]])}
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), batch)
    specs[0]["images"] = tf.TensorSpec([2, None, None, 3])
    batches = [(inputs, gt), (wider, gt)] * (steps // 2)
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=specs)


@pytest.fixture
def traced(monkeypatch):
    """A list that gets "training" or "test" for each trace of the losses."""
    traces, original = [], MaskRCNN.compute_losses

    def losses(self, inputs, gt, training=True):
        traces.append("training" if training else "test")
        return original(self, inputs, gt, training=training)

    monkeypatch.setattr(MaskRCNN, "compute_losses", losses)
    return traces


def test_fit_traces_each_step_once_and_reports_each_loss(model, batch, traced):
    data = of_two_sizes(batch, 4)
    history = model.fit(data, validation_data=data.take(1), epochs=2, verbose=0).history
    assert traced == ["training", "test"]
    assert int(model.optimizer.iterations) == 8
    names = {"loss", *LOSSES, *SHARES}
    assert set(history) == names | {f"val_{name}" for name in names}


@pytest.mark.slow  # cli/test_training_runs.py compares a stopped run to the bit
def test_the_same_seed_trains_the_same_weights(tiny_config, batch):
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = MaskRCNN(tiny_config)
        model.compile(optimizer=mrcnn.training.sgd(0.01, warmup_steps=0))
        model.fit(dataset(batch, 3), verbose=0)
        weights.append(model.get_weights())
    for first, second in zip(*weights, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_xla_is_never_chosen(model):
    assert model.jit_compile is False


@pytest.mark.slow  # two traces of a training step
def test_a_second_fit_takes_masks_of_another_side(model, batch):
    inputs, gt = batch
    wide = {**gt, "masks": np.repeat(np.repeat(gt["masks"], 2, axis=2), 2, axis=3)}
    for targets in (gt, wide, gt):
        history = model.fit(dataset((inputs, targets), 2), verbose=0)
        assert np.isfinite(history.history["mask"]).all()


class Recorder(StepHook, keras.callbacks.Callback):
    """Records the order of hooks and their arguments while the step is traced."""

    def __init__(self, name, seen):
        super().__init__()
        self.name, self.seen = name, seen

    def around_step(self, step, inputs, gt):
        self.seen.append((self.name, sorted(gt)))
        terms, counts = step(inputs, gt)
        self.seen.append((self.name, sorted(terms)))
        return terms, counts


class NeverApplies(StepHook, keras.callbacks.Callback):
    """Skips every step."""

    def around_step(self, step, inputs, gt):
        return step(inputs, gt, lambda terms, gradients: tf.constant(False))


@pytest.fixture
def quick(model, quick_losses):
    """A model with quick losses."""
    return model


# Without (2, 2): on two CPU devices, any model of Keras fails with several steps per execution.
@pytest.mark.parametrize(("replicas", "steps_per_execution"), [(1, 1), (1, 2), (2, 1)])
def test_training_and_test_are_traced_once_for_images_of_all_sizes(
    tiny_config, batch, quick_losses, traced, two_devices, replicas, steps_per_execution
):
    with two_devices.scope() if replicas == 2 else contextlib.nullcontext():
        model = MaskRCNN(tiny_config)
        model.compile(mrcnn.training.sgd(0.01), steps_per_execution=steps_per_execution)
    data = of_two_sizes(batch, 4)
    model.fit(data, validation_data=data, epochs=2, verbose=0)
    model.fit(data.repeat(), steps_per_epoch=2, verbose=0)
    model.evaluate(data, verbose=0)
    assert sorted(traced) == ["test"] * replicas + ["training"] * replicas
    assert keras.ops.convert_to_numpy(model.optimizer.iterations) == 4 + 4 + 2


def test_replicas_of_a_worker_predict_their_parts_without_the_other_workers(two_devices):
    class Doubles(TrainSteps):
        distribute_strategy, run_eagerly = two_devices, False

        def predict_step(self, data):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            alone.append(int(tf.get_static_value(replica)))
            return {"images": 2 * data["images"]}

    alone, model = [], Doubles()
    model.make_trackers([], [])
    for size in (2, 3, 4):
        images = np.arange(size * 2.0).reshape(2, size)
        found = model.predict_alone([{"images": images[0]}, {"images": images[1]}])
        np.testing.assert_array_equal([part["images"] for part in found], 2 * images)
    assert alone == [0, 1, 0, 1]  # traced for one size, and for all others


def test_hooks_are_around_the_step_the_first_of_the_list_outermost(quick, batch):
    seen = []
    callbacks = [Recorder("a", seen), keras.callbacks.Callback(), Recorder("b", seen)]
    quick.fit(dataset(batch, 2), callbacks=callbacks, verbose=0)
    gt, terms = ["boxes", "labels", "masks"], ["mask"]
    assert seen == [("a", gt), ("b", gt), ("b", terms), ("a", terms)]  # one trace
    quick.fit(dataset(batch, 1), verbose=0)
    assert len(seen) == 4  # hooks stay for one `fit` only


def test_a_step_that_does_not_count_changes_no_weight_and_no_mean(quick, batch):
    before = quick.get_weights()
    history = quick.fit(dataset(batch, 2), callbacks=[NeverApplies()], verbose=0).history
    assert history["mask"] == history["loss"] == [0.0]
    assert all(np.array_equal(a, b) for a, b in zip(before, quick.get_weights(), strict=True))
    history = quick.fit(dataset(batch, 1), verbose=0).history
    assert history["mask"] == history["loss"] == [1.0]
    assert not np.array_equal(before[-1], quick.get_weights()[-1])


def test_a_hook_that_sees_every_step_refuses_several_in_one_execution(quick, batch):
    quick.compile(mrcnn.training.sgd(0.01, warmup_steps=0), steps_per_execution=2)
    line = "a Sentinel must see every step. Received: steps_per_execution=2."
    with pytest.raises(ValueError, match=line):
        quick.fit(dataset(batch, 2), callbacks=[mrcnn.training.Sentinel()], verbose=0)
