import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import Oracle

from keras_maskrcnn import evaluation


@pytest.mark.filterwarnings("ignore:Early stopping conditioned")  # epochs without evaluation
def test_callback_writes_into_the_logs_of_later_callbacks(dataset):
    seen = []

    class Reader(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs.get("val_segm/AP"))

    class Trained(Oracle):
        def train_step(self, data):
            return {"loss": tf.constant(0.0)}

    model = Trained(dataset)
    model.compile()
    callback = evaluation.CocoEvaluation(dataset, every=2)
    stop = keras.callbacks.EarlyStopping("val_segm/AP", mode="max", patience=9)
    x = np.zeros((2, 1), np.float32)
    history = model.fit(x, epochs=4, verbose=0, callbacks=[callback, Reader(), stop])
    assert seen[0] is None and seen[2] is None and seen[1] == seen[3] > 0.9
    assert history.history["val_segm/AP"] == [seen[1], seen[3]]
    assert stop.best == seen[1]
    assert len(model.traces) == 1


def test_callback_refuses_every_zero(dataset):
    with pytest.raises(ValueError, match="every=0"):
        evaluation.CocoEvaluation(dataset, every=0)


def test_callbacks_that_go_by_a_loss_are_told_of_an_ap(dataset, caplog):
    caplog.set_level("WARNING", logger="absl")
    checkpoint = keras.callbacks.ModelCheckpoint
    evaluation.CocoEvaluation(dataset).look_at_others(
        [
            keras.callbacks.EarlyStopping(restore_best_weights=True),
            checkpoint("best.keras", save_best_only=True, monitor="val_mask"),
            keras.callbacks.ReduceLROnPlateau(),
            checkpoint("every.keras"),  # saves after every epoch
            checkpoint("best.keras", save_best_only=True, monitor="val_segm/AP", mode="max"),
            keras.callbacks.CSVLogger("log.csv"),
        ]
    )
    found = [record.getMessage() for record in caplog.records]
    assert [line.partition(": ")[0] for line in found] == [
        "EarlyStopping(monitor='val_loss')",
        "ModelCheckpoint(monitor='val_mask')",
        "ReduceLROnPlateau(monitor='val_loss')",
    ]
    assert all('use monitor="val_segm/AP"' in line for line in found)


def test_measures_of_an_epoch_and_wrong_options(dataset):
    with pytest.raises(ValueError, match=r"Received: measures=\['iou'\]"):
        evaluation.CocoEvaluation(dataset, measures=["iou"])
    with pytest.raises(ValueError, match="Received: engine='fast'"):
        evaluation.CocoEvaluation(dataset, engine="fast")
    callback = evaluation.CocoEvaluation(dataset, measures=["dsb"], measures_threshold=0.1)
    callback.set_model(Oracle(dataset))
    logs = {}
    callback.on_epoch_end(0, logs)
    assert 0.5 < logs["val_dsb/score"] <= 1
