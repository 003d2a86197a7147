"""Imports the names of a package when someone asks for them, and no earlier (PEP 562).

`import keras_maskrcnn.runtime` also runs the `__init__.py` of the packages above it. They must not
import TensorFlow, because `runtime` works where it is not installed.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def names_on_demand(
    package: str,
    places: Mapping[str, Sequence[str]],
    before: Callable[[str], None] = lambda module: None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the `__getattr__` and the `__dir__` of a package.

    In the `__init__.py`, for type checkers and for Python:

        if TYPE_CHECKING:
            from package.module import name
        __getattr__, __dir__ = names_on_demand(__name__, {"module": ["name"]})

    The package's modules are found too, as if the `__init__.py` had imported all of them.

    Args:
        package: str. The package's `__name__`.
        places: dict. Maps each module, without the package's name, to the names that come from it.
        before: function that is called with a module's name before the module is imported.

    Returns:
        `__getattr__` and `__dir__`.
    """
    module_of = {name: module for module, names in places.items() for name in names}

    def __getattr__(name):
        place = f"{package}.{module_of.get(name, name)}"
        if name.startswith("_") or not importlib.util.find_spec(place):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        before(module_of.get(name, name))
        found = importlib.import_module(place)
        found = getattr(found, name) if name in module_of else found
        setattr(sys.modules[package], name, found)  # it is asked for once
        return found

    def __dir__():
        return sorted({*vars(sys.modules[package]), *module_of, *sys.modules[package].__all__})

    return __getattr__, __dir__
