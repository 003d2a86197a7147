"""Compares our backbones, with torchvision's weights, to torchvision's outputs.

    TORCH_PYTHON benchmarks/parity_backbones.py write FOLDER
    python benchmarks/parity_backbones.py read FOLDER

`write` needs only torchvision. It gives every ResNet and ResNeXt random weights and statistics, and
writes its state dict and the outputs of its four stages for one image. `read` imports the state
dict into our backbone. It prints the largest difference of the outputs, in units of the standard
deviation.
"""

import argparse
import pathlib

import numpy as np

SIZE = (96, 128)


def write(folder):
    """Runs torchvision's networks, and writes their weights and outputs."""
    import torch
    from torchvision.models import resnet

    torch.manual_seed(0)
    images = torch.randn(1, 3, *SIZE)
    names = ("resnet18", "resnet34", "resnet50", "resnet101")
    for name in (*names, "resnext50_32x4d", "resnext101_32x8d"):
        model = getattr(resnet, name)(weights=None)
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(layer.weight, 0.6, 0.1)
                torch.nn.init.normal_(layer.bias, 0.0, 0.1)
        with torch.no_grad():
            model.train()(images.repeat(2, 1, 1, 1))  # its statistics keep features in range
            model.eval()
            x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
            outputs = {"images": images.permute(0, 2, 3, 1).numpy()}
            for i in range(1, 5):
                x = getattr(model, f"layer{i}")(x)
                outputs[f"c{i + 1}"] = x.permute(0, 2, 3, 1).numpy()
        torch.save(model.state_dict(), folder / f"{name}.pth")
        np.savez(folder / f"{name}.npz", **outputs)


def read(folder):
    """Imports the weights, and prints the differences."""
    import keras_maskrcnn as mrcnn

    print("| backbone | c2 | c3 | c4 | c5 |\n| --- | --- | --- | --- | --- |")
    for path in sorted(folder.glob("*.npz")):
        model = mrcnn.MaskRCNN.from_preset(f"faster_rcnn_{path.stem}_fpn", num_classes=1)
        mrcnn.weights.load_torchvision(model, path.with_suffix(".pth"), verbose=False)
        with np.load(path) as expected:
            found = model.backbone(expected["images"])
            cells = [
                f"{np.abs(found[c] - expected[c]).max() / np.std(expected[c]):.1e}"
                for c in ("c2", "c3", "c4", "c5")
            ]
        print(f"| {path.stem} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["write", "read"])
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    {"write": write, "read": read}[arguments.action](arguments.folder)
