import pytest
from oracles import CATEGORY_IDS, Oracle

from keras_maskrcnn import data, evaluation


def test_evaluate_traces_once(dataset):
    model = Oracle(dataset)
    evaluation.evaluate(model, dataset, verbose=0)
    evaluation.evaluate(model, dataset, verbose=0)
    assert len(model.traces) == 1


def test_evaluate_under_two_replicas_equals_one(dataset, two_devices):
    expected = evaluation.predict_dataset(Oracle(dataset, noise=4.0), dataset, verbose=0)
    with two_devices.scope():
        model = Oracle(dataset, noise=4.0)
    assert model.distribute_strategy.num_replicas_in_sync == 2
    # Five images: in the last step two replicas share one image.
    assert evaluation.predict_dataset(model, dataset, batch_size=1, verbose=0) == expected
    assert evaluation.predict_dataset(model, dataset, batch_size=2, verbose=0) == expected


def test_an_image_that_cannot_be_read_is_raised_or_left_out_and_named(broken, caplog):
    oracle = Oracle(broken)
    with pytest.raises(data.DataError, match="2.png"):
        evaluation.evaluate(oracle, broken, verbose=0)
    metrics = evaluation.evaluate(oracle, broken, on_error="skip", batch_size=2, verbose=0)
    assert broken.skipped == {"2.png": 1} and "left out: 2.png" in caplog.text
    results = evaluation.predict_dataset(oracle, broken, on_error="skip", verbose=0)
    others = [image_id for i, image_id in enumerate(broken.image_ids) if i != 2]
    assert sorted({result["image_id"] for result in results}) == others
    ids = dict(image_ids=others, category_ids=CATEGORY_IDS)
    assert metrics == evaluation.evaluate_results(results, broken.annotations, **ids)
    assert metrics["segm/AP"] > 0.9  # objects of the skipped image do not count as missed


def test_that_no_image_can_be_read_is_an_error(broken, monkeypatch):
    def load_image(index):
        raise data.DataError("broken")

    monkeypatch.setattr(broken, "load_image", load_image)
    with pytest.raises(data.DataError, match="none of 5 images can be read"):
        evaluation.evaluate(Oracle(broken), broken, on_error="skip", verbose=0)


def test_evaluate_is_silent_or_shows_progress(dataset, capsys):
    evaluation.evaluate(Oracle(dataset), dataset, verbose=0)
    assert capsys.readouterr().out == ""
    evaluation.evaluate(Oracle(dataset), dataset, verbose=1)
    assert "5/5" in capsys.readouterr().out
