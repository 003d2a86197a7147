"""Types that several signatures use."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Path = str | os.PathLike[str]
"""Path of a file or folder."""

Size = tuple[int, int]
"""Height and width, in pixels."""

Tensors = dict[str, "tf.Tensor"]
"""Tensors by name: the inputs or targets of a batch, feature maps, or losses."""

Augmentation = Callable[[Tensors, "tf.Tensor"], Tensors]
"""A function (example, seed) -> example, see `data.augment`."""

ClassNames = Sequence[str] | Mapping[int, str] | Path
"""Names of classes, or the path of a file of names, see `data.class_names.read_class_names`."""

OnError = Literal["raise", "skip"]
"""What to do with an image that cannot be read."""

Crowds = Literal["drop", "ignore", "objects"]
"""How annotations with iscrowd=1 are read, see `data.coco_dict`."""

Orientation = Literal["ignore", "apply"]
"""What happens to the orientation tag (EXIF) of image files, see `data.coco_dict`."""


class Dataset(Protocol):
    """The interface of a data set for `data.batches`. `CocoDataset` has it.

    Optional attributes are `has_masks` (True if missing), `has_ignored` (False if missing) and
    `skipped`. `channels`, `image_dtype` and `pixel_max` say what its images are; if missing, 8-bit
    RGB (3, "uint8" and 255). A data set that is used with proposals also needs `image_ids`.
    """

    @property
    def file_names(self) -> Sequence[str]:
        """Name of each image, for error messages."""

    @property
    def sizes(self) -> Sequence[Size]:
        """(height, width) of each image, in pixels."""

    @property
    def mask_size(self) -> int:
        """Side M of the masks that `load` returns."""

    @property
    def max_instances(self) -> int:
        """Largest number of instances in one image, at least 1."""

    @property
    def num_instances(self) -> np.ndarray:
        """(I,) int. Number of instances in each image."""

    def __len__(self) -> int:
        """Number of images."""

    def load(self, index: int) -> dict[str, np.ndarray]:
        """Reads one image and its instances."""

    def load_image(self, index: int) -> np.ndarray:
        """Reads one image as (H, W, channels) of `image_dtype`: by default (H, W, 3) uint8."""


class Items(Protocol):
    """An object that `data.from_items` makes a data set of. Indices count from 0.

    It may also have a method `size(index)` that returns (height, width). Otherwise each image is
    read once when the data set is made.
    """

    def __len__(self) -> int:
        """Number of images."""

    def load_image(self, index: int, /) -> Any:
        """Returns an image: an array (H, W) or (H, W, C), or anything that NumPy or Pillow has.

        Several threads may call it at a time. An image that cannot be read may raise anything.
        """

    def annotations(self, index: int, /) -> Mapping[str, Any]:
        """Returns the n instances of an image as a dict.

        - labels: n category ids or class names. It may be missing if there is one class.
        - boxes: (n, 4) [x1, y1, x2, y2] in pixels. With masks or polygons it may be missing.
        - masks: (n, H, W), or n of (H, W), True or not 0 inside; or n of COCO's run lengths; or one
          label image (H, W) of whole numbers, in which 0 is background. `labels` of a label image
          may be a dict of value to class; a list is in ascending order of the values.
        - polygons: n lists of polygons, each (k, 2) or [x1, y1, x2, y2, ...].
        - iscrowd: (n,) bool, by default False.
        - area: (n,) float, by default that of the mask or of the box.
        - image_id: anything; it is ignored.
        """


class Proposals(Protocol):
    """Proposals of images: `data.ProposalFile`, or a dict of image id to (boxes, scores)."""

    def get(self, image_id: Any, /) -> Any:
        """Returns boxes (n, 4) and scores (n,) of an image, by falling score."""

    def __contains__(self, image_id: Any, /) -> bool:
        """Whether an image has an entry, which may be empty."""
