import pathlib
import runpy
import sys

from PIL import Image
from tiny_runs import data_flags, make_shapes

TESTS = pathlib.Path(__file__).parents[1]
EXAMPLES = TESTS.parent / "examples"


def test_predictions_stand_beside_the_truth(tmp_path, monkeypatch):
    make_shapes(tmp_path / "shapes", train=1, val=3, size=64)
    flags = [
        f"--model={TESTS / 'version_0_1' / 'run' / 'model.keras'}",
        *data_flags(tmp_path / "shapes", "val"),
        f"--output={tmp_path / 'picture.png'}",
        "--names=000003.png,000001.png",
        "--columns=1",
    ]
    monkeypatch.setattr(sys, "argv", ["side_by_side.py", *flags])
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / "side_by_side.py"), run_name="__main__")
    with Image.open(tmp_path / "picture.png") as picture:
        width, height = picture.size
    assert 1000 < width < 1200 and 1000 < height < 1300  # two pairs, each enlarged to 512 pixels
