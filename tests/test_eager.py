"""Steps without a graph compute the same, so tests may use them."""

import numpy as np
from eager import eager_steps

from keras_maskrcnn import training
from keras_maskrcnn.model import MaskRCNN


def test_steps_without_a_graph_give_what_those_with_one_give(tiny_config, batch):
    graph, eager = (MaskRCNN(tiny_config) for _ in range(2))
    eager.set_weights(graph.get_weights())
    for model in (graph, eager):
        model.compile(training.sgd(0.01, warmup_steps=0))
    expected = [graph.predict_on_batch(batch[0])]
    expected += [graph.train_on_batch(*batch, return_dict=True) for _ in range(2)]
    with eager_steps():
        found = [eager.predict_on_batch(batch[0])]
        found += [eager.train_on_batch(*batch, return_dict=True) for _ in range(2)]
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) == set(theirs)
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], atol=1e-3, err_msg=name)
    for ours, theirs in zip(eager.get_weights(), graph.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
