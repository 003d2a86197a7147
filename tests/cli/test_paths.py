"""Outputs that are also inputs, and outputs that cannot be written, are refused before work."""

import json
import os
import pathlib

import pytest
from PIL import Image

from keras_maskrcnn import cli


@pytest.fixture
def folder(tmp_path):
    """A COCO json, a checkpoint and two images; they are stubs, as nothing is read."""
    (tmp_path / "images").mkdir()
    for name in ("ann.json", "model.keras", "w.npz", "images/a.png", "images/b.json"):
        (tmp_path / name).write_text(name)
    os.symlink(tmp_path / "ann.json", tmp_path / "link.json")
    os.link(tmp_path / "ann.json", tmp_path / "hard.json")
    os.symlink(tmp_path / "w.npz", tmp_path / "w.keras")
    (tmp_path / "report").mkdir()
    os.symlink(tmp_path / "ann.json", tmp_path / "report" / "report.json")
    return tmp_path


DATA = ["--overwrite", "--images=images", "--annotations=ann.json"]
MODEL = ["--model=model.keras"]
CASES = {
    "validate: the json": ["validate", *DATA, "--fix=ann.json"],
    "validate: a link": ["validate", *DATA, "--fix=link.json"],
    "validate: another name": ["validate", *DATA, "--fix=hard.json"],
    "validate: an image": ["validate", *DATA, "--fix=images/a.png"],
    "validate: the report": ["validate", *DATA, "--output=report"],
    "convert: the json": ["convert", *DATA, "--format=coco_json", "--output=./ann.json"],
    "convert: labelme": [
        "convert",
        "--overwrite",
        "--format=labelme",
        "--images=images",
        "--annotations=images",
        "--output=images/b.json",
    ],
    "evaluate: the json": ["evaluate", *DATA, *MODEL, "--output=hard.json"],
    "evaluate: the model": ["evaluate", *DATA, *MODEL, "--output=model.keras"],
    "evaluate: proposals": [
        "evaluate",
        *DATA,
        *MODEL,
        "--proposals=w.npz",
        "--output=w.npz",
    ],
    "import-weights": [
        "import-weights",
        "--overwrite",
        "--source=torchvision",
        "--checkpoint=w.npz",
        "--preset=mask_rcnn_resnet50_fpn_torchvision",
        "--output=w.keras",
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_no_command_replaces_its_input(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.run(CASES[name]) == 1
    printed = capsys.readouterr().err
    assert "would replace" in printed and len(printed.splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_repaired_copy_spares_a_json_called_new(folder, monkeypatch):
    """Version 0.1 wrote the copy to new.NAME first."""
    monkeypatch.chdir(folder)
    Image.new("RGB", (9, 9)).save(folder / "images" / "c.png")
    box = {"bbox": [1, 1, 5, 5], "area": 25, "segmentation": [[1, 1, 6, 1, 6, 6, 1, 6]]}
    content = {
        "images": [{"id": 1, "file_name": "c.png", "height": 9, "width": 9}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, **box}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (folder / "new.ann.json").write_text(json.dumps(content))
    before = (folder / "new.ann.json").read_bytes()
    argv = ["validate", "--images=images", "--annotations=new.ann.json", "--overwrite"]
    cli.run([*argv, "--fix=ann.json"])
    assert (folder / "new.ann.json").read_bytes() == before
    assert (folder / "ann.json").read_bytes() != b"ann.json"


def commands(folder):
    """Returns the argv, without --output, of every command that writes."""
    read = [f"--images={folder / 'images'}", f"--annotations={folder / 'ann.json'}"]
    model = ["--model=m.keras"]
    small = "--preset=mask_rcnn_resnet18_fpn_small"
    return {
        "train": ["train", *read, small],
        "evaluate": ["evaluate", *model, *read],
        "propose": ["propose", *model, *read],
        "predict": ["predict", *model, f"--input={folder / 'images'}"],
        "explain": ["explain", *model, *read],
        "export": ["export", *model],
        "export onnx": ["export", *model, "--format=onnx", "--image_size=64x64"],
        "import-weights": [
            "import-weights",
            "--source=torchvision",
            small,
            f"--checkpoint={folder / 'ann.json'}",
        ],
        "validate": ["validate", *read],
        "convert": ["convert", "--format=coco_json", *read],
    }


@pytest.mark.parametrize("name", list(commands(pathlib.Path())))
def test_an_output_below_a_file_is_refused_before_work(broken, scored, name, capsys):
    (broken / "file").write_text("text")
    argv = [*commands(broken)[name], f"--output={broken / 'file' / 'below' / 'x.keras'}"]
    assert cli.run(argv) == 1
    printed = capsys.readouterr()
    assert f"cannot write into {broken / 'file'} (Not a directory)" in printed.err
    assert "Received: output=" in printed.err
    assert printed.out == "" and not scored
    assert (broken / "file").read_text() == "text"


def test_a_folder_in_the_place_of_a_file_is_refused_before_work(broken, run, scored, capsys):
    (broken / "taken").mkdir()
    assert run("evaluate", broken / "taken", "--overwrite") == 1
    assert "output must be a file, not a folder. Received: output=" in capsys.readouterr().err
    assert not scored
