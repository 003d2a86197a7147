import json
import os

import pytest
import tensorflow as tf

from keras_maskrcnn import MaskRCNN, cli

MORE = ["--masks=rle", "--max_pixels=9000", "--warmup_sizes=", "--score_threshold=0.9"]


def test_export_hands_its_flags_to_the_next_version(small_model, tmp_path, monkeypatch):
    flags = [f"--model={small_model}", f"--output={tmp_path / 'served'}", "--quiet"]
    calls, thresholds = [], []

    def export(model, path, kind, **options):
        calls.append((path, kind, options))
        thresholds.append(model.config.score_threshold)
        os.mkdir(path)

    monkeypatch.setattr(MaskRCNN, "export", export)
    assert cli.run(["export", *flags]) == 0
    assert calls == [(str(tmp_path / "served" / "1"), "tf_saved_model", {"verbose": False})]
    assert cli.run(["export", *flags, *MORE]) == 0
    path, kind, options = calls[1]
    assert (path, kind) == (str(tmp_path / "served" / "2"), "tf_saved_model")
    assert (options["masks"], options["max_pixels"]) == ("rle", 9000)
    assert len(options["warmup_sizes"]) == 0
    assert thresholds[1] == 0.9


@pytest.mark.slow  # tests/export/test_saved_model.py reads such a folder in each test run
def test_export_writes_the_next_version(small_model, tmp_path):
    flags = [f"--model={small_model}", f"--output={tmp_path / 'served'}", "--quiet"]
    (tmp_path / "served" / "1").mkdir(parents=True)
    assert cli.run(["export", *flags, *MORE]) == 0
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["1", "2"]
    extra = tmp_path / "served" / "2" / "assets.extra"
    assert [path.name for path in extra.iterdir()] == ["model.json"]  # no warm-up requests
    content = json.loads((extra / "model.json").read_text())
    assert (content["masks"], content["max_pixels"]) == ("rle", 9000)
    assert content["config"]["score_threshold"] == 0.9
    loaded = tf.saved_model.load(tmp_path / "served" / "2")
    assert set(loaded.signatures) == {"serving_default", "serve_image_bytes", "describe"}
