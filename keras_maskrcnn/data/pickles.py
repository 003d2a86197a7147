"""Pickles of numbers, strings, lists, dicts and NumPy arrays; nothing in them is executed.

A pickle is a program. The one here may only build these; whatever else it asks for is refused by
name, unless the caller allows it.
"""

import pickle

import numpy as np


class Refused(ValueError):
    """A pickle that wants to call something; the message names it."""


class Array:
    """What NumPy's pickles call `_reconstruct` for, and then give a state."""

    def __init__(self, *_):
        self.state = None

    def __setstate__(self, state):
        self.state = state

    def array(self):
        """Returns the np.ndarray, of numbers or bools; its memory cannot be written."""
        _, shape, dtype, fortran, data = self.state
        if isinstance(data, str):  # Python 2's bytes
            data = data.encode("latin1")
        return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if fortran else "C")


def _array_of_buffer(data, dtype, shape, order):
    """What NumPy's pickles of protocol 5 call."""
    array = Array()
    array.state = 1, shape, dtype, order == "F", data
    return array


class _DType:
    """`numpy.dtype` of numbers; never of objects or records."""

    def __init__(self, code, *_):
        self.code, self.order = code, "="

    def __setstate__(self, state):
        self.order = state[1]

    def dtype(self):
        dtype = np.dtype(self.code)
        if dtype.kind not in "fiub":
            raise ValueError(f"an array holds {dtype}, not numbers")
        return dtype.newbyteorder(self.order)


class Scalar:
    """A NumPy number."""

    def __init__(self, dtype, data=b""):
        self._array = Array()
        self._array.state = 1, (), dtype, False, data

    def item(self):
        """Returns the number as Python's."""
        return self._array.array().item()


def _encode(text, encoding="latin1"):
    if encoding != "latin1":
        raise ValueError(f"a pickle encodes bytes as {encoding!r}")
    return text.encode("latin1")


def _no_bytes():
    """What `bytes` is called for in old protocols: the memory of an empty array."""
    return b""


_NUMPY = {
    ("__builtin__", "bytes"): _no_bytes,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _DType,
}
for _core in ("numpy.core", "numpy._core"):
    _NUMPY[f"{_core}.multiarray", "_reconstruct"] = Array
    _NUMPY[f"{_core}.multiarray", "scalar"] = Scalar
    _NUMPY[f"{_core}.numeric", "_frombuffer"] = _array_of_buffer


class Unpickler(pickle.Unpickler):
    """Builds plain values, with `Array` and `Scalar` in place of NumPy's; refuses the rest by name.

    Args:
        file: binary file.
        allowed: dict of (module, name) to what takes its place: what else the pickle may call.
    """

    def __init__(self, file, allowed):
        super().__init__(file, encoding="latin1")
        self._allowed = {**_NUMPY, **allowed}

    def find_class(self, module, name):
        if (module, name) not in self._allowed:
            raise Refused(
                f"its pickle wants to call {module}.{name}, which a file of numbers has no need of."
            )
        return self._allowed[module, name]
