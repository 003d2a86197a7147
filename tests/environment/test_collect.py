import json

from keras_maskrcnn import environment
from keras_maskrcnn.environment import speed


def test_a_report_can_be_written_as_json_and_is_short(monkeypatch):
    monkeypatch.setattr(speed, "measure", lambda: 1 / 0)
    report = environment.collect()
    assert report["seconds"] == "unknown" and report["keras"]["backend"] == "tensorflow"
    assert json.loads(json.dumps(report)) == report
    assert 15 < len(environment.text(report).splitlines()) < 60


def test_variables_of_other_programs_are_not_shown(monkeypatch):
    """TF_TOKEN_... holds a password of Terraform, and TF_CONFIG names machines."""
    monkeypatch.setenv("TF_TOKEN_app_terraform_io", "secret")
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["secret:1"]}}')
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    report = environment.collect(measure=False)
    assert report["variables"]["OMP_NUM_THREADS"] == "3"
    assert report["variables"]["TF_NUM_INTRAOP_THREADS"] == "1"
    assert report["seconds"] == "not measured" and "secret" not in environment.text(report)


def test_where_tensorflow_and_keras_fail_the_rest_is_reported(monkeypatch):
    for place in ("tensorflow_state.keras_settings", "tensorflow_state.tensorflow_settings"):
        monkeypatch.setattr(f"keras_maskrcnn.environment.{place}", lambda: 1 / 0)
    report = environment.collect(measure=False, import_error=ImportError("no libcudart"))
    lines = environment.text(report).splitlines()
    assert "TensorFlow      unknown" in lines and "Keras           unknown" in lines
    assert "- keras_maskrcnn cannot be imported. ImportError: no libcudart" in lines
