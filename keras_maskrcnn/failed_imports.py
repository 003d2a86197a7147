"""Tells in the commands why this package cannot be imported, in place of a traceback."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Ends a command with one line if an import in the block fails.

    `keras-maskrcnn environment` prints its report, because this is when it is needed most. It reads
    no flags then, because the modules that read flags are part of what fails. A process that is no
    command of this package gets the error itself.
    """
    try:
        yield
    except Exception as error:
        arguments = _arguments_of_command()
        if arguments is None:
            raise
        if arguments[:1] == ["environment"]:
            from keras_maskrcnn import environment

            print(environment.text(environment.collect(measure=False, import_error=error)))
        elif isinstance(error, ImportError):
            message = " ".join(str(error).split())
            advice = "`keras-maskrcnn environment` describes this installation."
            print(f"keras-maskrcnn: {message} {advice}", file=sys.stderr)
        else:
            raise
        sys.exit(1)


def _arguments_of_command():
    """Returns the arguments of `keras-maskrcnn` or `python -m keras_maskrcnn`, or None."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    module = program == "-m" and "keras_maskrcnn" in sys.orig_argv
    return sys.argv[1:] if module or program == "keras-maskrcnn" else None
