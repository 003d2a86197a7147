"""The end of a run, and its history file; test_backup.py tests how a resumed run uses it."""

import json

import pytest

from keras_maskrcnn import DataError
from keras_maskrcnn.training import HistoryFile, StopAfter


def test_epochs_of_a_run_that_goes_on_are_kept(tmp_path):
    path = tmp_path / "history.json"
    path.write_text(json.dumps([{"epoch": 1, "step": 3, "loss": 0.5}]))
    assert HistoryFile(path, resume=True).epochs == [{"epoch": 1, "step": 3, "loss": 0.5}]
    assert HistoryFile(path).epochs == []


@pytest.mark.parametrize("content", ['{"epoch', "3", "[3]", '[{"step": 1}]', '[{"epoch": "1"}]'])
def test_a_damaged_history_is_named(tmp_path, content):
    path = tmp_path / "history.json"
    path.write_text(content)
    with pytest.raises(DataError, match="history.json must be a JSON list of epochs"):
        HistoryFile(path, resume=True)


def test_the_folder_of_a_history_is_made_before_the_first_epoch(tmp_path):
    HistoryFile(tmp_path / "new" / "run" / "history.json").on_train_begin()
    assert (tmp_path / "new" / "run").is_dir()


def test_steps_are_at_least_one():
    with pytest.raises(ValueError, match="Received: steps=0"):
        StopAfter(0)
