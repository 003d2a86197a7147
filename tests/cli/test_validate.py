"""cli/validate.py: reports, the repaired copy, and what is refused."""

import json

import pytest
from doctor.faults import make

from keras_maskrcnn import cli


def run(folder, path, *flags):
    return cli.run(["validate", f"--images={folder}", f"--annotations={path}", *flags])


def test_the_command_writes_reports_and_a_repaired_copy(tmp_path, capsys):
    folder, path = make(tmp_path, "NaN in box")
    output, fixed = tmp_path / "out", tmp_path / "fixed.json"
    flags = [
        f"--output={output}",
        f"--fix={fixed}",
        "--image_size=64",
        "--anchor_sizes=8,16,32,64,128",
    ]
    assert run(folder, path, *flags) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(
        "keras-maskrcnn validate: training would fail. Received: errors=1"
    )
    assert printed.err.count("\n") == 1 and "annotation 3: bbox must be" in printed.err
    assert "training would fail" in printed.out and "bbox is now the mask's extent" in printed.out
    report = json.loads((output / "report.json").read_text())
    assert report["severities"]["error"] == 1
    assert report["repairs"] == ["annotation 3: bbox is now the mask's extent"]
    assert (output / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert run(folder, fixed, "--quiet") == 0
    assert capsys.readouterr() == ("", "")

    first = (output / "report.json").read_bytes(), (output / "report.html").read_bytes()
    assert run(folder, path, *flags) == 1
    assert "exists; pass --overwrite or another --output" in capsys.readouterr().err
    assert run(folder, path, flags[1]) == 1
    assert "exists; pass --overwrite or another --fix" in capsys.readouterr().err
    assert run(folder, path, *flags, "--overwrite") == 1
    assert first == ((output / "report.json").read_bytes(), (output / "report.html").read_bytes())
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "10.png",
        "9.png",
        "a.json",
        "fixed.json",
        "out",
    ]


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--fix={path}", "--fix would replace --annotations."),
        ("--preset=mask_rcnn", "no such preset"),
    ],
)
def test_the_command_refuses(tmp_path, capsys, flag, line):
    folder, path = make(tmp_path)
    before = path.read_bytes()
    assert run(folder, path, flag.format(path=path), "--overwrite") == 1
    assert line in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_json_that_is_missing_is_one_line(tmp_path, capsys):
    assert run(tmp_path, tmp_path / "none.json", "--quiet") == 1
    assert "none.json: cannot be read as json" in capsys.readouterr().err
    flags = [f"--fix={tmp_path / 'none.json'}", f"--output={tmp_path / 'out'}"]
    assert run(tmp_path, tmp_path / "none.json", *flags) == 1
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["report.html", "report.json"]
    assert cli.run(["validate", "--annotations=a.json"]) == 2
