import json

import pytest
from tiny_runs import data_flags

from keras_maskrcnn import cli


def test_evaluate_makes_its_folder_and_names_what_it_could_not_read(broken, run, scored, capsys):
    output = broken / "no" / "such" / "metrics.json"
    assert run("evaluate", output) == 1
    assert json.loads(output.read_text()) == {"bbox/AP": 0.25, "unreadable": ["b.png"]}
    printed = capsys.readouterr()
    assert printed.out == f"{'bbox/AP':<24} 0.2500\n"
    assert "1 of 3 images could not be read" in printed.err
    assert run("evaluate", output, "--overwrite", "--on_error=skip", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_a_filled_folder_for_the_report_is_refused_before_the_evaluation(broken, run, capsys):
    output = broken / "metrics.json"
    assert run("evaluate", output, f"--report={broken}") == 1
    assert "the report's folder is not empty" in capsys.readouterr().err
    assert not output.exists()


def test_a_report_never_replaces_the_metrics_or_the_annotations(broken, run, capsys):
    flags = [f"--report={broken}", "--overwrite"]
    assert run("evaluate", broken / "report.json", *flags) == 1
    assert "--report would replace --output" in capsys.readouterr().err
    annotations = broken / "report.json"
    annotations.write_text("{}")
    assert run("evaluate", broken / "m.json", *flags, f"--annotations={annotations}") == 1
    assert "--report would replace --annotations" in capsys.readouterr().err


@pytest.mark.usefixtures("eager")
def test_evaluate_writes_24_numbers(small_model, shapes, tmp_path, capsys):
    output = tmp_path / "metrics.json"
    flags = [f"--model={small_model}", *data_flags(shapes, "val")]
    command = ["evaluate", *flags, f"--output={output}", "--max_detections=50"]
    assert cli.run([*command, f"--report={tmp_path / 'report'}"]) == 0
    assert (tmp_path / "report" / "report.html").is_file()
    metrics = json.loads(output.read_text())
    assert len(metrics) == 24
    assert {"bbox/AP", "segm/AP50", "segm/AR50"} <= set(metrics)
    assert "segm/AP75" in capsys.readouterr().out
    assert cli.run(["evaluate", *flags, f"--output={output}"]) == 1  # exists already
