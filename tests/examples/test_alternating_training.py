import pathlib
import runpy

import keras
import numpy as np
import pytest
from tiny_runs import TINY, data_flags, make_shapes

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_alternating_training_ends_in_one_model_with_one_backbone(tmp_path, monkeypatch):
    make_shapes(tmp_path / "shapes", train=6, val=3, size=64)
    monkeypatch.syspath_prepend(EXAMPLES)
    main = runpy.run_path(str(EXAMPLES / "alternating_training.py"))["main"]
    main(
        [
            *data_flags(tmp_path / "shapes", "train"),
            *TINY,
            "--steps=1",
            f"--output={tmp_path / 'run'}",
        ]
    )
    load = keras.models.load_model
    joint, detector, rpn, second = (
        load(tmp_path / "run" / name / "model.keras") for name in ("", "step4", "step3", "step2")
    )
    assert joint.config.proposals == "joint"
    for name, sources in {
        "backbone": (detector, rpn),
        "fpn": (detector, rpn),
        "box_head": (detector,),
        "mask_head": (detector,),
        "rpn_head": (rpn,),
    }.items():
        for source in sources:
            for ours, theirs in zip(
                joint.networks[name].weights, source.networks[name].weights, strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)
    kernels = [m.backbone.get_layer("stem").kernel for m in (joint, second)]
    np.testing.assert_array_equal(*kernels)  # steps 3 and 4 did not change step 2's backbone
