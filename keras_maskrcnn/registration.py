"""Makes Keras know this package's classes, which `import keras_maskrcnn` does not import."""

import contextlib
import sys
from typing import Any


def register_with_keras() -> None:
    """Imports the classes that files of models name: now if Keras is imported, else when it is.

    A user writes `import keras_maskrcnn`, `import keras` and `keras.saving.load_model(path)`, in
    any order, and uses no name of this package. Keras only loads registered classes. So they must
    be there whenever Keras is, and this package does not import Keras by itself: it takes seconds,
    and `runtime` works without it.
    """
    if "keras" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Watch())


def _register():
    # Whatever is missing, or a backend other than TensorFlow, is told at the first use of a name.
    # Another program's `import keras` must not fail because of this package.
    with contextlib.suppress(ImportError):
        from keras_maskrcnn.backend import require_tensorflow

        require_tensorflow()
        import keras_maskrcnn.model
        import keras_maskrcnn.training.optimizers  # noqa: F401


class _Watch:
    """A finder on `sys.meta_path` that calls `_register` once Keras is imported, and goes away.

    Keras may be imported by a user, by TensorFlow, or by a module of this package. `_register` has
    to wait until that module is complete, because it imports it, too. So only the outermost import
    of these is watched.
    """

    def __init__(self):
        self.inside = False

    def find_spec(self, name, path=None, target=None):
        watched = name in ("keras", "tensorflow") or name.startswith("keras_maskrcnn.")
        if self.inside or not watched:
            return None
        others = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader

            def exec_module(module):
                del loader.exec_module  # its own method again
                self.inside = True
                try:
                    loader.exec_module(module)
                finally:
                    self.inside = False
                if "keras" in sys.modules:
                    with contextlib.suppress(ValueError):  # another thread was here
                        sys.meta_path.remove(self)
                    _register()

            loader.exec_module = exec_module
        return spec
