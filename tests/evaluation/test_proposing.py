import numpy as np
import pytest
from oracles import Oracle, Proposer, truth_as_proposals

from keras_maskrcnn import data, distribution, evaluation


def test_propose_writes_what_the_model_proposes(dataset, tmp_path, capsys):
    proposals = truth_as_proposals(dataset, noise=4.0)
    model = Proposer(proposals)
    found = evaluation.propose(model, dataset, tmp_path / "p", batch_size=2)
    assert "5/5" in capsys.readouterr().out
    assert found.image_ids == tuple(dataset.image_ids)
    for image_id, (boxes, scores) in proposals.items():
        read = data.read_proposals(tmp_path / "p").get(image_id)
        np.testing.assert_array_equal(read[0], boxes.astype(np.float32))
        np.testing.assert_array_equal(read[1], scores.astype(np.float32))
    with pytest.raises(FileExistsError):
        evaluation.propose(model, dataset, tmp_path / "p", verbose=0)
    evaluation.propose(model, dataset, tmp_path / "p", overwrite=True, verbose=0)
    assert capsys.readouterr().out == ""


def test_propose_under_two_replicas_equals_one(dataset, two_devices, tmp_path):
    proposals = truth_as_proposals(dataset, noise=4.0)
    one = evaluation.propose(Proposer(proposals), dataset, tmp_path / "one", verbose=0)
    with two_devices.scope():
        model = Proposer(proposals)
    two = evaluation.propose(model, dataset, tmp_path / "two", verbose=0)
    for image_id in proposals:
        for left, right in zip(one.get(image_id), two.get(image_id), strict=True):
            np.testing.assert_array_equal(left, right)


def test_propose_refuses_a_detector(dataset, tmp_path):
    with pytest.raises(ValueError, match="task='proposals'. Received: task='masks'"):
        evaluation.propose(Oracle(dataset), dataset, tmp_path / "p", verbose=0)
    assert not (tmp_path / "p").exists()


def test_propose_refuses_several_workers(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(distribution, "worker", lambda strategy: (1, 2))
    with pytest.raises(ValueError, match="in a single process. Received: several workers"):
        evaluation.propose(Proposer(truth_as_proposals(dataset)), dataset, tmp_path / "p")


def test_an_image_that_cannot_be_read_has_no_proposals_and_does_not_count(broken, tmp_path):
    oracle = Proposer(truth_as_proposals(broken))
    found = evaluation.propose(oracle, broken, tmp_path / "p", on_error="skip", verbose=0)
    counts = [len(found.get(image_id)[1]) for image_id in broken.image_ids]
    assert counts[2] == 0 and all(counts[:2] + counts[3:])
    recall = evaluation.average_recall(found, broken, verbose=0)
    assert recall == evaluation.evaluate(oracle, broken, on_error="skip", verbose=0)
    assert recall["bbox/AR1000"] == 1
