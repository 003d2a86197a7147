"""Keras knows the classes of this package in any order of imports, see registration.py."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import pytest
from outside import IMPORTED_FROM

MODEL = pathlib.Path(__file__).parent / "version_0_1" / "run" / "model.keras"
PACKAGE = pathlib.Path(__file__).parents[1] / "keras_maskrcnn"


def run(program, **environment):
    """Runs a program; returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(IMPORTED_FROM), **environment}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "imports",
    [
        "import keras_maskrcnn, keras",
        "import keras, keras_maskrcnn",
        "import keras_maskrcnn.layers.conv, keras",  # imports Keras before it is complete itself
        *(
            pytest.param(imports, marks=pytest.mark.slow)
            for imports in (
                "import keras_maskrcnn, tensorflow, keras",
                "from keras_maskrcnn.data.pipeline import batches; import keras",
                "import keras_maskrcnn.runtime, keras_maskrcnn.losses, keras",
            )
        ),
    ],
)
def test_keras_loads_a_model_after_these_imports(imports):
    program = f"import sys\n{imports}\nprint(type(keras.saving.load_model({str(MODEL)!r})))\n"
    program += "print([f for f in sys.meta_path if 'Watch' in type(f).__name__])\n"
    program += "print('keras_maskrcnn>WarmupSteps' in keras.saving.get_custom_objects())"
    lines = ["<class 'keras_maskrcnn.model.MaskRCNN'>", "[]", "True"]
    assert run(program).splitlines() == lines


def test_every_class_that_a_file_can_name_is_registered():
    """`registration.py` imports the modules of these classes."""
    program = "from keras_maskrcnn import MaskRCNN\nimport keras\n"
    registered = run(f"{program}print(*keras.saving.get_custom_objects())").split()
    marked = r'register_keras_serializable\(package="keras_maskrcnn"\)\nclass (\w+)'
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    names = re.findall(marked, "\n".join(texts))
    assert "MaskRCNN" in names and "RoIAlign" in names  # the search finds something
    assert {f"keras_maskrcnn>{name}" for name in names} <= set(registered)


@pytest.fixture
def fake_keras(tmp_path):
    """PYTHONPATH with a Keras on another backend, which is imported at once."""
    (tmp_path / "keras").mkdir()
    fake = "class config:\n    backend = lambda: 'jax'\n__version__ = '3.15.0'"
    (tmp_path / "keras" / "__init__.py").write_text(fake)
    return os.pathsep.join([str(tmp_path), str(IMPORTED_FROM)])


def test_a_search_for_keras_without_an_import_changes_nothing(fake_keras):
    program = "import importlib.util, sys, keras_maskrcnn\nimportlib.util.find_spec('keras')\n"
    watching = "print('keras' in sys.modules, 'Watch' in str(sys.meta_path))\n"
    program += f"{watching}import keras\n{watching}"
    assert run(program, PYTHONPATH=fake_keras) == "False True\nTrue False\n"


@pytest.mark.parametrize("order", ["keras_maskrcnn, keras", "keras, keras_maskrcnn"])
def test_keras_on_another_backend_is_left_alone(order, fake_keras):
    """The process may need this package for `runtime` only. The names are refused when used."""
    program = f"import {order}\ntry:\n    keras_maskrcnn.MaskRCNN\nexcept ImportError as error:\n"
    printed = run(f"{program}    print(error)", PYTHONPATH=fake_keras)
    assert printed.endswith("Received: keras.config.backend()='jax'.\n")


def test_this_process_has_them_too():
    assert "keras_maskrcnn>MaskRCNN" in keras.saving.get_custom_objects()
