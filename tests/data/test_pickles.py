"""data/pickles.py: NumPy's values are built, what else is called is refused by name."""

import io
import os
import pathlib
import pickle

import numpy as np
import pytest

from keras_maskrcnn.data import pickles


class Malicious:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def load(data, allowed=()):
    return pickles.Unpickler(io.BytesIO(data), dict(allowed)).load()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_numbers_texts_arrays_and_scalars_are_built(protocol):
    value = {"a": [1, 2.5, "x", None], "b": np.arange(6, dtype=">i2").reshape(2, 3).T}
    value["e"] = np.zeros([0, 4], np.float32)
    found = load(pickle.dumps({**value, "c": np.float32(-2), "d": np.int64(7)}, protocol))
    assert found["a"] == value["a"]
    np.testing.assert_array_equal(found["b"].array(), value["b"])
    assert found["c"].item() == -2
    assert found["d"].item() == 7
    assert found["e"].array().shape == (0, 4)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Malicious(os.system, "touch was_here"), r"\S+\.system"),
        (Malicious(eval, "1"), r"\S+\.eval"),
        (Malicious(getattr, {}, "clear"), r"\S+\.getattr"),
        (pathlib.Path, r"pathlib\.Path"),
    ],
)
def test_what_else_is_called_is_refused_by_name(value, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickles.Refused, match=f"wants to call {name}"):
        load(pickle.dumps([value], protocol))
    assert not (tmp_path / "was_here").exists()


def test_the_caller_may_allow_a_name():
    data = pickle.dumps(pathlib.PurePosixPath("a"))
    found = load(data, {("pathlib", "PurePosixPath"): lambda *parts: parts})
    assert found == ("a",)


def test_an_array_of_objects_is_an_error():
    found = load(pickle.dumps(np.array([{}, {}], dtype=object)))
    with pytest.raises(ValueError, match="an array holds object, not numbers"):
        found.array()
