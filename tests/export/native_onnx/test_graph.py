import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx (extra onnx) is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from keras_maskrcnn.export.native_onnx.graph import FLOAT, INT64, Graph  # noqa: E402


@pytest.fixture
def graph():
    return Graph(18)


def result(graph, value, dtype, **inputs):
    graph.output("out", value, dtype, None)
    model = graph.model({})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, inputs)[0]


def test_python_s_operators_add_nodes(graph):
    x = graph.input("x", FLOAT, ["n"])
    value = graph.where((x > 1.0) & (x < 4.0), (x * 2.0 - 1.0) / 0.5, 0.0)
    np.testing.assert_array_equal(
        result(graph, value, FLOAT, x=np.float32([1, 2, 3, 4])), [0, 6, 10, 0]
    )


def test_equal_constants_are_stored_once(graph):
    x = graph.input("x", INT64, [2])
    value = (x + 7) * 7 // 7
    assert len(graph.constants) == 1
    np.testing.assert_array_equal(result(graph, value, INT64, x=np.int64([1, 2])), [8, 9])


def test_names_are_unique_and_in_their_scope(graph):
    x = graph.input("x", FLOAT, [1])
    with graph.scope("boxes"):
        with graph.scope("level0"):
            y = graph.add("Exp", x)
        z = graph.add("Exp", y), graph.add("Exp", y)
    assert [v.name for v in (y, *z)] == ["boxes/level0/Exp", "boxes/Exp", "boxes/Exp_1"]


def test_either_runs_one_branch_and_loop_repeats(graph):
    x = graph.input("x", INT64, [1])
    small = graph.add("Squeeze", x < 3, [0])
    tripled = graph.either(small, lambda: x, lambda: x * 3)
    total = graph.loop(x, tripled, lambda i, value: value + i)  # adds 0, 1, ..., x - 1
    assert result(graph, total, INT64, x=np.int64([4])) == 12 + 6


def test_gathering_per_image(graph):
    x = graph.input("x", FLOAT, ["b", "n", 2])
    taken = x.take_per_image(graph.value(np.array([[1], [0]])))
    values = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    np.testing.assert_array_equal(result(graph, taken, FLOAT, x=values), [[[2, 3]], [[4, 5]]])
