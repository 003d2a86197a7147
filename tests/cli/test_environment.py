import json

import pytest

from keras_maskrcnn import cli, environment


@pytest.fixture
def collected(monkeypatch):
    """Replaces the report; returns a list of the values of `measure`."""
    calls = []

    def collect(measure):
        calls.append(measure)
        return {"python": "3.11.7"}

    monkeypatch.setattr(environment, "collect", collect)
    monkeypatch.setattr(environment, "text", lambda report: f"Python {report['python']}")
    return calls


def test_it_prints_the_report(collected, capsys):
    assert cli.run(["environment"]) == 0
    assert capsys.readouterr().out == "Python 3.11.7\n" and collected == [True]


def test_it_writes_the_report_as_json_and_replaces_no_file(collected, tmp_path, capsys):
    path = tmp_path / "new" / "environment.json"
    argv = ["environment", f"--output={path}", "--quiet", "--nomeasure"]
    assert cli.run(argv) == 0 and collected == [False]
    assert json.loads(path.read_text()) == {"python": "3.11.7"}
    assert cli.run(argv) == 1 and collected == [False]  # refused before any work
    assert cli.run([*argv, "--overwrite"]) == 0
    assert capsys.readouterr().out == ""
