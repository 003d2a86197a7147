import re

import pytest

from keras_maskrcnn.environment.sentences import about_speed, problems


def report(**changes):
    """A report of a sound installation on a processor without a GPU."""
    sound = {
        "import_error": None,
        "faulty_imports": {},
        "same_files": {},
        "unsuitable": [],
        "cpu": {"cores": 2, "limit": None},
        "load": 0.5,
        "keras": {"backend": "tensorflow", "image_data_format": "channels_last"},
        "tensorflow": {"cuda": "12.5", "cudnn": "9", "onednn": True, "gpus": []},
        "nvidia": {"driver": "not found", "gpus": []},
        "variables": {"MALLOC_TRIM_THRESHOLD_": "8000000000"},
        "seconds": "not measured",
    }
    return sound | changes


def seconds(fit, predict):
    """Times of bfloat16, if float32 takes one second."""
    return {
        "float32": {"fit": 1.0, "predict": 1.0},
        "bfloat16": {"fit": fit, "predict": predict},
    }


def test_a_sound_installation_has_no_problems():
    assert problems(report()) == []


def test_nothing_is_claimed_of_what_is_unknown():
    nothing = dict.fromkeys(("keras", "tensorflow", "seconds", "load", "unsuitable"), "unknown")
    unknown = report(**nothing, cpu={"cores": "unknown", "limit": None})
    assert problems(unknown) == [] and about_speed(unknown) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"import_error": "ImportError: x"}, "keras_maskrcnn cannot be imported. ImportError: x"),
        ({"faulty_imports": {"h5py": "ValueError: y"}}, "h5py cannot be imported. ValueError: y"),
        ({"same_files": {"keras": ["keras", "keras-nightly"]}}, "keras and keras-nightly overw"),
        ({"unsuitable": ["keras>=3.13.2 is required, and keras is 3.8."]}, "is required, and"),
        ({"keras": {"backend": "jax", "image_data_format": "unknown"}}, "Keras runs on jax"),
        ({"keras": {"backend": "tensorflow", "image_data_format": "channels_first"}}, "_last"),
        ({"variables": {"TF_USE_LEGACY_KERAS": "1"}}, "makes `tf.keras` Keras 2"),
    ],
)
def test_each_problem_is_one_line(changes, words):
    (line,) = problems(report(**changes))
    assert words in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "docs/choosing.md"),
        ({"variables": {"CUDA_VISIBLE_DEVICES": "-1"}}, "CUDA_VISIBLE_DEVICES hides all GPUs"),
        ({"nvidia": {"driver": "loads", "gpus": ["T4"]}}, r"pip install tensorflow\[and-cuda\]"),
        (
            {
                "nvidia": {"driver": "loads", "gpus": ["T4"]},
                "tensorflow": {"cuda": None, "cudnn": None, "onednn": True, "gpus": []},
            },
            "built without CUDA",
        ),
    ],
)
def test_a_missing_gpu_has_its_reason(changes, words):
    line = about_speed(report(**changes))[0]
    assert line.startswith("TensorFlow sees no GPU") and re.search(words, line)


@pytest.mark.parametrize(
    ("fit", "predict", "compared", "advice"),
    [
        (0.5, 0.4, "training is 2.0 times as fast, and prediction is 2.5 times", "mixed_bfloat16"),
        (14.0, 1.05, "training takes 14.0 times as long, and prediction is as fast", "in float32"),
        (0.95, 0.5, "training is as fast, and prediction is 2.0 times as fast", "in float32"),
    ],
)
def test_precisions_are_compared_as_they_were_measured(fit, predict, compared, advice):
    _, first, second = about_speed(report(seconds=seconds(fit, predict)))
    assert compared in first and advice in second


def test_a_busy_machine_gets_no_advice():
    _, _, last = about_speed(report(seconds=seconds(0.5, 0.5), load=9.3))
    assert last.startswith("Other processes were running (load 9.3 on 2 cores)")


def test_on_a_gpu_both_16_bit_types_are_named_and_nothing_is_said_of_the_processor():
    gpus = [{"name": "T4", "compute_capability": "7.5"}]
    times = seconds(0.5, 0.5) | {"float16": {"fit": 0.25, "predict": 0.25}}
    state = {"cuda": "12.5", "cudnn": "9", "onednn": False, "gpus": gpus}
    lines = about_speed(report(tensorflow=state, seconds=times, variables={}))
    assert [line.split()[0] for line in lines] == ["bfloat16", "float16", "Training"]
    assert "mixed_bfloat16 or mixed_float16 can pay" in lines[2]


def test_float32_alone_says_nothing():
    assert len(about_speed(report(seconds={"float32": {"fit": 1.0, "predict": 1.0}}))) == 1


def test_a_container_with_less_time_than_cores_is_told():
    _, line = about_speed(report(cpu={"cores": 16, "limit": 2.0}))
    assert line == "The container gets the time of 2 cores, and TensorFlow starts threads for 16."


@pytest.mark.parametrize(
    ("value", "words"), [("0", "TF_ENABLE_ONEDNN_OPTS turns"), (None, "TensorFlow's default")]
)
def test_it_says_who_turned_onednn_off(value, words):
    state = {"cuda": None, "cudnn": None, "onednn": False, "gpus": []}
    variables = report()["variables"] | ({"TF_ENABLE_ONEDNN_OPTS": value} if value else {})
    assert words in about_speed(report(tensorflow=state, variables=variables))[1]


@pytest.mark.parametrize(("library", "count"), [("glibc", 2), ("", 1)])
def test_only_glibc_gives_memory_back_after_each_operation(monkeypatch, library, count):
    monkeypatch.setattr("platform.libc_ver", lambda: (library, ""))
    assert len(about_speed(report(variables={}))) == count
