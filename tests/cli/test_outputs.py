def test_numbers_that_cannot_be_written_are_printed_even_if_quiet(
    broken, run, scored, monkeypatch, capsys
):
    def full(path, content, indent=None):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("keras_maskrcnn.cli.outputs.write_json", full)
    assert run("evaluate", broken / "metrics.json", "--quiet") == 1
    printed = capsys.readouterr()
    assert printed.out == f"{'bbox/AP':<24} 0.2500\n"
    assert "No space left on device" in printed.err and "metrics.json" in printed.err
