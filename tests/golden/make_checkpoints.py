"""Writes the small PyTorch files of this folder. It needs torch; see ../shared/peerlab.

python tests/golden/make_checkpoints.py
"""

import argparse
import pathlib

import torch

HERE = pathlib.Path(__file__).parent


def main():
    """Writes one checkpoint in both of PyTorch's formats, and one plain state dict."""
    base = torch.arange(24, dtype=torch.float32)
    state = {
        "contiguous": base.view(2, 3, 4),
        "transposed": base.view(4, 6).t(),
        "window": base[5:9],  # shares the storage of the two above
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "bfloat16": torch.tensor([1.5, -3.0], dtype=torch.bfloat16),
        "flags": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    module = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(module.weight, 3.0)
    torch.nn.init.constant_(module.bias, -1.0)
    checkpoint = {
        "model": {**state, **module.state_dict()},
        "optimizer": {"state": {}, "lr": 0.02},
        "args": argparse.Namespace(epochs=26),
        "epoch": 25,
    }
    torch.save(checkpoint, HERE / "torch_zip.pth")
    torch.save(checkpoint, HERE / "torch_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(module.state_dict(), HERE / "torch_state_dict.pth")


if __name__ == "__main__":
    main()
