import ast
import importlib
import pathlib
import pickle
import sys
import types

import pytest

import keras_maskrcnn
from keras_maskrcnn import data, ops
from keras_maskrcnn.on_demand import names_on_demand


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a lazy name, and the modules that were announced before their import."""
    folder = tmp_path / "lazy_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "small.py").write_text("number = 3")
    (folder / "broken.py").write_text("import a_module_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    module, announced = importlib.import_module("lazy_package"), []
    module.__all__ = ["number"]
    places = {"small": ["number"], "broken": ["other"]}
    module.__getattr__, module.__dir__ = names_on_demand("lazy_package", places, announced.append)
    yield module, announced
    for name in [name for name in sys.modules if name.startswith("lazy_package")]:
        del sys.modules[name]


def test_a_name_is_imported_when_it_is_asked_for_and_only_once(package):
    module, announced = package
    assert "number" in dir(module) and "lazy_package.small" not in sys.modules
    assert module.number == 3 and announced == ["small"]
    assert module.number == 3 and announced == ["small"]


def test_modules_are_found_and_other_names_are_missing_as_ever(package):
    module, _ = package
    assert isinstance(module.small, types.ModuleType)
    for name in ("nothing", "__wrapped__"):
        assert not hasattr(module, name)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from lazy_package import nothing  # noqa: F401


def test_a_name_whose_module_fails_gives_the_module_s_error(package):
    module, _ = package
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        _ = module.other


@pytest.mark.parametrize("package", [keras_maskrcnn, data, ops], ids=lambda p: p.__name__)
def test_type_checkers_and_python_find_the_same(package):
    tree = ast.parse(pathlib.Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    checked = {}
    for node in block.body:
        for alias in node.names:
            source = importlib.import_module(node.module)
            checked[alias.name] = getattr(source, alias.name)
    assert sorted(checked) == sorted(package.__all__)
    for name, value in checked.items():
        assert getattr(package, name) is value and name in dir(package)


def test_a_star_import_gives_all_public_names():
    found = {}
    exec("from keras_maskrcnn import *", found)
    assert set(keras_maskrcnn.__all__) <= set(found)


def test_public_classes_and_functions_can_be_pickled():
    for name in keras_maskrcnn.__all__:
        value = getattr(keras_maskrcnn, name)
        if isinstance(value, type | types.FunctionType):
            assert pickle.loads(pickle.dumps(value)) is value
