import ast
import functools
import pathlib
import re

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "keras_maskrcnn"
# Modules import from lower ranks, and packages from within themselves.
RANKS = {
    "_version": 0,
    "aliases": -2,
    "backend": -2,
    "backbones": 3,
    "catalog": -1,
    "logger": -2,
    "on_demand": -2,
    "config_rules": 0,
    "files": 0,
    "typing": -2,
    "keras_private": -1,
    "levels": 2,
    "ops": 0,
    "pixel_checks": 0,
    "quiet": 0,
    "batch": 1,
    "config": 1,
    "decode": 1,
    "distribution": 1,
    "environment": 1,
    "data": 2,
    "failed_imports": 2,
    "layers": 2,
    "losses": 2,
    "presets": 2,
    "targets": 2,
    "overlaps": 2,
    "progress": 0,
    "tiling": 4,
    "checks": 3,
    "detections": 3,
    "shares": 3,
    "instance_masks": 1,
    "export": 4,
    "rpn": 3,
    "roi_heads": 3,
    "visualize": 3,
    "writers": 3,
    "doctor": 4,
    "runtime": 4,
    "video": 4,
    "viewer": 4,
    "networks": 4,
    "weights": 4,
    "saving": 5,
    "cluster": 5,
    "steps": 4,
    "calls": 5,
    "parts": 5,
    "model": 6,
    "evaluation": 7,
    "explaining": 7,
    "training": 8,
    "analysis": 8,
    "cli": 9,
    "registration": 9,
    "__init__": 10,
    "__main__": 10,
}
WITHOUT_CONFIG = ("ops", "layers", "data", "decode", "targets", "losses")
# Public names of the standard library that begin with an underscore.
PUBLIC_UNDERSCORES = ("_asdict", "_exit", "_fields", "_make", "_replace")
# Modules of other packages that are not public, and the one file that imports from each.
INTERNAL_MODULES = {
    ("keras_private.py", "tensorflow.python.eager.context"),
    ("keras_private.py", "tensorflow.python.framework.ops"),
    ("keras_private.py", "tensorflow.python.util._pywrap_util_port"),
    # TFDS publishes no builder that writes its files itself.
    *(
        ("data/tfds_coco.py", f"tensorflow_datasets.core.{name}")
        for name in ("dataset_builder", "example_serializer", "file_adapters", "utils")
    ),
}
# Keys of annotation files that look like private names.
FILE_KEYS = ("_via_img_metadata",)
# Modules without a test file of the same name, and the file that tests them.
TESTED_BY = {
    "__main__.py": "test_quiet.py",
    "_version.py": "test_packaging.py",
    "backbones/copying.py": "backbones/test_adopting.py",
    "cli/answers.py": "cli/test_predict_tiles.py",
    "cli/import_weights.py": "weights/test_load.py",
    "cluster/pipeline.py": "cluster/test_predicting.py",
    "data/doctor.py": "test_aliases.py",
    "explaining/stages.py": "explaining/test_explanation.py",
    "explaining/texts.py": "explaining/test_explanation.py",
    "environment/asking.py": "environment/test_collect.py",
    "export/description.py": "export/test_onnx.py",
    "export/native_onnx/boxes.py": "export/test_onnx.py",
    "export/native_onnx/detections.py": "export/test_onnx.py",
    "export/native_onnx/images.py": "export/native_onnx/test_resizing.py",
    "export/native_onnx/model.py": "export/test_onnx.py",
    "export/native_onnx/networks.py": "export/test_onnx.py",
    "export/native_onnx/proposals.py": "export/test_onnx.py",
    "export/native_onnx/roi_pooling.py": "export/test_onnx.py",
    "export/signatures.py": "export/test_saved_model.py",
    "networks.py": "test_parts.py",
}
UNITS = {path.with_suffix("").name for path in PACKAGE.iterdir()}


@functools.cache
def imports():
    """Returns a set of (importing unit, imported unit) of every import in the package."""
    return {
        (path.relative_to(PACKAGE).with_suffix("").parts[0], imported)
        for path in PACKAGE.rglob("*.py")
        for imported in units_imported_by(path.read_text(encoding="utf-8"))
    }


def units_imported_by(source):
    """Yields the unit of each import of this package in a file's text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "keras_maskrcnn":
            names = [f"keras_maskrcnn.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for package, *path in (name.split(".") for name in names):
            if package == "keras_maskrcnn":
                # A name that is no module is a public name of `__init__.py`.
                yield path[0] if path and path[0] in UNITS else "__init__"


def test_imports_go_one_way():
    edges = {(a, b) for a, b in imports() if a != b and b in RANKS}
    assert ("networks", "layers") in edges  # the search finds something
    assert {a for a, _ in edges} <= set(RANKS), "a new module needs a rank"
    upwards = {(a, b) for a, b in edges if RANKS[a] <= RANKS[b]}
    assert not upwards, f"imports from the same or a higher rank: {sorted(upwards)}"


def test_the_diagram_of_the_docs_has_these_ranks():
    picture = (PACKAGE.parent / "docs" / "architecture_floors.svg").read_text(encoding="utf-8")
    floors = re.findall(r'class="floor"[^>]*>(-?\d+)<.*?class="rooms"[^>]*>([^<]+)<', picture, re.S)
    assert {name: int(n) for n, text in floors for name in text.split(", ")} == RANKS


@pytest.mark.parametrize(
    "source",
    ["import keras_maskrcnn as mrcnn", "from keras_maskrcnn import __version__, MaskRCNN, data"],
)
def test_an_import_of_the_face_is_seen(source):
    """No module of the package may import `__init__.py`, because that imports all of them."""
    assert "__init__" in set(units_imported_by(source))


def test_the_face_imports_and_nobody_imports_it():
    units = imports()
    assert ("__init__", "data") in units and not [a for a, b in units if b == "__init__"]


@pytest.mark.parametrize("unit", WITHOUT_CONFIG)
def test_leaves_do_not_know_the_config(unit):
    assert (unit, "config") not in imports()


def test_data_imports_nothing_that_knows_of_models():
    below = {"aliases", "data", "files", "keras_private", "logger", "on_demand", "ops", "typing"}
    assert {b for a, b in imports() if a == "data"} <= below


def foreign_privates(source):
    """Yields (line, text) of each private name in a file's text that the file does not define.

    A file defines the attributes and methods of its classes. It may also read them from another
    object of these classes.
    """
    tree, own = ast.parse(source), {*PUBLIC_UNDERSCORES, *FILE_KEYS}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            own |= {x.name for x in node.body if isinstance(x, ast.FunctionDef)}
            own |= {
                ast.unparse(t) for x in node.body if isinstance(x, ast.Assign) for t in x.targets
            }
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own |= {node.attr} if ast.unparse(node.value) in ("self", "cls") else set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            names = [x.value for x in node.args[1:2] if isinstance(x, ast.Constant)]
        elif isinstance(node, ast.Call):
            names = [keyword.arg for keyword in node.keywords]
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            names = [x.value for x in [node.left] if isinstance(x, ast.Constant)]
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            names = [node.slice.value]
        for name in names:
            if str(name).startswith("_") and not name.endswith("__") and name not in own:
                yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("model._propose(1)", ["model._propose"]),
        ("from keras_maskrcnn.model import MaskRCNN, _bind", None),
        ("getattr(optimizer, '_iterations')", None),
        ("model.evaluate(x, _cached=True)", None),
        ("'_cached' in kwargs", None),
        ("attributes['_type']", None),
        ("class A(Base):\n    def f(self): return self._of_base", ["self._of_base"]),
        ("class A:\n    def f(self, other): return self._g, other._g\n    def _g(self): 0", []),
        ("class A:\n    def f(self, other): self._x = other._x, other.__class__", []),
        ("point._replace(x=1)", []),
    ],
)
def test_a_private_name_of_another_module_is_seen(source, found):
    texts = [text for _, text in foreign_privates(source)]
    assert texts == ([source] if found is None else found)


def test_private_names_stay_in_their_module():
    """Only `keras_private.py` reads private names of Keras and TensorFlow. Tests check these."""
    found, calls = set(), {}
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE))
        calls[name] = list(foreign_privates(path.read_text(encoding="utf-8")))
        found |= {name} if calls[name] else set()
    assert "keras_private.py" in found  # the search finds something
    assert found == {"keras_private.py"}, calls


def test_internal_modules_of_others_are_imported_in_one_place():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                internal = re.search(r"\.(src|python|core|internal|_\w+)\b", module)
                if internal and not module.startswith("keras_maskrcnn"):
                    found.add((path.relative_to(PACKAGE).as_posix(), module))
    assert found == INTERNAL_MODULES


def test_nothing_is_given_to_tensorflow_that_it_keeps_for_ever():
    """See ops/python.py. Otherwise models and data sets stay in memory, with their graphs."""
    sources = {str(path.relative_to(PACKAGE)): path.read_text() for path in PACKAGE.rglob("*.py")}
    custom = {name for name, text in sources.items() if "@tf.custom_gradient" in text}
    assert "layers/roi_align.py" in custom  # the search finds something
    for name, text in sources.items():
        calls = text.count("gradients_of_graph(")
        assert calls >= text.count("@tf.custom_gradient"), name
        if name != "ops/python.py":
            for refused in ("tf.numpy_function(", "tf.py_function(", "Dataset.counter("):
                assert refused not in text, f"{name} has {refused}"


def test_each_module_has_the_test_file_that_mirrors_it():
    tests, without = pathlib.Path(__file__).parent, set()
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE)
        if path.stem == "__init__" or (tests / module.parent / f"test_{path.stem}.py").exists():
            continue
        without.add(module.as_posix())
    assert without == set(TESTED_BY), "a module needs tests/.../test_MODULE.py"
    assert all((tests / file).exists() for file in TESTED_BY.values())


def names_that_hide_modules(package):
    """Yields names in a package's `__init__.py` that a module has, too, but mean something else."""
    modules = {path.stem for path in package.iterdir()}
    for node in ast.walk(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in modules:
            yield node.name
        elif isinstance(node, ast.ImportFrom) and not node.module.endswith(package.name):
            yield from modules & {alias.asname or alias.name for alias in node.names}


def test_no_function_hides_the_module_of_its_name(tmp_path):
    """Otherwise `import keras_maskrcnn.x as x` would give a function."""
    (tmp_path / "draw.py").touch()
    (tmp_path / "__init__.py").write_text("from a.draw import draw")
    assert list(names_that_hide_modules(tmp_path)) == ["draw"]
    for path in PACKAGE.rglob("__init__.py"):
        assert not list(names_that_hide_modules(path.parent)), path


# Calls that run what a file holds, or would without this keyword.
EXECUTING = {
    "eval",
    "exec",
    "os.system",
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
    "yaml.load",
}
SAFE = {"np.load": ("allow_pickle", False), "keras.models.load_model": ("safe_mode", True)}


def test_no_reader_executes_what_it_reads():
    """SECURITY.md promises it. `data/pickles.py` has an unpickler of its own."""
    seen = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert name not in EXECUTING, (path, node.lineno)
            if name in SAFE:
                seen.add(name)
                given = [(k.arg, k.value.value) for k in node.keywords if hasattr(k.value, "value")]
                assert SAFE[name] in given, (path, node.lineno)
    assert seen == set(SAFE)
