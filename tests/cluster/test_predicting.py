"""The pipelines. They need the extra beam, and take minutes:

python -m pytest -m slow -n0 tests/cluster
"""

import json
import pathlib
import runpy
import subprocess

import pytest
from PIL import Image

pytest.importorskip("apache_beam", reason="needs the extra beam")

from keras_maskrcnn.cluster import predicting  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "cluster.py"))
IMAGES, BROKEN = 60, 3
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `images`, of which some are broken, `model`, and `alone`: what predict says."""
    folder = tmp_path_factory.mktemp("cluster") / "folder"
    BENCHMARK["prepare"](folder, IMAGES, BROKEN)
    BENCHMARK["predict_alone"](folder)
    return folder


def predict(folder, output, **options):
    """Predicts in this process; returns the counts and the text of the results."""
    source = options.pop("source", str(folder / "images"))
    counts = predicting.predict(str(folder / "model"), source, str(output), **options)
    return counts, (output / "predictions.json").read_bytes()


def test_killed_workers_lose_nothing(folder):
    command = BENCHMARK["predict_command"](folder, workers=2)
    killed = BENCHMARK["run_and_kill"](command, folder / "beam", IMAGES, kills=1)
    assert len(killed) == 1
    assert BENCHMARK["compare"](folder, IMAGES, BROKEN).endswith("has the same bytes.")


def test_what_is_done_is_not_done_again(folder, tmp_path):
    expected = json.loads((folder / "alone" / "predictions.json").read_bytes())
    counts, found = predict(folder, tmp_path, shard_size=8, batch_size=4)
    score, box, _ = BENCHMARK["difference"](json.loads(found), expected)
    assert score < 1e-5 and box < 1e-3
    shards = sorted((tmp_path / "shards").iterdir())
    shards[0].unlink()
    again, found_again = predict(folder, tmp_path, shard_size=8, batch_size=4)
    assert again == counts and found_again == found
    todo = (tmp_path / "todo.jsonl").read_text().splitlines()
    assert 0 < len(todo) <= 8 and set(shards[1:]) < set((tmp_path / "shards").iterdir())
    modified = (tmp_path / "todo.jsonl").stat().st_mtime_ns
    assert predict(folder, tmp_path)[0] == counts
    assert (tmp_path / "todo.jsonl").stat().st_mtime_ns == modified  # no pipeline has run


def test_a_list_dead_letters_and_another_try(folder, tmp_path):
    good = sorted((folder / "images").iterdir())[0]
    bad, missing = tmp_path / "bad.png", tmp_path / "missing.png"
    bad.write_bytes(good.read_bytes()[:50])
    listed = tmp_path / "list.txt"
    listed.write_text(f"{missing}\n{good}\n{bad}\n")
    output, options = tmp_path / "output", {"source": str(listed), "read_attempts": 1}
    counts, _ = predict(folder, output, **options)
    assert (counts["predicted"], counts["dead_letters"], counts["missing"]) == (1, 2, 0)
    dead = [json.loads(line) for line in (output / "dead_letters.jsonl").read_text().splitlines()]
    assert [one["uri"] for one in dead] == [str(missing), str(bad)]
    assert "No such file" in dead[0]["error"] and "decoded" in dead[1]["error"]
    Image.open(good).save(missing)
    assert predict(folder, output, **options)[0] == counts  # dead letters are answers
    counts, found = predict(folder, output, retry_dead=True, **options)
    assert (counts["predicted"], counts["dead_letters"]) == (2, 1)
    names = [one["file_name"] for one in json.loads(found)]
    assert names == sorted(names, key=[str(missing), str(good)].index) and str(missing) in names


def test_bad_arguments_end_the_command_with_one_line(folder, tmp_path):
    command = BENCHMARK["predict_command"](folder, workers=1)
    for flag, told in (
        (f"--model={tmp_path}", "an exported model must be"),
        (f"--input={tmp_path}", "input must be a folder of images"),
        ("--shard_size=0", "shard_size must be at least 1"),
    ):
        done = subprocess.run([*command, flag], capture_output=True, text=True)
        assert done.returncode == 1 and told in done.stderr and "Traceback" not in done.stderr
