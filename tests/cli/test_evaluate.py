import json


def test_evaluate_makes_its_folder_and_names_what_it_could_not_read(broken, run, scored, capsys):
    output = broken / "no" / "such" / "metrics.json"
    assert run("evaluate", output) == 1
    assert json.loads(output.read_text()) == {"bbox/AP": 0.25, "unreadable": ["b.png"]}
    printed = capsys.readouterr()
    assert printed.out == f"{'bbox/AP':<24} 0.2500\n"
    assert "1 of 3 images could not be read" in printed.err
    assert run("evaluate", output, "--overwrite", "--on_error=skip", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
