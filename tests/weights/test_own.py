import dataclasses
import shutil

import h5py
import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.weights import CheckpointError, start_from

PREDICTORS = [
    f"{layer}/{name}"
    for layer in ("box_head/class_logits", "box_head/box_deltas", "mask_head/logits")
    for name in ("kernel", "bias")
]


@pytest.fixture(scope="module")
def trained(tiny_config):
    """A model of three classes whose weights all differ from those of a new model."""
    config = dataclasses.replace(tiny_config, class_names=("cat", "dog", "cow"))
    model = MaskRCNN(config)
    model.set_weights([value + 1 for value in model.get_weights()])
    return model


def arrays(model):
    return {
        f"{network}/{v.path}": np.asarray(v)
        for network, layers in model.networks.items()
        for v in layers.weights
    }


def like(trained, **fields):
    return MaskRCNN(dataclasses.replace(trained.config, **{"class_names": (), **fields}))


def assert_starts_from(model, before, trained, afresh):
    theirs = arrays(trained)
    for name, value in arrays(model).items():
        expected = before if name in afresh or name.split("/")[0] in afresh else theirs
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.fixture(scope="module")
def path(trained, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("weights") / "earlier.weights.h5")
    trained.save_weights(path)
    return path


def test_with_other_classes_the_predictors_alone_start_afresh(trained, path):
    model = like(trained, num_classes=2)
    before = arrays(model)
    for source in (path, trained):
        afresh = start_from(model, source, "earlier")
        assert sorted(afresh) == sorted(PREDICTORS)
        assert_starts_from(model, before, trained, afresh)
        model.set_weights(list(before.values()))


def test_as_many_classes_of_other_names_are_other_classes(trained, path):
    model = like(trained, class_names=("dog", "cat", "cow"))
    before = arrays(model)
    afresh = start_from(model, trained, "earlier")
    assert sorted(afresh) == sorted(PREDICTORS)
    assert_starts_from(model, before, trained, afresh)
    spelled = like(trained, class_names=("Cat", "dog ", "COW"))
    assert start_from(spelled, trained, "earlier") == []
    assert start_from(model, path, path) == []  # a weights file has no class names
    assert_starts_from(model, before, trained, [])


def test_networks_that_a_model_does_not_have_start_afresh(trained, tmp_path):
    boxes = like(trained, task="boxes")
    boxes.set_weights([value + 2 for value in boxes.get_weights()])
    model = like(trained)
    before = arrays(model)
    assert start_from(model, boxes, "boxes.keras") == ["mask_head"]
    assert_starts_from(model, before, boxes, ["mask_head"])
    boxes.save_weights(tmp_path / "boxes.weights.h5")
    with pytest.raises(CheckpointError, match="Received: mask_head/conv1/kernel missing"):
        start_from(like(trained), str(tmp_path / "boxes.weights.h5"), "boxes.weights.h5")


def test_another_network_is_an_error_that_names_the_array_and_changes_nothing(trained, path):
    model = like(trained, fpn_channels=8)
    before = arrays(model)
    for source in (path, trained):
        with pytest.raises(CheckpointError, match="only predictors may .* Received: fpn/"):
            start_from(model, source, "earlier")
        assert_starts_from(model, before, model, list(before))


def test_an_array_that_is_left_over_is_an_error(trained):
    deeper = like(trained, rpn_head_convs=2)
    with pytest.raises(CheckpointError, match="rpn_head/conv2/kernel, which the model has"):
        start_from(like(trained), deeper, "deeper.keras")


def test_a_file_of_something_else_is_named(trained, tmp_path):
    path = tmp_path / "text.weights.h5"
    path.write_text("no weights")
    with pytest.raises(CheckpointError, match="text.weights.h5 cannot be read as weights of Keras"):
        start_from(trained, str(path), str(path))


def test_pixels_that_were_scaled_otherwise_are_named(trained, caplog):
    start_from(like(trained, pixel_std=(1.0, 1.0, 1.0)), trained, "earlier.keras")
    assert "earlier.keras was trained with another pixel_std" in caplog.text


@pytest.mark.parametrize("kind", ["link", "virtual", "external"])
def test_a_file_of_weights_cannot_read_another_file(trained, path, kind, tmp_path):
    bad, far, raw = (str(tmp_path / name) for name in ("a.weights.h5", "far.h5", "far.bin"))
    shutil.copy(path, bad)
    with h5py.File(bad, "r+") as file, h5py.File(far, "w") as other:
        found = []
        file.visititems(lambda name, _: found.append(name) if name.endswith("vars/0") else None)
        values = file[found[0]][()]
        other["w"] = values
        values.tofile(raw)
        del file[found[0]]
        if kind == "link":
            file[found[0]] = h5py.ExternalLink(far, "w")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[...] = h5py.VirtualSource(far, "w", values.shape)
            file.create_virtual_dataset(found[0], layout)
        else:
            place = [(raw, 0, values.nbytes)]
            file.create_dataset(found[0], values.shape, values.dtype, external=place)
    model = like(trained)
    before = arrays(model)
    with pytest.raises(CheckpointError, match=f"a.weights.h5 .*{found[0]} lies in another file"):
        start_from(model, bad, bad)
    for name, value in arrays(model).items():
        np.testing.assert_array_equal(value, before[name])
