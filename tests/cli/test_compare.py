import json

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import cli


@pytest.fixture
def compared(broken):
    """A data set whose images can be read, and the results of two models."""
    noise = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(broken / "images" / "b.png")
    right = {"category_id": 3, "bbox": [5, 5, 20, 20]}
    for name, scores in (("A", [0.9, 0.1]), ("B", [0.9, 0.8, 0.7])):
        results = [
            {**right, "file_name": f"{'abc'[i]}.png", "score": s} for i, s in enumerate(scores)
        ]
        (broken / f"{name}.json").write_text(json.dumps(results))
    return broken


def run(folder, *more, words=("A.json", "B.json")):
    given = [str(folder / word) for word in words]
    output = f"--output={folder / 'out'}"
    return cli.run(["compare", *given, f"--annotations={folder / 'ann.json'}", output, *more])


def test_compare_writes_json_and_pictures(compared, capsys):
    images = f"--images={compared / 'images'}"
    assert run(compared, "--resamples=20", images, "--pictures=5", "--score_threshold=0.5") == 0
    found = json.loads((compared / "out" / "comparison.json").read_text())
    assert found["a"].endswith("A.json") and found["b"].endswith("B.json")
    metric = found["metrics"]["bbox/AP"]
    assert metric["b"] == pytest.approx(1) and metric["a"] < 0.7
    better = found["images"]["better"]
    assert [entry["file_name"] for entry in better] == ["b.png", "c.png"]
    assert [entry["picture"] for entry in better] == ["better_001.png", "better_002.png"]
    with Image.open(compared / "out" / "better_001.png") as picture:
        assert picture.width > 3 * 60
    printed = capsys.readouterr().out
    assert "bbox/AP " in printed and "95 % interval" in printed and "2 images got better" in printed
    assert run(compared) == 1  # the folder is not empty
    assert "not empty" in capsys.readouterr().err


def test_files_may_be_given_as_flags_too(compared):
    words = f"--results={compared / 'A.json'},{compared / 'A.json'}"
    assert run(compared, words, "--resamples=5", "--quiet", words=()) == 0
    found = json.loads((compared / "out" / "comparison.json").read_text())
    assert found["metrics"]["bbox/AP"]["p"] == 1 and found["images"]["unchanged"] == 3


def test_two_files_are_needed(compared, capsys):
    assert run(compared, words=("A.json",)) == 1
    assert "compare needs two files of results" in capsys.readouterr().err
    assert run(compared, "--model=a.keras", "--model=b.keras", words=()) == 1
    assert "--model needs --images" in capsys.readouterr().err
    assert run(compared, "--pictures=1") == 1
    assert "--pictures needs --images" in capsys.readouterr().err
    assert run(compared, words=("A.json", "none.json")) == 1
    assert "no such file. Received: results=" in capsys.readouterr().err


def test_models_are_run_first(compared, model, monkeypatch):
    calls = []

    def predict_dataset(model, dataset, **options):
        calls.append(len(dataset))
        entry = {"category_id": 3, "bbox": [5, 5, 20, 20], "score": 0.9}
        return [{**entry, "image_id": i} for i in dataset.image_ids[: len(calls)]]

    monkeypatch.setattr("keras_maskrcnn.evaluation.predict_dataset", predict_dataset)
    flags = ["--model=a.keras", "--model=b.keras", f"--images={compared / 'images'}"]
    assert run(compared, *flags, "--resamples=5", words=()) == 0
    found = json.loads((compared / "out" / "comparison.json").read_text())
    assert run(compared, *flags, "--resamples=5", "--overwrite", "--quiet", words=()) == 0
    calls[2:] = []
    assert calls == [3, 3] and found["b"] == "b.keras" and len(found["images"]["better"]) == 1


def test_results_are_never_replaced(compared, capsys):
    (compared / "out").mkdir()
    results = compared / "out" / "comparison.json"
    results.write_text((compared / "A.json").read_text())
    assert run(compared, "--overwrite", words=("out/comparison.json", "B.json")) == 1
    assert "--output would replace --results" in capsys.readouterr().err
    assert json.loads(results.read_text())[0]["score"] == 0.9
