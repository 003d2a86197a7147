"""data/pickles.py: NumPy's values are built, and other calls are refused by name."""

import contextlib
import io
import os
import pathlib
import pickle
import re

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
        (pathlib.Path, rf"{re.escape(pathlib.Path.__module__)}\.Path"),
    ],
)
def test_what_else_is_called_is_refused_by_name(value, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickles.Refused, match=f"wants to call {name}"):
        load(pickle.dumps([value], protocol))
    assert not (tmp_path / "was_here").exists()


def test_the_caller_may_allow_a_name():
    data = pickle.dumps(pathlib.PurePosixPath("a"))
    module = pathlib.PurePosixPath.__module__  # another one since Python 3.13
    found = load(data, {(module, "PurePosixPath"): lambda *parts: parts})
    assert found == ("a",)


def test_an_array_of_objects_is_an_error():
    found = load(pickle.dumps(np.array([{}, {}], dtype=object)))
    with pytest.raises(ValueError, match="an array holds object, not numbers"):
        found.array()


def nested(depth, build):
    """Makes nested values: each holds the one before twice, so 2**depth values in few bytes."""
    value = 1
    for _ in range(depth):
        value = build(value)
    return value


# The instructions of a tuple whose hash takes 2**60 steps.
BOMB = pickle.dumps(nested(60, lambda x: (x, x)), 2)[2:-1]


def test_a_pickle_changes_nothing_but_what_it_builds():
    """BUILD sets attributes, even of a class or a function."""
    state = b"(N}(X\x03\x00\x00\x00wasX\x04\x00\x00\x00hereut"  # (None, {"was": "here"})
    for module, name in [*pickles.NUMPY, ("a", "function"), ("a", "class")]:
        function = lambda *args: None  # noqa: E731
        own = type("Own", (), {})
        allowed = {("a", "function"): function, ("a", "class"): own}
        with contextlib.suppress(TypeError):  # a class, although __setstate__ needs an instance
            load(b"\x80\x02c" + f"{module}\n{name}\n".encode() + state + b"b.", allowed)
        for kept in (function, own, *pickles.NUMPY.values()):
            assert not hasattr(kept, "was")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", "stores a value as number 2147483647"),  # 64 GB
        (b"\x80\x02}q\x05.", "stores a value as number 5"),
        (b"\x80\x02}" + BOMB + b"K\x02s.", "key"),
        (b"\x80\x02](}(" + BOMB + b"K\x02ue.", "key"),
        (b"\x80\x02(" + BOMB + b"K\x02d.", "key"),
        (b"\x80\x04\x8f(" + BOMB + b"\x90.", "key"),
        (b"\x80\x04(" + BOMB + b"\x91.", "key"),
        (b"\x80\x02}K\x01" + b"\x85" * 100_000 + b"K\x02s.", "key"),  # overflows C's stack
        (b"\x80\x02s.", "do not fit together"),
        (b"\x80\x02h\x07.", "do not fit together"),
        (b"\x80\x02t.", "do not fit together"),
        (b"\x80\x02K\x01", "STOP"),
    ],
    ids=range(12),
)
def test_what_would_take_more_than_the_file_is_refused_before(data, words):
    with pytest.raises(ValueError, match=words):
        load(data)


def test_a_pickle_has_so_many_instructions_at_most(monkeypatch):
    monkeypatch.setattr(pickles, "MOST_INSTRUCTIONS", 30)
    assert load(pickle.dumps([1] * 20)) == [1] * 20
    with pytest.raises(ValueError, match="over 30 instructions"):
        load(pickle.dumps([1] * 40))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_shared_and_nested_values_are_built_that_nothing_hashes(protocol):
    shared = (1, 2)
    value = [nested(60, lambda x: [x, x]), {shared: shared, "a": (shared, [])}, 2**200, {3, 4}]
    found = load(
        pickle.dumps(value, protocol), {("__builtin__", "set"): set, ("builtins", "set"): set}
    )
    assert found[1:] == value[1:]
    assert found[0][0] is found[0][1]
