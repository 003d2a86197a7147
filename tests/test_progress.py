import itertools

import pytest

from keras_maskrcnn import progress
from keras_maskrcnn.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Makes each look at the clock come 20 seconds after the last one."""
    ticks = itertools.count(100.0, 20.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))


def test_a_terminal_gets_one_line_with_the_time_left(clock, capsys):
    bar = Progress(10, "tile")
    bar.update(1)
    bar.update(2)
    bar.update(10)
    first, second, last = (line.rstrip() for line in capsys.readouterr().out.split("\r")[1:])
    assert first == "1/10 tiles, 3:00 left"  # one in 20 s
    assert second == "2/10 tiles, 2:40 left"  # two in 40 s
    assert last == "10/10 tiles, 1:00 in all"


def test_a_log_gets_a_line_every_half_minute(clock, capsys):
    bar = Progress(500, "frame", verbose=2)
    for done in range(1, 6):
        bar.update(done)
    bar.update(500)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("/")[0] for line in lines] == ["1", "3", "5", "500"]
    assert lines[0] == "1/500 frames, 2:46:20 left"


def test_steps_of_an_earlier_run_do_not_count_for_the_time(clock, capsys):
    Progress(10, "tile", 2, done=8).update(9)
    assert capsys.readouterr().out == "9/10 tiles, 0:20 left\n"


def test_silent(capsys):
    Progress(2, "tile", 0).update(2)
    assert capsys.readouterr().out == ""


def test_without_a_total_there_is_no_time_left(clock, capsys):
    bar = Progress(None, "frame", verbose=2)
    for done in range(1, 3):
        bar.update(done)
    bar.update(2, last=True)
    assert capsys.readouterr().out == "1 frames, 0:20 in all\n2 frames, 1:00 in all\n"


def test_a_total_may_be_an_estimate(clock, capsys):
    bar = Progress(2, "frame", 1)
    for done in range(1, 4):
        bar.update(done, last=False)
    bar.update(3, last=True)
    lines = [line.rstrip(" ") for line in capsys.readouterr().out.split("\r")[1:]]
    assert [line.split()[0] for line in lines] == ["1/2", "2/2", "3/3", "3/3"]
    assert lines[0].endswith("0:20 left") and lines[-1].rstrip().endswith("1:20 in all")
