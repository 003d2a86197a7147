"""Keeps names that have moved usable at their old places, with a warning."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def moved(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Makes the `__getattr__` of a module from which names have moved.

    In the old module:

        __getattr__ = moved(__name__, {"old": "keras_maskrcnn.new.place:name"})

    `old` is then found as before, by `module.old` and `from module import old`. Nothing is imported
    before someone asks for it, so that an old place may be below the new one.

    Args:
        module: str. The old module's `__name__`.
        places: dict of each old name to its new place: "module:name", or "module" for a module.

    Returns:
        Function of a name that warns and returns what is at the new place.
    """

    def __getattr__(name):
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, attribute = places[name].partition(":")
        new = ".".join(filter(None, (place, attribute)))
        # Not a DeprecationWarning, which Python hides outside of __main__.
        warnings.warn(f"{module}.{name} is now {new}.", FutureWarning, stacklevel=2)
        found = importlib.import_module(place)
        return getattr(found, attribute) if attribute else found

    return __getattr__
