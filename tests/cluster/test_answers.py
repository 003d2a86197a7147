import json

import pytest

from keras_maskrcnn.cluster.answers import Answers, answer, dead_letter, require_complete
from keras_maskrcnn.data import DataError
from keras_maskrcnn.writers import ImageRecord, open_writer

NAMES = ["b.png", "a/é.png", "c.png", "d.png"]


def result(name, score):
    return {"file_name": name, "category_id": 7, "bbox": [0.1, 2.0, 3.5, 1 / 3], "score": score}


def lines(*entries):
    return [json.dumps(entry) for entry in entries]


GOOD = [
    answer(NAMES[1], [result(NAMES[1], 0.9), result(NAMES[1], 0.3)], ["turned"]),
    answer(NAMES[0], [result(NAMES[0], 0.7)]),
    answer(NAMES[3], []),
]
DEAD = dead_letter(NAMES[2], "gs://x/c.png", OSError("truncated\nfile"))


def test_the_results_are_in_the_order_of_the_list_and_not_of_the_shards():
    with Answers(NAMES) as answers:
        answers.add(lines(*GOOD[1:]), "1.jsonl")
        answers.add(lines(DEAD, GOOD[0]), "2.jsonl")
        found = json.loads("".join(answers.predictions()))
        assert [one["file_name"] for one in found] == [NAMES[0], NAMES[1], NAMES[1]]
        (dead,) = map(json.loads, answers.dead_letters())
        assert dead == {"file_name": "c.png", "uri": "gs://x/c.png", "error": "truncated file"}
        counts = answers.counts()
        assert answers.remarks == {"turned": [NAMES[1]]}
    assert counts == {
        "images": 4,
        "predicted": 3,
        "dead_letters": 1,
        "missing": 0,
        "detections": 3,
    }
    require_complete(counts)


def test_the_text_is_that_of_predict(tmp_path):
    boxes = [[[0.1, 2, 3.6, 2 + 1 / 3]], [[1, 2, 3, 4.7], [0, 0, 1, 1]], []]
    with open_writer("rle", tmp_path) as writer:
        for name, corners in zip(NAMES, boxes, strict=False):
            found = {"boxes": corners, "scores": [0.7] * len(corners), "labels": [1] * len(corners)}
            writer.add(ImageRecord(name, 20, 30), found)
    text = (tmp_path / "predictions.json").read_text()
    with Answers(NAMES[:3]) as answers:
        per_image = [[one for one in json.loads(text) if one["file_name"] == n] for n in NAMES[:3]]
        answers.add(lines(*map(answer, NAMES, per_image)), "1.jsonl")
        assert "".join(answers.predictions()) == text


def test_an_image_that_two_workers_did_counts_once():
    with Answers(NAMES) as answers:
        answers.add(lines(*GOOD, *GOOD), "1.jsonl")
        answers.add(lines(*GOOD), "2.jsonl")
        assert answers.counts()["predicted"] == 3 and answers.counts()["detections"] == 3
        assert answers.remarks == {"turned": [NAMES[1]]}


@pytest.mark.parametrize("first", [0, 1])
def test_results_replace_a_dead_letter_in_any_order(first):
    both = lines(dead_letter(NAMES[0], "x", "no network"), GOOD[1])
    with Answers(NAMES[:1]) as answers:
        answers.add([both[first]], "1.jsonl")
        answers.add([both[1 - first]], "2.jsonl")
        assert answers.counts()["predicted"] == 1 and not list(answers.dead_letters())


def test_what_is_missing_and_what_is_tried_again():
    with Answers(NAMES) as answers:
        assert answers.missing() == [0, 1, 2, 3]
        answers.add(lines(GOOD[0], DEAD), "1.jsonl")
        assert answers.missing() == [0, 3] and answers.missing(retry_dead=True) == [0, 2, 3]
        with pytest.raises(RuntimeError, match="images=4, predicted=1, dead_letters=1"):
            require_complete(answers.counts())


def test_nothing_but_dead_letters_is_an_error():
    with Answers(NAMES[2:3]) as answers:
        answers.add(lines(DEAD), "1.jsonl")
        assert "".join(answers.predictions()) == "[]\n"
        with pytest.raises(DataError, match="no image could be read"):
            require_complete(answers.counts())


def test_strangers_are_counted_and_left_out():
    with Answers(NAMES[:1]) as answers:
        answers.add(lines(*GOOD), "1.jsonl")
        assert answers.strangers == 2 and answers.counts()["predicted"] == 1


@pytest.mark.parametrize("line", ['{"file_name": "a", "resu', "[]", '{"file_name": "b.png"}', "{}"])
def test_a_damaged_shard_is_named_and_left_out(line):
    with Answers(NAMES) as answers:
        with pytest.raises(ValueError, match=r"^7\.jsonl: line 2 must be the answer of an image"):
            answers.add([*lines(GOOD[1]), line], "7.jsonl")
        assert answers.counts()["predicted"] == 0


def test_an_image_that_is_listed_twice_is_refused():
    with pytest.raises(ValueError, match="once. Received twice: 'b.png'"):
        Answers([*NAMES, "b.png"])
