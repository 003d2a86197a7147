import importlib
import math
import pathlib
import re
import sys
import types

import pytest

from keras_maskrcnn.aliases import moved

PACKAGE = pathlib.Path(__file__).parents[1] / "keras_maskrcnn"


@pytest.fixture
def old(monkeypatch):
    module = types.ModuleType("old_place")
    module.__getattr__ = moved("old_place", {"root": "math:sqrt", "path": "os.path"})
    monkeypatch.setitem(sys.modules, "old_place", module)
    return module


def test_a_moved_name_is_found_and_warns_at_the_line_that_uses_it(old):
    with pytest.warns(FutureWarning, match=r"^old_place.root is now math.sqrt\.$") as warned:
        assert old.root is math.sqrt
    assert warned[0].filename == __file__
    with pytest.warns(FutureWarning, match="is now math.sqrt") as warned:
        from old_place import root
    assert root is math.sqrt and warned[0].filename == __file__


def test_a_module_can_move_as_a_whole(old):
    with pytest.warns(FutureWarning, match="^old_place.path is now os.path"):
        assert old.path is importlib.import_module("os.path")


def test_other_names_are_missing_as_ever(old):
    with pytest.raises(AttributeError, match="module 'old_place' has no attribute 'other'"):
        _ = old.other


def test_every_alias_of_the_package_leads_somewhere():
    """Checks all modules that call `moved`. If a place moves again, its entry must follow."""
    asked = 0
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name == "aliases.py" or "moved(__name__" not in text:
            continue
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = importlib.import_module(".".join(p for p in parts if p != "__init__"))
        places = module.__getattr__.__closure__[1].cell_contents
        assert isinstance(places, dict) and places
        for name, place in places.items():
            assert re.fullmatch(r"keras_maskrcnn[\w.]*(:\w+)?", place)
            with pytest.warns(FutureWarning, match="is now"):
                getattr(module, name)
            asked += 1
    assert asked  # the search finds something
