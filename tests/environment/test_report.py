from keras_maskrcnn.environment.report import text

KNOWN = {
    "packages": {"keras_maskrcnn": "0.1.0", "keras": "3.15.1", "tf2onnx": "not installed"},
    "python": "3.11.7",
    "system": "Debian GNU/Linux 12",
    "cpu": {
        "model": "AMD EPYC",
        "architecture": "x86_64",
        "features": ["AVX2", "AVX-512"],
        "cores": 4,
        "cores_of_machine": 16,
        "limit": 1.5,
    },
    "load": 0.5,
    "memory": {"bytes": 32 * 2**30, "limit": 2**30},
    "nvidia": {"driver": "loads, for CUDA 12.8", "gpus": ["Tesla T4, 15360 MiB, 550.54"]},
    "keras": {"backend": "tensorflow", "dtype_policy": "float32"},
    "tensorflow": {
        "cuda": "12.5",
        "cudnn": "9",
        "onednn": False,
        "gpus": [{"name": "Tesla T4", "compute_capability": "7.5"}],
    },
    "variables": {"KERAS_BACKEND": "tensorflow"},
    "seconds": {"float32": {"fit": 0.0512, "predict": 0.02}},
    "problems": [],
    "speed": ["It is fast."],
}


def test_all_is_in_the_text():
    assert text(KNOWN).splitlines() == [
        "Packages        keras_maskrcnn 0.1.0, keras 3.15.1",
        "Not installed   tf2onnx",
        "Python          3.11.7",
        "System          Debian GNU/Linux 12",
        "Processor       AMD EPYC, x86_64; features: AVX2, AVX-512",
        "Cores           4 usable of 16, limited to the time of 1.5; load 0.5",
        "Memory          32.0 GiB, limited to 1.0 GiB",
        "Keras           backend tensorflow, dtype_policy float32",
        "TensorFlow      built for CUDA 12.5, cuDNN 9; oneDNN off",
        "GPUs            Tesla T4 (compute 7.5)",
        "NVIDIA          driver loads, for CUDA 12.8; Tesla T4, 15360 MiB, 550.54",
        "Variables       KERAS_BACKEND=tensorflow",
        "Measured        float32 fit 51.2 ms, predict 20.0 ms",
        "",
        "Problems:",
        "- none found",
        "",
        "Speed:",
        "- It is fast.",
    ]


def test_what_is_unknown_is_said_to_be_unknown():
    cpu = KNOWN["cpu"] | {"features": "unknown", "cores": "unknown", "limit": None}
    unknown = dict.fromkeys(("keras", "tensorflow", "seconds", "load"), "unknown")
    memory = {"bytes": "unknown", "limit": None}
    lines = text(KNOWN | unknown | {"cpu": cpu, "memory": memory, "speed": []}).splitlines()
    assert "Cores           unknown usable of 16; load unknown" in lines
    assert "Processor       AMD EPYC, x86_64; features: unknown" in lines
    for name in ("Memory", "Keras", "TensorFlow", "GPUs", "Measured"):
        assert f"{name:<16}unknown" in lines
    assert lines[-1] == "- none found"


def test_long_lines_are_wrapped_between_words_only():
    problem = f"{'word ' * 30}{'x' * 120}"
    lines = text(KNOWN | {"problems": [problem]}).splitlines()
    assert "  " + "x" * 120 in lines
    assert max(len(line) for line in lines if "xx" not in line) <= 100
