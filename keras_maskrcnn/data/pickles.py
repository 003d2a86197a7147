"""Reads pickles of numbers, strings, lists, dicts and NumPy arrays without executing code.

A pickle is a program. Here it may build only these values; any other call is refused by name,
unless the caller allows it. First its instructions are checked without running them. This ensures
that memory and time are in proportion to the length of the pickle. Otherwise a few bytes could ask
for a memo of 64 GB, or for the hash of a tuple that holds itself 2**60 times.
"""

import pickle
import pickletools
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np


class Refused(ValueError):
    """A pickle wants to call a function that is not allowed. The message names it."""


class Array:
    """Stands for an array: NumPy's pickles call `_reconstruct`, and then set its state."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """Returns a read-only np.ndarray of numbers or bools."""
        _, shape, dtype, fortran, data = self.state
        if isinstance(data, str):  # Python 2's bytes
            data = data.encode("latin1")
        return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if fortran else "C")


def _array_of_buffer(data, dtype, shape, order):
    """Stands for the function that NumPy's pickles of protocol 5 call."""
    array = Array()
    array.state = 1, shape, dtype, order == "F", data
    return array


class _DType:
    """Stands for `numpy.dtype`, for numbers only, never for objects or records."""

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
    """Stands for a NumPy number."""

    def __init__(self, dtype: Any, data: bytes | str = b"") -> None:
        self._array = Array()
        self._array.state = 1, (), dtype, False, data

    def item(self) -> int | float | bool:
        """Returns the number as a Python number."""
        return self._array.array().item()


def _encode(text, encoding="latin1"):
    if encoding != "latin1":
        raise ValueError(f"a pickle encodes bytes as {encoding!r}")
    return text.encode("latin1")


def _no_bytes():
    """Stands for `bytes()`, which old protocols call for the memory of an empty array."""
    return b""


NUMPY = {
    ("__builtin__", "bytes"): _no_bytes,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _DType,
}
for _core in ("numpy.core", "numpy._core"):
    NUMPY[f"{_core}.multiarray", "_reconstruct"] = Array
    NUMPY[f"{_core}.multiarray", "scalar"] = Scalar
    NUMPY[f"{_core}.numeric", "_frombuffer"] = _array_of_buffer


class Unpickler(pickle.Unpickler):
    """Builds plain values, with `Array` and `Scalar` for NumPy's. Refuses other calls by name.

    Args:
        file: binary file that can seek.
        allowed: dict of (module, name) to its replacement, for further calls that are allowed.
    """

    def __init__(self, file: BinaryIO, allowed: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file, encoding="latin1")
        self._file, self._allowed = file, {**NUMPY, **allowed}
        self._own: dict[tuple[str, str], Any] = {}

    def load(self) -> Any:
        """Returns the value that the pickle builds. Afterwards the file is at its end.

        Raises:
            Refused: if the pickle wants to call something that is not allowed.
            ValueError: if its instructions do not fit together, or would build too large values.
                `pickle` raises other errors for broken files.
        """
        start = self._file.tell()
        _check(self._file)
        self._file.seek(start)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise Refused(
                f"its pickle wants to call {module}.{name}, which a file of numbers does not need."
            )
        if (module, name) not in self._own:
            self._own[module, name] = _own(self._allowed[module, name])
        return self._own[module, name]


def _own(found):
    """Returns a subclass or wrapper for this pickle only: it may set attributes (BUILD)."""
    if isinstance(found, type):  # some instructions need a class
        return type(found.__name__, (found,), {})
    return (lambda *args: found(*args)) if callable(found) else found


MOST_INSTRUCTIONS = 20_000_000  # COCO's proposals have 7 million
_LARGEST_KEY = 100  # limit of numbers and texts in a key of a dict, nested tuples included
_KEYS = {  # for instructions that hash: which of the values that they take are hashed
    "SETITEM": slice(1, 2),
    "SETITEMS": slice(0, None, 2),
    "DICT": slice(0, None, 2),
    "ADDITEMS": slice(None),
    "FROZENSET": slice(None),
}
_HOLDS = {
    "TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
    "FROZENSET",
    "REDUCE",
    "NEWOBJ",
    "NEWOBJ_EX",
    "OBJ",
    "INST",
    "BUILD",
}
# Per instruction: the number of values that it takes, below a mark or from the top. Then whether it
# also takes all values above the mark, and the number of values that it gives.
_EFFECTS = {
    code.name: (
        sum(x not in (pickletools.markobject, pickletools.stackslice) for x in code.stack_before),
        pickletools.markobject in code.stack_before,
        len(code.stack_after),
    )
    for code in pickletools.opcodes
}


class _Reader:
    """A file without `tell`, because `pickletools` would call it for each instruction."""

    def __init__(self, file):
        self.read, self.readline = file.read, file.readline


def _check(file):
    """Follows a pickle's instructions to the end, with the sizes of the values they would build."""
    # The sizes of the values on the stack, cut at one above the limit. Marks are kept separately.
    stack: list[int] = []
    memo: dict[Any, int] = {}
    marks = []
    try:
        reader: Any = _Reader(file)
        for count, (code, argument, _) in enumerate(pickletools.genops(reader)):
            name = code.name
            if count == MOST_INSTRUCTIONS:
                raise ValueError(f"its pickle has over {MOST_INSTRUCTIONS} instructions")
            if name == "MARK":
                marks.append(len(stack))
            elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                place = len(memo) if argument is None else argument
                if not 0 <= place <= count:
                    raise ValueError(
                        f"its pickle stores a value as number {place} after {count} instructions"
                    )
                memo[place] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "DUP":
                stack.append(stack[-1])
            elif name == "POP" and marks and marks[-1] == len(stack):
                marks.pop()
            else:
                takes, to_mark, gives = _EFFECTS[name]
                cut = marks.pop() if to_mark else len(stack)
                first = cut - takes
                if first < 0:
                    raise IndexError
                # Values below a mark are containers. No size depends on them.
                taken = stack[cut if to_mark else first :]
                del stack[first:]
                if name in _KEYS and any(key > _LARGEST_KEY for key in taken[_KEYS[name]]):
                    raise ValueError(
                        f"its pickle has a dict key of more than {_LARGEST_KEY} values"
                    )
                size = 1 + sum(taken) if name in _HOLDS else 1
                stack += [min(size, _LARGEST_KEY + 1)] * gives
    except (IndexError, KeyError) as error:
        raise ValueError("its pickle's instructions do not fit together") from error
