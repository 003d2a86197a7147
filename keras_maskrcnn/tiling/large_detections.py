"""The result of `predict_large`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.tiling.store import TileStore
from keras_maskrcnn.writers.record import ImageRecord


class LargeDetections(Mapping[str, Any]):
    """What `predict_large` found: a mapping like the result of `predict_image`.

    Its keys are `boxes`, `scores`, `labels`, `masks` and `class_names`, as of `predict_image`, by
    falling score. Masks are read from a file one by one, when somebody asks for them: see
    `InstanceMasks.crop`. A pickle, and a copy by `copy`, is a dict; a pickle has all masks in
    memory.

    Args:
        store: TileStore with the objects.
        with_masks: bool. Whether the model has masks.
        class_names: tuple of str, label 1 first; may be empty.
        left_out: dict of window (top, left, height, width) to error.
        record: ImageRecord of the image, for writers.

    Attributes:
        record: ImageRecord. Name and size of the image, and what else its file tells.
        left_out: dict. The error of each tile that could not be read, by its window (top, left,
            height, width).
    """

    def __init__(
        self,
        store: TileStore,
        with_masks: bool,
        class_names: Sequence[str],
        left_out: Mapping[tuple[int, int, int, int], str],
        record: ImageRecord,
    ) -> None:
        self.left_out, self.record = dict(left_out), record
        _, values, masks = store.objects((record.height, record.width))
        self._found: dict[str, Any] = {
            "boxes": values[:, :4].astype(np.float32),
            "scores": values[:, 4].astype(np.float32),
            "labels": values[:, 5].astype(np.int32),
        }
        if with_masks:
            self._found["masks"] = masks
        if class_names:
            self._found["class_names"] = tuple(class_names)
        self._store = store

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        count = len(self._found["scores"])
        size = f"{self.record.height} x {self.record.width}"
        return f"LargeDetections({count} objects in {size} pixels)"

    def window(self, top: int, left: int, height: int, width: int) -> dict[str, Any]:
        """Returns the objects in a window of the image, in the window's pixels.

        Args:
            top, left, height, width: int. The window; it may reach beyond the image.

        Returns:
            dict as from `predict_image`. Boxes are not cut, masks are.
        """
        boxes = self._found["boxes"] - np.array([left, top] * 2, np.float32)
        seen = (boxes[:, :2] < [width, height]).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        inside = np.flatnonzero(seen)
        found = {name: self._found[name][inside] for name in ("scores", "labels")}
        found["boxes"] = boxes[inside]
        if "masks" in self._found:
            whole = self._found["masks"]
            cut = [_cut(whole.crop(i), top, left, height, width) for i in inside.tolist()]
            crops, origins = [crop for crop, _ in cut], [at for _, at in cut]
            found["masks"] = InstanceMasks(crops, origins, (height, width))
        if "class_names" in self._found:
            found["class_names"] = self._found["class_names"]
        return found

    def close(self) -> None:
        """Closes the file of the masks. They cannot be read after that."""
        self._store.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._found,)


def _cut(mask, top, left, height, width):
    """Cuts a mask to a window, and returns it in the window's pixels."""
    region, (y, x) = mask
    y1, x1 = max(y, top), max(x, left)
    part = region[y1 - y : max(y1, top + height) - y, x1 - x : max(x1, left + width) - x]
    return part, (min(y1 - top, height), min(x1 - left, width))
