"""Writes roi_pool_gradient.npz from roi_pool.npz. It needs torchvision; see ../shared/peerlab.

python tests/golden/make_roi_pool_gradient.py
"""

import pathlib

import numpy as np
import torch
from torchvision import ops

HERE = pathlib.Path(__file__).parent


def main():
    """Writes the gradient of sum(weight * roi_pool(features)) with respect to the features."""
    with np.load(HERE / "roi_pool.npz") as stored:
        features = torch.tensor(stored["features"], requires_grad=True)
        pooled = ops.roi_pool(features, torch.tensor(stored["rois"]), 7, 0.25)
    weight = np.random.default_rng(0).normal(size=pooled.shape).astype(np.float32)
    pooled.backward(torch.tensor(weight))
    np.savez_compressed(
        HERE / "roi_pool_gradient.npz", weight=weight, gradient=features.grad.numpy()
    )


if __name__ == "__main__":
    main()
