"""The command `keras-maskrcnn COMMAND --flag=value ...`: flags and files, no arithmetic.

Exit status:

- 0: success.
- 1: bad input; one line on stderr names it. Also if some images could not be read; the others are
  done before.
- 2: wrong usage.
- 130 after Ctrl-C, 143 after SIGTERM; `train`, `predict` and `explain` save their results first.
"""

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from keras_maskrcnn import quiet
from keras_maskrcnn.failed_imports import told

with told():
    from absl import flags

    from keras_maskrcnn.cli import (
        compare,
        convert,
        environment,
        evaluate,
        explain,
        export,
        import_weights,
        predict,
        propose,
        train,
        usage,
        validate,
    )
    from keras_maskrcnn.runtime import is_exported

COMMANDS = {  # name: (the command, the function that defines its flags)
    "train": (train.train, train.train_flags),
    "evaluate": (evaluate.evaluate, evaluate.evaluate_flags),
    "compare": (compare.compare, compare.compare_flags),
    "propose": (propose.propose, propose.propose_flags),
    "predict": (predict.predict, predict.predict_flags),
    "explain": (explain.explain, explain.explain_flags),
    "export": (export.export, export.export_flags),
    "import-weights": (import_weights.import_weights, import_weights.import_flags),
    "validate": (validate.validate, validate.validate_flags),
    "convert": (convert.convert, convert.convert_flags),
    "environment": (environment.environment, environment.environment_flags),
}


_LONGEST_LINE = 2000  # characters of an error message


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and exits with its status."""
    argv = sys.argv[1:] if argv is None else argv
    if quiet.is_asked(argv):
        quiet.silence()
    sys.exit(run(argv))


def run(argv: Sequence[str]) -> int:
    """Runs a command.

    Args:
        argv: list of str. The command and its flags.

    Returns:
        int, the exit status.
    """
    if argv and argv[0] in ("help", "--help", "-h"):
        print(_overview())
        return 0
    if argv and argv[0] == "--version":
        from keras_maskrcnn._version import __version__

        print(f"keras-maskrcnn {__version__}")
        return 0
    if not argv or argv[0] not in COMMANDS:
        unknown = f"keras-maskrcnn: there is no command {argv[0]!r}.\n" if argv else ""
        print(f"{unknown}{_overview()}", file=sys.stderr)
        return 2
    command, define = COMMANDS[argv[0]]
    values = flags.FlagValues()
    define(values)
    if set(argv[1:]) & {"--help", "-h"}:
        print(usage.help_text(argv[0], command, values))
        return 0
    try:
        usage.parse(values, argv)
    except usage.UsageError as error:
        print(f"keras-maskrcnn {argv[0]}: {error}", file=sys.stderr)
        return 2
    if argv[0] != "predict" or not is_exported(values.model):
        with told():
            _import_package()
    return _run_command(argv[0], command, values)


def _import_package():
    """Imports what all commands need; only the help and `predict` of an exported model do not."""
    from keras_maskrcnn.backend import require_tensorflow

    require_tensorflow()
    from keras_maskrcnn import data, evaluation, explaining, training, visualize, weights  # noqa: F401


def _overview():
    """Returns what `keras-maskrcnn --help` prints: a line per command."""
    lines = [
        "usage: keras-maskrcnn COMMAND --flag=value ...",
        "",
        "Commands (`keras-maskrcnn COMMAND --help` lists their flags):",
    ]
    for name, (command, _) in COMMANDS.items():
        lines.append(f"  {name:<15} {usage.first_line(command)}")
    return "\n".join(lines)


def _run_command(name, command, options):
    try:
        with _sigterm_ends():
            command(options)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        message = str(error)
    except Exception as error:
        if "tensorflow" not in sys.modules:  # an exported model
            if isinstance(error, MemoryError):
                print(f"keras-maskrcnn {name}: {error}", file=sys.stderr)
                return 1
            raise
        # TensorFlow wraps an error of the input pipeline; our error is inside.
        from keras_maskrcnn.data.origin import data_error

        message = data_error(error) or _machine_error(error)
        if message is None:
            raise
    else:
        return 0
    line = " ".join(message.split())
    if len(line) > _LONGEST_LINE:  # it may quote a value of a hostile file
        line = f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"
    print(f"keras-maskrcnn {name}: {line}", file=sys.stderr)
    return 1


def _machine_error(error):
    """Returns a line for an error of memory, disk or permissions; None for other errors."""
    import tensorflow as tf

    text = str(getattr(error, "message", error))
    lines = re.sub(r"\{\{.*?\}\} ?| ?\[Op:.*", "", text).splitlines()  # where in the graph
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        found = [line for line in lines if re.search("OOM|alloca|space", line)] or [""]
        return "out of memory or disk: smaller images or batches need less. " + found[0]
    refused = (
        tf.errors.PermissionDeniedError,
        tf.errors.NotFoundError,
        tf.errors.AlreadyExistsError,
        tf.errors.FailedPreconditionError,
        tf.errors.UnavailableError,
    )
    # A path in the message means that a file is the cause, and not the graph.
    return lines[0] if isinstance(error, refused) and lines and os.sep in lines[0] else None


@contextlib.contextmanager
def _sigterm_ends():
    """Makes SIGTERM raise an exception, as Ctrl-C does, so that a command can save its results."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: not set by Python
