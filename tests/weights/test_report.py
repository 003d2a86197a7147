from keras_maskrcnn.weights.report import Report, some


def test_a_report_counts_and_gives_examples():
    report = Report({"a": "x"}, {"b": "unused", "c": "unused"}, tuple("defgh"))
    assert str(report).splitlines() == [
        "matched 1 arrays",
        "skipped 2 (unused): b, c",
        "left 5 variables unchanged: d, e, f and 2 more",
    ]
    assert some([]) == "" and some({"k": 1}) == "k"
