"""Cases of the commands: each command line of a README.txt, as cheaply as it can be run."""

import numpy as np

from keras_maskrcnn import cli

SMALL = [
    "--preset=mask_rcnn_resnet18_fpn_small", "--image_size=96", "--fpn_channels=16",
    "--box_head_units=16", "--mask_head_channels=16", "--steps=1",
]  # fmt: skip


def test_fine_tuning_to_other_classes_names_what_starts_afresh(case, tmp_path, capsys, monkeypatch):
    folder, models = case("weights_of_a_model_with_other_classes"), []

    def fit(model, *args, **kwargs):  # what a step would add is traced for ten seconds
        models.append(model)

    monkeypatch.setattr("keras_maskrcnn.MaskRCNN.fit", fit)

    def train(part, output, *flags):
        flags += (f"--images={folder / part / 'images'}", f"--output={tmp_path / output}")
        flags += (f"--annotations={folder / part / 'ann.json'}",)
        assert cli.run(["train", *SMALL, *flags]) == 0
        return capsys.readouterr().out.splitlines()

    train("two", "two")
    models[0].save_weights(tmp_path / "two" / "model.weights.h5")
    for i, name in enumerate(["model.keras", "model.weights.h5"]):
        path = tmp_path / "two" / name
        lines = train("three", f"three{i}", f"--weights={path}")
        assert lines[0] == f"{path} gives all weights but these, which start afresh:"
        assert sorted(line.strip() for line in lines[1:7]) == [
            "box_head/box_deltas/bias", "box_head/box_deltas/kernel",
            "box_head/class_logits/bias", "box_head/class_logits/kernel",
            "mask_head/logits/bias", "mask_head/logits/kernel",
        ]  # fmt: skip
        kernels = [model.box_head.get_layer("fc1").kernel for model in models]
        np.testing.assert_array_equal(kernels[0], kernels[-1])
