"""Reads the graph of a functional Keras network: which operation uses the output of which."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_maskrcnn.keras_private import run_through_graph
from keras_maskrcnn.layers.fit_to_stride import FitToStride


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One call of an operation. Networks inside of networks are opened, so they are no steps.

    Attributes:
        operation: keras.Operation, mostly a layer. None for the images.
        args: list. Its arguments, with keras.KerasTensor for tensors.
        kwargs: dict. The same.
        outputs: list of keras.KerasTensor: the shapes of the outputs for the traced images.
        sources: tuple of int. Numbers of the steps whose outputs it uses.
        inside: tuple of str. Names of the networks that the operation is in, outermost first.
    """

    operation: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    outputs: Sequence[keras.KerasTensor]
    sources: tuple[int, ...]
    inside: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of the first output, with the batch."""
        return self.outputs[0].shape if self.outputs else ()

    @property
    def name(self) -> str:
        """The operation's name."""
        return "" if self.operation is None else self.operation.name


@dataclasses.dataclass(frozen=True)
class Trace:
    """The graph of a network for images of one size.

    Attributes:
        steps: list of `Step`, each after those that it uses. The first one is the images.
        outputs: list of int. Number of the step of each output of the network.
    """

    steps: Sequence[Step]
    outputs: Sequence[int]

    @property
    def side(self) -> int:
        """Height and width of the traced images, in pixels."""
        side = self.steps[0].shape[1]
        assert side is not None
        return side

    def ancestors(self, number: int) -> set[int]:
        """Returns the numbers of all steps that a step depends on, and its own."""
        found, todo = set(), [number]
        while todo:
            step = todo.pop()
            if step not in found:
                found.add(step)
                todo += self.steps[step].sources
        return found

    def consumers(self, number: int) -> list[int]:
        """Returns the numbers of the steps that use the output of a step."""
        return [n for n, step in enumerate(self.steps) if number in step.sources]


def trace(network: keras.Model, side: int, channels: int = 3) -> Trace:
    """Follows images of one size through a network, without computing anything.

    Args:
        network: functional Keras model with one input, (B, H, W, C).
        side: int. Height and width of the images, in pixels.
        channels: int. Channels of the images.

    Returns:
        `Trace`.
    """
    images = keras.KerasTensor((1, side, side, channels), network.inputs[0].dtype)
    steps = [Step(None, [], {}, [images], ())]
    made_by = {id(images): 0}  # stand-ins of tensors live as long as the steps

    def visit(inside):
        def call(operation, *args, **kwargs):
            if isinstance(operation, keras.Sequential):
                (x,) = args
                for layer in operation.layers:
                    x = visit((*inside, operation.name))(layer, x)
                return x
            if isinstance(operation, keras.Function):
                structure = operation.output
                given = keras.tree.flatten(args[0])
                outputs = run_through_graph(operation, given, visit((*inside, operation.name)))
                return keras.tree.pack_sequence_as(structure, outputs)
            # Keras adds arguments such as mask=None.
            kwargs = {name: value for name, value in kwargs.items() if value is not None}
            found = operation.compute_output_spec(*args, **kwargs)
            outputs = keras.tree.flatten(found)
            # An operation without effect may return its input.
            outputs = [keras.KerasTensor(x.shape, x.dtype) for x in outputs]
            flat = keras.tree.flatten((args, kwargs))
            sources = dict.fromkeys(made_by[id(x)] for x in flat if id(x) in made_by)
            if isinstance(operation, FitToStride):  # it uses only the size of the images
                sources = dict.fromkeys(list(sources)[:1])
            made_by.update((id(x), len(steps)) for x in outputs)
            steps.append(Step(operation, args, kwargs, outputs, tuple(sources), inside))
            return keras.tree.pack_sequence_as(found, outputs)

        return call

    plain = keras.Model(network.inputs, network.outputs)  # also of a Sequential
    ends = run_through_graph(plain, [images], visit(()))
    return Trace(steps, [made_by[id(x)] for x in ends])
