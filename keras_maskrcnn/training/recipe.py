"""The numbers of a training run: rates, schedules, lengths, of the paper (§3.1) and the peers."""

import dataclasses
import numbers
from typing import Any, Self

import keras

from keras_maskrcnn.aliases import moved
from keras_maskrcnn.training.optimizers import AdamW, WarmupSteps, check_number, sgd

ALGORITHMS = ("sgd", "adamw")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The numbers of a training run; `optimizer()` makes an optimizer from them.

    A step is a batch. With `accumulate_steps`, the weights change once per that many batches, by
    the mean of their gradients. The learning rate is then the one for `accumulate_steps *
    batch_size` images, and the warm-up keeps its number of updates. `steps`, milestones and epochs
    still count batches, so the run sees the same number of images.

    Raises:
        ValueError: if a number is out of its range.
    """

    steps: int
    """Length of the run, in batches."""

    batch_size: int = 2
    """Images per step, over all replicas together."""

    learning_rate: float | None = None
    """Learning rate after the warm-up and before the first milestone. None: `base_rate` for 16
    images per update of the weights, and in proportion for another number (Goyal et al., 2017)."""

    base_rate: float = 0.02
    """Learning rate for 16 images (§3.1)."""

    warmup_fraction: float = 0.1
    """Length of the linear warm-up, as a share of `steps`, in [0, 1] (our choice)."""

    warmup_max: int = 1000
    """Largest number of updates of the weights in the warm-up (the peers' number). An update takes
    `accumulate_steps` steps."""

    milestones: tuple[float, ...] = (0.75,)
    """Shares of `steps` after which the rate is divided by 10 (§3.1: 120k of 160k)."""

    clip_norm: float | None = 10.0
    """Largest norm of all gradients together (our choice). None: no limit."""

    weight_decay: float = 1e-4
    """With SGD, L2 that is added to the gradients (§3.1); with AdamW, decoupled."""

    undecayed: tuple[str, ...] = ("gamma", "beta")
    """SGD, and AdamW with `layer_decay`: names of variables without weight decay (as in
    detectron2)."""

    momentum: float = 0.9
    """SGD only: momentum (§3.1)."""

    algorithm: str = "sgd"
    """The optimizer: "sgd" or "adamw". `ADAMW` has the numbers for "adamw"."""

    accumulate_steps: int = 1
    """Batches per update of the weights."""

    ema_momentum: float | None = None
    """Momentum of a running average of the weights, in [0, 1). None: no average. `Run` and the
    command evaluate and save the average; in your own `fit`, use Keras' SwapEMAWeights."""

    layer_decay: float | None = None
    """Factor of the learning rate per block of the backbone, in (0, 1] (Clark et al., 2020; ViTDet:
    0.7). Neck and heads have the full rate, the last block has it times this, the block before it
    times the square of this, and so on. In a backbone without transformer blocks, a stage counts as
    a block. None: one rate for all. With AdamW, weight decay follows the rate of its layer."""

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(
                f"algorithm must be one of {', '.join(ALGORITHMS)}. "
                f"Received: algorithm={self.algorithm!r}."
            )
        for name in ("steps", "batch_size", "accumulate_steps"):
            check_number(name, getattr(self, name), low=1, kind=numbers.Integral)
        for name in ("base_rate", "warmup_max", "weight_decay"):
            check_number(name, getattr(self, name))
        for name in ("warmup_fraction", "momentum"):
            check_number(name, getattr(self, name), high=1)
        for share in self.milestones:
            check_number("milestones", share, high=1)
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm)
        if self.clip_norm == 0:  # it would remove all gradients
            raise ValueError("clip_norm must be positive, or None. Received: clip_norm=0.")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"layer_decay must be in (0, 1]. Received: layer_decay={self.layer_decay}."
            )
        if self.ema_momentum is not None and not 0 <= self.ema_momentum < 1:
            raise ValueError(
                f"ema_momentum must be in [0, 1). Received: ema_momentum={self.ema_momentum}."
            )

    @classmethod
    def named(cls, name: str, batch_size: int, steps: int | None = None, **fields: Any) -> Self:
        """Makes a recipe from `RECIPES`.

        Args:
            name: str. A key of `RECIPES`.
            batch_size: int. Images per step.
            steps: int. None: as many as the recipe's number of images needs.
            **fields: fields of `Recipe` that replace the named recipe's values.

        Returns:
            The `Recipe`.

        Raises:
            ValueError: if there is no such recipe, or a number is out of its range.
        """
        if name not in RECIPES:
            raise ValueError(
                f"name must be a recipe, one of {', '.join(RECIPES)}. Received: name={name!r}."
            )
        preset = dict(RECIPES[name])
        images = preset.pop("images")
        check_number("batch_size", batch_size, low=1)
        steps = max(1, images // batch_size) if steps is None else steps
        return cls(steps, batch_size, **{**preset, **fields})

    def schedule(self) -> dict[str, Any]:
        """Returns the arguments of `WarmupSteps`: rates and steps instead of shares."""
        rate = self.learning_rate
        if rate is None:
            rate = self.base_rate * self.batch_size * self.accumulate_steps / 16
        warmup_max = self.warmup_max * self.accumulate_steps
        return {
            "learning_rate": rate,
            "warmup_steps": min(warmup_max, int(self.steps * self.warmup_fraction)),
            "milestones": [int(self.steps * share) for share in self.milestones],
        }

    def optimizer(self) -> keras.optimizers.Optimizer:
        """Returns the optimizer for `model.compile`."""
        options: dict[str, Any] = {}
        if self.accumulate_steps > 1:
            options["gradient_accumulation_steps"] = self.accumulate_steps
        if self.ema_momentum is not None:
            options |= {"use_ema": True, "ema_momentum": self.ema_momentum}
        if self.algorithm == "adamw":
            rate = WarmupSteps(**self.schedule())
            if self.layer_decay is not None:
                own = (self.weight_decay, self.undecayed, self.layer_decay)
                return AdamW(rate, *own, global_clipnorm=self.clip_norm, **options)
            return keras.optimizers.AdamW(
                rate, self.weight_decay, global_clipnorm=self.clip_norm, **options
            )
        return sgd(
            **self.schedule(),
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            undecayed=self.undecayed,
            clip_norm=self.clip_norm,
            layer_decay=self.layer_decay,
            **options,
        )

    def __str__(self) -> str:
        shown = {"steps": self.steps, "batch_size": self.batch_size, **self.schedule()}
        shown |= {name: getattr(self, name) for name in ("algorithm", "weight_decay", "clip_norm")}
        for name, default in (
            ("accumulate_steps", 1),
            ("ema_momentum", None),
            ("layer_decay", None),
        ):
            if getattr(self, name) != default:
                shown[name] = getattr(self, name)
        if self.algorithm == "sgd" or self.layer_decay is not None:
            shown["undecayed"] = self.undecayed
        if self.algorithm == "sgd":
            shown["momentum"] = self.momentum
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


# Not in the paper. From random weights, AdamW needs a third of the steps of SGD. Its weight decay
# is decoupled (Loshchilov & Hutter, 2019), so the same number has less effect.
ADAMW = {"algorithm": "adamw", "base_rate": 4e-3, "weight_decay": 0.05}
"""Fields of a `Recipe` that trains with AdamW instead of SGD."""

# The recipes with which the paper and the peers trained on COCO. "images" counts those of all steps
# together, so that a run with another batch size sees the same number. docs/recipes.md says which
# preset each recipe belongs to.
_COCO = 117_266  # images of train2017 with annotations
_PEER = {"warmup_max": 1000, "clip_norm": None}
# detectron2's projects/ViTDet/configs. Norms, biases and positions do not decay (as in BEiT).
_VITDET = {
    "algorithm": "adamw",
    "base_rate": 1e-4 * 16 / 64,
    "weight_decay": 0.1,
    "warmup_max": 250,
    "clip_norm": None,
    "layer_decay": 0.7,
    "undecayed": ("gamma", "beta", "bias", "positions", "rel_pos_h", "rel_pos_w"),
}
RECIPES: dict[str, dict[str, Any]] = {
    # §3.1: 160k steps of 16 images. The warm-up is from Detectron, the authors' code.
    "paper": {"images": 160_000 * 16, "warmup_max": 500, "clip_norm": None},
    # §3.1, ResNeXt: 1 image on each of 8 GPUs, also 160k steps; the same rule gives a rate of 0.01.
    "paper_resnext": {"images": 160_000 * 8, "warmup_max": 500, "clip_norm": None},
    "detectron2_1x": {**_PEER, "images": 90_000 * 16, "milestones": (60 / 90, 80 / 90)},
    "detectron2_2x": {**_PEER, "images": 180_000 * 16, "milestones": (120 / 180, 160 / 180)},
    "detectron2_3x": {**_PEER, "images": 270_000 * 16, "milestones": (210 / 270, 250 / 270)},
    # Large-scale jitter (Ghiasi et al., 2021): 64 images per step, a rate of 0.1.
    "detectron2_lsj": {
        "images": 184_375 * 64,
        "base_rate": 0.1 * 16 / 64,
        "warmup_max": 500,
        "clip_norm": None,
        "milestones": (163_889 / 184_375, 177_546 / 184_375),
        "weight_decay": 4e-5,
    },
    # ViTDet-B (Li et al., 2022, Appendix A.2): 64 images per step, AdamW, a rate of 1e-4.
    "vitdet": {
        **_VITDET,
        "images": 184_375 * 64,
        "milestones": (163_889 / 184_375, 177_546 / 184_375),
    },
    "torchvision": {
        **_PEER,
        "images": 26 * _COCO,
        "milestones": (16 / 26, 22 / 26),
        "undecayed": (),
    },
    "torchvision_v2": {
        **_PEER,
        "images": 400 * _COCO,
        "base_rate": 0.1 * 16 / 64,
        "undecayed": (),
        "milestones": (352 / 400, 384 / 400),
        "weight_decay": 4e-5,
    },
}
"""Schedules of the paper and of its peers, by name, for `Recipe.named`."""

# Presets that are meant for training from scratch, or with AdamW, have a recipe other than that of
# §3.1. The larger a ViT, the nearer to 1 is its layer decay (Li et al., 2022, Appendix A.2).
_LAYER_DECAY = {"vitdet_base": 0.7, "vitdet_large": 0.8, "vitdet_huge": 0.9}
PRESET_RECIPES: dict[str, dict[str, Any]] = {
    f"{task}_rcnn_{name}": fields
    for task in ("mask", "faster")
    for name, fields in (
        ("resnet18_fpn_small", {"base_rate": 0.08, "milestones": (0.85,)}),
        *((f"{x}_simple_fpn", {**_VITDET, "layer_decay": y}) for x, y in _LAYER_DECAY.items()),
    )
}
"""Fields of a `Recipe` that differ for a preset, by the preset's name."""

__getattr__ = moved(
    __name__,
    {
        "SGD": "keras_maskrcnn.training.optimizers:SGD",
        "freeze": "keras_maskrcnn.training.freezing:freeze",
    },
)
