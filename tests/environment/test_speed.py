import tensorflow as tf

from keras_maskrcnn.environment import speed


def test_both_precisions_are_timed(monkeypatch):
    monkeypatch.setattr(speed, "SIDE", 4)
    monkeypatch.setattr(speed, "CHANNELS", 8)
    found = speed.measure()
    assert set(found) == {"float32", "bfloat16"}
    assert all(0 < times["predict"] < 10 and 0 < times["fit"] < 10 for times in found.values())


def test_a_precision_in_which_nothing_can_be_computed_is_left_out(monkeypatch):
    def block(tf, dtype, batch):
        def fail():
            raise tf.errors.UnimplementedError(None, None, "no kernel")

        return {"predict": fail if dtype == "bfloat16" else lambda: None, "fit": lambda: None}

    monkeypatch.setattr(speed, "_block", block)
    monkeypatch.setattr(speed, "_ROUNDS", (3, 3))
    assert set(speed.measure()) == {"float32"}


def test_the_shortest_of_alternating_rounds_counts(monkeypatch):
    order, clock = [], iter(range(1000))
    waits = {"float32": [5, 2, 9], "bfloat16": [1, 3, 4]}

    def block(tf, dtype, batch):
        def call():
            order.append(dtype)
            rounds = order.count(dtype) - 3  # the first two are warm-up
            if rounds >= 0:
                [next(clock) for _ in range(waits[dtype][rounds])]

        return {"predict": call}

    monkeypatch.setattr(speed, "_block", block)
    monkeypatch.setattr(speed, "_ROUNDS", (3, 3))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    found = speed.measure()
    assert order[4:] == ["float32", "bfloat16"] * 3
    assert found == {"float32": {"predict": 3}, "bfloat16": {"predict": 2}}


def test_a_gpu_gets_a_batch_and_float16_too(monkeypatch):
    blocks = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(speed, "_block", lambda *args: blocks.append(args[1:]) or {})
    speed.measure()
    assert blocks == [("float32", 32), ("bfloat16", 32), ("float16", 32)]
