"""Keeps moved names usable at their old places, with a warning."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def moved(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Makes the `__getattr__` of a module from which names have moved.

    In the old module:

        __getattr__ = moved(__name__, {"old": "keras_maskrcnn.new.place:name"})

    `module.old` and `from module import old` then work as before. The new place is imported only
    when someone asks for the name. The old module may therefore be below the new one in the order
    of imports.

    Args:
        module: str. The old module's `__name__`.
        places: dict. Maps each old name to its new place: "module:name", or "module" for a module.

    Returns:
        Function that takes a name, warns, and returns the object at the new place.
    """

    def __getattr__(name):
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, attribute = places[name].partition(":")
        new = ".".join(filter(None, (place, attribute)))
        # Not a DeprecationWarning: Python hides those outside of __main__.
        warnings.warn(f"{module}.{name} is now {new}.", FutureWarning, stacklevel=2)
        found = importlib.import_module(place)
        return getattr(found, attribute) if attribute else found

    return __getattr__
