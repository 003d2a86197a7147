"""The masks of one image, each kept only inside its own window.

An array of whole masks needs n x H x W bytes: 1 GiB for 90 objects in a photo of 12 megapixels.
Windows need one byte per pixel of the objects' boxes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.ops import masks as mask_ops
from keras_maskrcnn.typing import Size

Crop = tuple[np.ndarray, tuple[int, int]]
"""(h, w) bool and (y, x): a part of the image, and the position of its upper left pixel."""


class InstanceMasks(np.lib.mixins.NDArrayOperatorsMixin):
    """n masks of one image; it can be used like an array (n, H, W) of bool.

    Whatever needs the whole array makes it: `np.asarray(masks)`, operators like `&`, and methods of
    arrays such as `masks.any(0)`. `masks[i]` makes one mask (H, W). `crop`, `rle` and `areas` make
    none.

    Args:
        crops: sequence of n arrays (h, w) bool. The mask inside its window; it is False outside.
        origins: (n, 2) int, or sequence of n pairs (y, x). The window's upper left pixel. Windows
            lie inside the image.
        size: (H, W) of the image, in pixels.

    Attributes:
        size: (H, W).

    Raises:
        ValueError: if the numbers of crops and origins differ.
    """

    def __init__(
        self,
        crops: Sequence[np.ndarray],
        origins: np.ndarray | Sequence[tuple[int, int]],
        size: Size,
    ) -> None:
        if len(crops) != len(origins):
            raise ValueError(
                "each crop must have an origin. Received: "
                f"{len(crops)} crops, {len(origins)} origins."
            )
        self._crops, self._origins = crops, origins
        self.size = int(size[0]), int(size[1])

    @classmethod
    def of(cls, masks: "np.ndarray | InstanceMasks") -> "InstanceMasks":
        """Returns the masks with a window around each.

        Args:
            masks: (n, H, W), True or not 0 inside an object; or masks of this class, which are
                returned as they are.
        """
        if isinstance(masks, InstanceMasks):
            return masks
        height, width = np.shape(masks)[1:]
        cropped = [trimmed(np.asarray(mask) != 0, (0, 0)) for mask in masks]
        return cls([crop for crop, _ in cropped], [at for _, at in cropped], (height, width))

    @classmethod
    def paste(
        cls, masks: np.ndarray, boxes: np.ndarray, size: Size, rule: str = "detectron2"
    ) -> "InstanceMasks":
        """Resizes masks to their boxes and cuts them at 0.5 (§3.1, Inference).

        Args:
            masks: (n, m, m) float in [0, 1]. Probabilities on the grids of the boxes.
            boxes: (n, 4) float [x1, y1, x2, y2] in pixels of the image.
            size: (H, W) of the image.
            rule: as in `ops.masks.paste`.
        """
        pasted = [
            mask_ops.paste(mask, box, *size, rule) for mask, box in zip(masks, boxes, strict=True)
        ]
        return cls([region >= 0.5 for region, _ in pasted], [at for _, at in pasted], size)

    def crop(self, index: int) -> Crop:
        """Returns one mask as (h, w) bool and the (y, x) of its window in the image."""
        y, x = self._origins[index]
        return self._crops[index], (int(y), int(x))

    def crops(self) -> Iterator[Crop]:
        """Yields `crop(i)` of all masks in order."""
        return (self.crop(i) for i in range(len(self)))

    def rle(self, index: int) -> dict[str, Any]:
        """Returns one mask as COCO's compressed run lengths of the whole image."""
        from keras_maskrcnn.ops import rle  # `runtime` works without its pycocotools

        region, origin = self.crop(index)
        return rle.encode_region(region, origin, *self.size)

    def areas(self) -> np.ndarray:
        """Returns (n,) int64, the pixels of each mask."""
        return np.array([np.count_nonzero(crop) for crop, _ in self.crops()], np.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, H, W)."""
        return len(self), *self.size

    @property
    def dtype(self) -> np.dtype[np.bool_]:
        """Bool."""
        return np.dtype(bool)

    def __len__(self) -> int:
        return len(self._origins)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            region, (y, x) = self.crop(range(len(self))[index])
            mask = np.zeros(self.size, bool)
            mask[y : y + region.shape[0], x : x + region.shape[1]] = region
            return mask
        if isinstance(index, slice | list) or getattr(index, "ndim", 0) == 1:
            return self._chosen(np.arange(len(self))[index])
        return np.asarray(self)[index]

    def _chosen(self, indices: np.ndarray) -> "InstanceMasks":
        cropped = [self.crop(i) for i in indices.tolist()]
        return InstanceMasks([crop for crop, _ in cropped], [at for _, at in cropped], self.size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("masks in windows have no whole array that could be shared.")
        whole = np.zeros(self.shape, bool)
        for out, (region, (y, x)) in zip(whole, self.crops(), strict=True):
            out[y : y + region.shape[0], x : x + region.shape[1]] = region
        return whole if dtype is None else whole.astype(dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(x, InstanceMasks) for x in options.get("out", ())):
            raise TypeError("masks in windows cannot be changed in place; use np.asarray(masks).")
        arrays = [np.asarray(x) if isinstance(x, InstanceMasks) else x for x in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked by copy, pickle and NumPy, before `__init__` too
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"


def part_of(mask: Crop, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """Returns a mask in a part of the image.

    Args:
        mask: (region, (y, x)) as of `InstanceMasks.crop`. Outside of its window it is False.
        top, left, bottom, right: int. The pixels from top to bottom - 1, and left to right - 1.

    Returns:
        (bottom - top, right - left) bool.
    """
    region, (y, x) = mask
    part = np.zeros((bottom - top, right - left), bool)
    y1, x1 = max(top, y), max(left, x)
    y2, x2 = min(bottom, y + region.shape[0]), min(right, x + region.shape[1])
    if y1 < y2 and x1 < x2:
        part[y1 - top : y2 - top, x1 - left : x2 - left] = region[y1 - y : y2 - y, x1 - x : x2 - x]
    return part


def trimmed(region: np.ndarray, origin: tuple[int, int]) -> Crop:
    """Returns a mask without its empty border: (h, w) bool and its (y, x); (0, 0) if it is empty.

    Args:
        region: (h, w) bool.
        origin: (y, x) of the region's upper left pixel.
    """
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not rows.size:
        return np.zeros((0, 0), bool), (0, 0)
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    inside = region[top : bottom + 1, left : right + 1]
    return inside, (origin[0] + int(top), origin[1] + int(left))
