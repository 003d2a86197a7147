import json

import pytest

from keras_maskrcnn import cli, data
from keras_maskrcnn.data.formats import READERS


def test_convert_and_fix_make_their_folders(broken, capsys):
    read = [f"--images={broken / 'images'}", f"--annotations={broken / 'ann.json'}", "--quiet"]
    output = broken / "new" / "folder" / "a.json"
    assert cli.run(["convert", "--format=coco_json", *read, f"--output={output}"]) == 0
    assert len(json.loads(output.read_text())["images"]) == 3
    fixed = broken / "newer" / "fixed.json"
    cli.run(["validate", *read, f"--fix={fixed}"])  # b.png is an error
    assert json.loads(fixed.read_text())["images"]


def convert(shapes, output, *flags, images=None):
    images = images or shapes / "train"
    return cli.run(["convert", f"--images={images}", f"--output={output}", *flags])


def test_convert_writes_what_is_kept_of_a_coco_json(shapes, tmp_path, capsys):
    content = json.loads((shapes / "annotations" / "train.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "a.json").write_text(json.dumps(content))
    flags = ["--format=coco_json", f"--annotations={tmp_path / 'a.json'}"]
    assert convert(shapes, tmp_path / "b.json", *flags) == 0
    content["annotations"].pop(0)
    assert json.loads((tmp_path / "b.json").read_text()) == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]
    printed = capsys.readouterr().out
    assert f"6 images, {len(content['annotations'])} instances, 3 classes" in printed
    assert "dropped 1: annotation with iscrowd=1" in printed
    assert convert(shapes, tmp_path / "b.json", *flags) == 1
    assert "b.json exists; pass --overwrite" in capsys.readouterr().err
    assert convert(shapes, tmp_path / "b.json", *flags, "--overwrite", "--quiet") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("names", ["cat,dog", "classes.txt"])
def test_convert_makes_a_coco_json_of_another_format(shapes, tmp_path, names):
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    names = names if "," in names else tmp_path / names
    for i in range(1, 7):
        (tmp_path / f"{i:06d}.txt").write_text(f"{i % 2} 0.1 0.1 0.9 0.1 0.5 0.9")
    flags = ["--format=yolo_seg", f"--annotations={tmp_path}", f"--class_names={names}"]
    assert convert(shapes, tmp_path / "a.json", *flags) == 0
    dataset = data.coco_json(shapes / "train", tmp_path / "a.json")
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [2, 1, 2, 1, 2, 1]


def test_convert_names_what_it_cannot_do_in_one_line(shapes, tmp_path, capsys):
    flags = ["--format=labelme", f"--annotations={tmp_path}"]
    assert convert(shapes, tmp_path / "a.json", *flags, "--split=train") == 1
    message = "--format=labelme has no flag --split. Received: split='train'."
    assert message in capsys.readouterr().err
    assert convert(shapes, tmp_path / "a.json", *flags) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "a.json").exists()
    assert convert(shapes, tmp_path / "a.json", "--format=tiff", "--annotations=x") == 2
    assert f"<{'|'.join(READERS)}>" in capsys.readouterr().err
