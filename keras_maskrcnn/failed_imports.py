"""Tells in the commands why this package cannot be imported, in place of a traceback."""

import contextlib
import sys
from collections.abc import Iterator

from keras_maskrcnn.quiet import arguments_of_command


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
        arguments = arguments_of_command()
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
