"""doctor/findings.py: problems are printable lines."""

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.doctor.findings import ERROR, Problem, printable


def test_a_line_is_short_and_controls_no_terminal():
    assert printable("a\x1b[31m\u202eb\n") == "a\\x1b[31m\\u202eb\\n"
    assert printable("é" * 400) == "é" * 400
    assert printable("é" * 401) == "é" * 397 + "..."
    assert Problem("kind", ERROR, "a\tb").line == "a\\tb"


def test_an_error_of_data_is_a_problem_of_its_kind():
    problem = Problem.of(DataError("a.json: no.", "broken json"), image=3)
    assert problem == Problem("broken json", ERROR, "a.json: no.", 3, None)
