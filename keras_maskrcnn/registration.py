"""Makes Keras know this package's classes, although the package does not import Keras."""

import contextlib
import sys
from typing import Any


def register_with_keras() -> None:
    """Imports the classes in models' files: now if Keras is imported, else right after it is.

    A user writes `import keras_maskrcnn`, `import keras` and `keras.saving.load_model(path)`, in
    any order, and uses no name of this package. Keras loads registered classes only. So they must
    be there whenever Keras is, and this package does not import Keras by itself: it takes seconds,
    and `runtime` works without it.
    """
    if "keras" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _register():
    # Whatever is missing, or a backend other than TensorFlow, is told at the first use of a name.
    # Another program's `import keras` must not fail because of this package.
    with contextlib.suppress(ImportError):
        from keras_maskrcnn.backend import require_tensorflow

        require_tensorflow()
        import keras_maskrcnn.model
        import keras_maskrcnn.training.optimizers  # noqa: F401


class _AfterKeras:
    """A finder on `sys.meta_path` that calls `_register` after Keras' import, and goes away."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module):
                loader.exec_module = execute
                with contextlib.suppress(ValueError):  # another thread was here
                    sys.meta_path.remove(self)
                execute(module)
                _register()

            loader.exec_module = exec_module
        return spec
