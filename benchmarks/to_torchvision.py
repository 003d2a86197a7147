"""Writes a model's weights under torchvision's names, and its config, for tiles_sahi.py.

    python benchmarks/to_torchvision.py --model=model.keras --output=weights.npz

It is the inverse of `weights.load_torchvision`. torchvision computes the same only if the model has
torchvision's conventions, as that of tiles_model.py has. torchvision_model.py reads the file.
"""

import argparse
import dataclasses
import json

import keras
import numpy as np

import keras_maskrcnn  # noqa: F401 (registers the model's class)
from keras_maskrcnn.weights.load import _VARIABLES
from keras_maskrcnn.weights.names import peer_names


def torchvision_arrays(model):
    """Returns a dict of torchvision's names to arrays in PyTorch's layout."""
    arrays = {}
    for network, layers in model.networks.items():
        for variable in layers.weights:
            layer, name = variable.path.split("/")[0], variable.path.split("/")[-1]
            layer = f"{network}/{layer}"
            own, norm = peer_names("torchvision", layer, ())
            key = f"{norm if '/norm/' in variable.path else own}.{_VARIABLES[name]}"
            arrays[key] = _in_torch(np.asarray(variable), layer, name, model.config)
    return arrays


def _in_torch(array, layer, name, config):
    """Returns one of our arrays in PyTorch's layout."""
    if name == "kernel" and array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif name == "kernel" and array.ndim == 2:
        if layer == "box_head/fc1":  # PyTorch flattens with the channels first
            cells = config.box_pool_size**2
            array = array.reshape(cells, -1, array.shape[1]).transpose(1, 0, 2)
            array = array.reshape(-1, array.shape[2])
        array = array.T
    if layer in ("box_head/box_deltas", "mask_head/logits"):  # torchvision has background in them
        rows = 4 if layer == "box_head/box_deltas" else 1
        array = np.concatenate([np.zeros_like(array[:rows]), array])
    return np.ascontiguousarray(array)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    model = keras.models.load_model(args.model)
    config = json.dumps(dataclasses.asdict(model.config))
    np.savez(args.output, config=config, **torchvision_arrays(model))


if __name__ == "__main__":
    main()
