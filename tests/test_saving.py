"""Old files stay until the new ones are complete."""

import os
import pathlib
import threading

import keras
import pytest

from keras_maskrcnn.model import MaskRCNN


def test_a_save_that_fails_leaves_the_file_before(tiny_config, tmp_path, monkeypatch):
    def fail(self, filepath, overwrite=True):
        pathlib.Path(filepath).write_text("half")
        raise OSError("the disk is full")

    path = tmp_path / "best.keras"
    path.write_text("before")
    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(OSError, match="the disk is full"):
        MaskRCNN(tiny_config).save(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_save_to_one_path_leave_a_whole_file(tiny_config, tmp_path):
    model, errors, barrier = MaskRCNN(tiny_config), [], threading.Barrier(2)

    def work(save, name):
        try:
            barrier.wait(timeout=60)
            save(tmp_path / name)
        except BaseException as error:
            errors.append(error)

    for save, name in ((model.save, "a.keras"), (model.save_weights, "a.weights.h5")):
        threads = [threading.Thread(target=work, args=[save, name]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert sorted(os.listdir(tmp_path)) == ["a.keras", "a.weights.h5"]
    keras.models.load_model(tmp_path / "a.keras")
    model.load_weights(tmp_path / "a.weights.h5")


def test_a_format_or_an_argument_that_there_is_not_is_refused(tiny_config, tmp_path):
    model = MaskRCNN(tiny_config)
    with pytest.raises(ValueError, match="onnx, openvino, litert. Received: format='pb'"):
        model.export(tmp_path / "served", format="pb")
    with pytest.raises(ValueError, match="its arguments are .*verbose.* Received: input_shape"):
        model.export(tmp_path / "served", input_shape=(1, 64, 64, 3))
