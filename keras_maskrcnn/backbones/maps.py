"""Finds the maps of a network by their strides, and the layers that lead to each of them."""

import itertools
from collections.abc import Mapping, Sequence

import keras

from keras_maskrcnn.backbones.tracing import Step, Trace, trace

STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
SIDE = 512  # pixels of the images that are followed through a network
_MOST_MISSING = 4  # cells per side that unpadded convolutions drop; Inception's c2 lacks 4


def trace_at(network: keras.Model, channels: int = 3) -> tuple[Trace, int | None]:
    """Follows images through a network; if it takes one size only, images of this size.

    Args:
        network: functional Keras model.
        channels: int. Channels of its images.

    Returns:
        The `Trace`, and the side of the images in pixels if the network takes no other; else None.

    Raises:
        ValueError: if the network takes images of one size only, and they are no squares.
    """
    _, rows, columns, _ = network.inputs[0].shape
    try:
        return trace(network, SIDE, channels), None
    except (ValueError, TypeError):
        if rows is None or rows != columns:
            raise
        return trace(network, rows, channels), rows


def find_maps(traced: Trace) -> dict[str, int]:
    """Finds the last map of each stride.

    It is the output of a block and not one of its branches: a map that all later layers depend on,
    or a sum or concatenation, as in NASNet. Of these it is the one that most layers lead to.

    Args:
        traced: Trace.

    Returns:
        dict from "c2".."c5" to the number of a step, for the strides that there are.

    Raises:
        ValueError: if there is no map with one of these strides.
    """
    by_stride = _by_stride(traced)
    found = {name: by_stride[stride] for name, stride in STRIDES.items() if stride in by_stride}
    if not found:
        raise ValueError(
            "the network must have maps with strides 4, 8, 16 or 32. "
            f"Received: {_sizes(traced)} rows for an image of {traced.side}."
        )
    deepest = max(found.values(), key=lambda steps: steps[-1])[-1]
    only = set(cuts(traced, deepest))
    return {name: _last(traced, steps, only) for name, steps in found.items()}


def chosen_maps(traced: Trace, names: Mapping[str, str] | Sequence[str]) -> dict[str, int]:
    """Finds maps by the names of layers.

    Args:
        traced: Trace.
        names: dict from "c2".."c5" to names of layers; or a list of names.

    Returns:
        dict from "c2".."c5" to the number of a step.

    Raises:
        ValueError: if there is no such layer, or its map has another stride.
    """
    by_name = {step.name: number for number, step in enumerate(traced.steps)}
    given = list(names.values()) if isinstance(names, Mapping) else list(names)
    unknown = [name for name in given if name not in by_name]
    if unknown:
        raise ValueError(f"maps must be names of layers of the network. Received: {unknown}.")
    found = by_their_stride(traced, [by_name[name] for name in given])
    if isinstance(names, Mapping) and found != {k: by_name[v] for k, v in names.items()}:
        raise ValueError(
            f"maps must have the strides {STRIDES}. Received: {dict(names)}, which are "
            f"{ ({name: traced.steps[number].name for name, number in found.items()}) }."
        )
    return found


def by_their_stride(traced: Trace, numbers: Sequence[int]) -> dict[str, int]:
    """Names steps "c2".."c5" by the strides of their maps.

    Args:
        traced: Trace.
        numbers: list of int. Numbers of steps. Those with other strides are left out.

    Returns:
        dict from name to number.

    Raises:
        ValueError: if none has one of these strides, or two have the same.
    """
    found: dict[str, int] = {}
    for number in numbers:
        stride = stride_of(traced, traced.steps[number])
        for name in (name for name in STRIDES if STRIDES[name] == stride):
            if name in found:
                raise ValueError(
                    f"maps must have different strides. Received: two of stride {stride}, "
                    f"{traced.steps[found[name]].name!r} and {traced.steps[number].name!r}."
                )
            found[name] = number
    if not found:
        shapes = {traced.steps[number].name: traced.steps[number].shape for number in numbers}
        raise ValueError(
            f"maps must have strides 4, 8, 16 or 32. Received: {shapes} for an image of "
            f"{traced.side}."
        )
    return dict(sorted(found.items()))


def stages(traced: Trace, maps: Mapping[str, int]) -> dict[str, list[int]]:
    """Divides the steps that lead to the maps into stages, as the blocks of a ResNet.

    "stem" is what leads to the last map of stride 2; in a network without one, to the first map
    that two layers use. "c2" is what else leads to the map c2, and so on.

    Args:
        traced: Trace.
        maps: dict from "c2".."c5" to the number of a step.

    Returns:
        dict from "stem", "c2", ... to the numbers of steps. The stem may be empty.
    """
    deepest = max(maps.values())
    only = cuts(traced, deepest)
    first = min(maps.values())
    steps = _by_stride(traced).get(2, [])
    stem = _last(traced, steps, set(only)) if steps else None
    if stem is None:
        forks = (n for n in only if 0 < n <= first and len(traced.consumers(n)) > 1)
        stem = next(forks, 0)
    seen: set[int] = set()
    found = {}
    for name, number in {"stem": stem, **dict(sorted(maps.items()))}.items():
        ancestors = traced.ancestors(number)
        found[name] = sorted(ancestors - seen)
        seen |= ancestors
    return found


def cuts(traced: Trace, end: int) -> list[int]:
    """Returns the numbers of the steps that all paths from the images to a step go through."""
    order = sorted(traced.ancestors(end))
    last_use = {}
    for number in order:
        last_use.update(dict.fromkeys(traced.steps[number].sources, number))
    last_use[end] = end
    reach = itertools.accumulate((last_use.get(number, end) for number in order), max)
    # A step is a cut if nothing before it is used after it.
    return [n for n, before in zip(order, [0, *reach], strict=False) if before <= n]


def stride_of(traced: Trace, step: Step) -> int | None:
    """Returns the stride of a step's map, up to 32; None if it is no map of the image."""
    sides = [side for side in step.shape[1:3] if side is not None]
    if len(step.shape) != 4 or len(sides) != 2:
        return None
    for stride in (1, 2, *STRIDES.values()):
        missing = {-(-traced.side // stride) - cells for cells in sides}
        if all(0 <= cells <= _MOST_MISSING for cells in missing):
            return stride
    return None


def _by_stride(traced):
    """Returns a dict from stride to the numbers of the steps on the way to the outputs."""
    needed = set().union(*(traced.ancestors(n) for n in traced.outputs))
    found: dict[int, list[int]] = {}
    for number in sorted(needed):
        stride = stride_of(traced, traced.steps[number])
        if stride is not None:
            found.setdefault(stride, []).append(number)
    return found


def _last(traced, numbers, only):
    """Returns the step that most others lead to, of those that are no part of a branch."""
    whole = [n for n in numbers if n in only or len(traced.steps[n].sources) > 1]
    return max(whole or numbers, key=lambda n: (len(traced.ancestors(n)), n))


def _sizes(traced):
    maps = [step.shape[1] for step in traced.steps if len(step.shape) == 4]
    return sorted({rows for rows in maps if rows}, reverse=True)
