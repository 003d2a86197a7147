"""The clients of examples/serve with its reference server, which runs in another process."""

import dataclasses
import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as mask_api
from serving import broken_images, encoded, odd_images, reference_server, wrong_requests

from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.detections import coco_results
from keras_maskrcnn.model import MaskRCNN

ROOT = pathlib.Path(__file__).parents[2]
CLIENT = runpy.run_path(str(ROOT / "examples" / "serve" / "client.py"))
ServingError = CLIENT["ServingError"]


@pytest.fixture(scope="module")
def model(tiny_config):
    """A model that always detects something; its classes have names and ids."""
    names, ids = ("cat", "dog", "owl"), (3, 7, 8)
    return MaskRCNN(
        dataclasses.replace(tiny_config, score_threshold=0.0, class_names=names, category_ids=ids)
    )


@pytest.fixture(scope="module")
def base_path(model, tmp_path_factory):
    """A folder with versions 2 and 10; 10 is `model`, and 2 cannot be loaded."""
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    path = tmp_path_factory.mktemp("served")
    model.export(path / "10", verbose=False)
    (path / "2").mkdir()
    return path


@pytest.fixture(scope="module")
def server(base_path):
    """The server: (process, the line that it printed)."""
    with reference_server(base_path) as server:
        yield server


@pytest.fixture(params=["rest", "grpc"])
def client(request, server):
    """Each of the two clients of `server`."""
    if request.param == "rest":
        return CLIENT["RestClient"](f"localhost:{server[1]['rest_api_port']}")
    return CLIENT["GrpcClient"](f"localhost:{server[1]['port']}")


@pytest.fixture(scope="module")
def good(model):
    """A good image, and the model's detections in it."""
    image = encoded(70, 100)
    return image, detect(model, image)


def detect(model, image):
    """The model's outputs for an image file, computed eagerly, as `predict` traces each size."""
    return model(read_image("image", image)[None], training=False)


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), value, atol=1e-4, err_msg=name)


def assert_serves(server, client, good):
    """Asserts that the server goes on and answers the next request rightly."""
    image, expected = good
    assert_same(client.predict({"image_bytes": [image]}), expected)
    assert server[0].poll() is None


def test_the_newest_version_is_served(server):
    assert server[1]["version"] == 10


def test_images_of_different_sizes_and_one_shape_are_answered_as_each_alone(client, model):
    images = [encoded(64, 96, "JPEG", seed=1), encoded(64, 96, seed=2), encoded(128, 192, seed=3)]
    found = client.predict({"image_bytes": images})
    for i, image in enumerate(images):
        assert_same({name: x[i : i + 1] for name, x in found.items()}, detect(model, image))


def test_pixels_are_answered_as_their_file(client, good):
    image, expected = good
    pixels = read_image("good", image)[None]
    pixels = pixels.tolist() if isinstance(client, CLIENT["RestClient"]) else pixels
    assert_same(client.predict({"images": pixels}, "serving_default"), expected)


@pytest.mark.parametrize("kind", broken_images())
def test_a_broken_image_is_refused_and_the_server_goes_on(kind, server, client, good):
    with pytest.raises(ServingError) as error:
        client.predict({"image_bytes": [broken_images()[kind]]})
    assert error.value.code in ("INVALID_ARGUMENT", "400")
    assert_serves(server, client, good)


def test_a_broken_image_among_good_ones_is_refused(server, client, good):
    with pytest.raises(ServingError):
        client.predict({"image_bytes": [good[0], b"", good[0]]})
    assert_serves(server, client, good)


@pytest.mark.parametrize("kind", odd_images())
def test_an_odd_image_is_refused_or_answered_as_in_training(kind, server, client, model, good):
    image = odd_images()[kind]
    try:
        found = client.predict({"image_bytes": [image]})
    except ServingError as error:
        assert error.code in ("INVALID_ARGUMENT", "400")
    else:
        assert_same(found, detect(model, image))
    assert_serves(server, client, good)


def test_no_image_is_refused_or_answered_with_nothing(server, client, good):
    nothing = np.array([], object)  # gRPC takes it as strings
    nothing = [] if isinstance(client, CLIENT["RestClient"]) else nothing
    try:
        found = client.predict({"image_bytes": nothing})
    except ServingError as error:
        assert error.code in ("INVALID_ARGUMENT", "400")
    else:
        assert {len(value) for value in found.values()} == {0}
    assert_serves(server, client, good)


@pytest.mark.parametrize("kind", wrong_requests())
def test_a_request_that_fits_no_signature_is_refused(kind, server, client, good):
    signature, inputs = wrong_requests()[kind]
    if isinstance(client, CLIENT["RestClient"]):
        inputs = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in inputs.items()}
    with pytest.raises(ServingError) as error:
        client.predict(inputs, signature)
    expected = "FAILED_PRECONDITION" if kind == "wrong signature" else "INVALID_ARGUMENT"
    assert error.value.code in (expected, "400")
    assert_serves(server, client, good)


def test_another_model_is_not_found(server, client, good):
    address = client.address
    with pytest.raises(ServingError) as error:
        type(client)(address, "bert").predict({"image_bytes": [good[0]]})
    assert error.value.code in ("NOT_FOUND", "404")
    assert_serves(server, client, good)


def test_a_body_that_is_no_such_json_is_refused(server, good):
    client = CLIENT["RestClient"](f"localhost:{server[1]['rest_api_port']}")
    pixels = b'{"signature_name": "serving_default", "inputs": {"images": [[[[%s, 0, 0]]]]}}'
    bodies = [b"", b"{", b"[]", b'{"inputs": 1}', b'{"inputs": {"image_bytes": {"b64": "!"}}}']
    for body in (*bodies, pixels % b"256", pixels % b"-1", pixels % b"0.5"):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(client.url, body)
    assert_serves(server, client, good)


def test_metadata_and_status_are_those_of_the_official_api(server):
    import grpc
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        prediction_service_pb2_grpc,
    )

    root = f"http://localhost:{server[1]['rest_api_port']}/v1/models/maskrcnn"
    with urllib.request.urlopen(root) as response:
        status = json.load(response)["model_version_status"]
    okay = {"error_code": "OK", "error_message": ""}
    assert status == [{"version": "10", "state": "AVAILABLE", "status": okay}]
    with urllib.request.urlopen(f"{root}/versions/10/metadata") as response:
        metadata = json.load(response)["metadata"]["signature_def"]["signature_def"]
    assert metadata["serve_image_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"

    channel = grpc.insecure_channel(f"localhost:{server[1]['port']}")
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "maskrcnn"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)
    assert [version.version for version in status.model_version_status] == [10]
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "maskrcnn"
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
    assert set(metadata) == set(signatures.signature_def)
    request.model_spec.version.value = 2
    with pytest.raises(grpc.RpcError) as error:
        stub.GetModelMetadata(request)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_warm_up_requests_are_replayed(base_path, tmp_path):
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "serve_image_bytes"
    image = tf.make_tensor_proto([encoded(64, 64)])
    log.predict_log.request.inputs["image_bytes"].CopyFrom(image)
    shutil.copytree(base_path / "10", tmp_path / "3")
    extra = tmp_path / "3" / "assets.extra"
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
        writer.write(log.SerializeToString())
    with reference_server(tmp_path) as (_, ready):
        assert (ready["version"], ready["warmed_up"]) == (3, 2)


@pytest.mark.parametrize("api", ["rest", "grpc"])
def test_the_command_writes_results_and_pictures_and_names_what_was_refused(
    api, server, base_path, model, tmp_path, monkeypatch, capsys
):
    (tmp_path / "a.png").write_bytes(encoded(70, 100))
    (tmp_path / "b.png").write_bytes(b"no image")
    port = server[1][{"rest": "rest_api_port", "grpc": "port"}[api]]
    command = ["client.py", f"--api={api}", f"--address=localhost:{port}", "--pictures"]
    command += [f"--model_json={base_path / '10' / 'assets.extra' / 'model.json'}"]
    command += [f"--output={tmp_path / 'found'}", str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    monkeypatch.setattr(sys, "argv", command)
    assert CLIENT["main"]() == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'b.png'}: ")
    results = json.loads((tmp_path / "found" / "predictions.json").read_text())
    expected = coco_results(detect(model, encoded(70, 100)), 0, "a.png", 70, 100, (3, 7, 8))
    assert len(results) == len(expected) > 0
    for result, truth in zip(results, expected, strict=True):
        assert (result["file_name"], result["category_id"]) == ("a.png", truth["category_id"])
        np.testing.assert_allclose(result["bbox"], truth["bbox"], atol=1e-3)
        masks = [mask_api.decode(thing["segmentation"]) for thing in (result, truth)]
        assert np.mean(masks[0] != masks[1]) < 0.01  # a pixel may be at the threshold
    assert Image.open(tmp_path / "found" / "a.png.png").size == (600, 420)
    with pytest.raises(SystemExit):  # the folder is not empty
        CLIENT["main"]()


@pytest.mark.parametrize("string", [str, bytes])  # str from JSON, bytes from TensorFlow
def test_run_lengths_are_written_as_they_come(string):
    counts = "05" if string is str else b"05"
    answer = {
        "boxes": [[[1, 2, 4, 8], [0, 0, 0, 0]]],
        "scores": [[0.5, 0.0]],
        "labels": [[2, 0]],
        "num_detections": [1],
        "rle": [[counts, string()]],
        "sizes": [[10, 20]],
    }
    assert CLIENT["coco_results"](answer, "folder/a.png", [7, 9]) == [
        {
            "file_name": "a.png",
            "category_id": 9,
            "bbox": [1.0, 2.0, 3.0, 6.0],
            "score": 0.5,
            "segmentation": {"size": [10, 20], "counts": "05"},
        }
    ]


def test_the_rest_client_needs_python_alone():
    program = "import runpy, sys; runpy.run_path(sys.argv[1])\n"
    program += "assert not {'numpy', 'grpc', 'tensorflow', 'keras_maskrcnn'} & set(sys.modules)"
    command = [sys.executable, "-S", "-c", program, ROOT / "examples" / "serve" / "client.py"]
    subprocess.run(command, check=True)


def test_without_the_extra_grpc_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "grpc", None)
    command = ["client.py", "--api=grpc", f"--output={tmp_path / 'found'}", "a.png"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        CLIENT["main"]()
    assert stop.value.code == 1 and not (tmp_path / "found").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install '.[serving]'" in line


@pytest.fixture(scope="module")
def kserve(model, tmp_path_factory):
    """The address of kserve_server.py, with `model` as an ONNX file."""
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    command = [sys.executable, ROOT / "examples" / "serve" / "kserve_server.py", "--rest_port=0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, f"--model_path={path}"], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield f"localhost:{json.loads(process.stdout.readline())['rest_port']}"
        process.kill()


@pytest.mark.parametrize("batch", [1, 2])
def test_kserve_answers_pixels_as_the_model(batch, kserve, model):
    image = read_image("good", encoded(70, 100))
    images = np.stack([image, image[::-1]])[:batch]
    found = CLIENT["KserveClient"](kserve).predict({"images": images})
    assert_same(found, {k: np.asarray(x) for k, x in model(images, training=False).items()})


def test_kserve_refuses_wrong_requests_and_goes_on(kserve):
    client = CLIENT["KserveClient"](kserve)
    images = np.zeros((1, 64, 96, 3), np.uint8)
    wrong = ({"image": images}, {"images": images.astype(np.float32)}, {"images": images[..., :2]})
    for inputs in wrong:
        with pytest.raises(ServingError, match="^400: "):
            client.predict(inputs)
    with pytest.raises(ServingError, match="^404: "):
        CLIENT["KserveClient"](kserve, "bert").predict({"images": images})
    assert client.predict({"images": images})["boxes"].shape == (1, 10, 4)


def test_kserve_also_reads_outputs_that_a_server_wrote_as_numbers():
    client = CLIENT["KserveClient"]("nowhere")
    boxes = {"name": "boxes", "datatype": "FP32", "shape": [1, 1, 4], "data": [1, 2, 3, 4]}
    count = {"name": "num_detections", "datatype": "INT32", "shape": [1]}
    count["parameters"] = {"binary_data_size": 4}
    client._ask = lambda *args: ({"outputs": [boxes, count]}, np.int32([1]).tobytes())
    found = client.predict({"images": np.zeros((1, 8, 8, 3), np.uint8)})
    assert_same(found, {"boxes": np.float32([[[1, 2, 3, 4]]]), "num_detections": np.int32([1])})


def test_the_command_reads_images_for_kserve(kserve, model, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.png").write_bytes(encoded(70, 100))
    (tmp_path / "b.png").write_bytes(b"no image")
    command = ["client.py", "--api=kserve", f"--address={kserve}", f"--output={tmp_path / 'found'}"]
    command += [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    monkeypatch.setattr(sys, "argv", command)
    assert CLIENT["main"]() == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'b.png'}: ")
    results = json.loads((tmp_path / "found" / "predictions.json").read_text())
    expected = coco_results(detect(model, encoded(70, 100)), 0, "a.png", 70, 100)
    assert [r["category_id"] for r in results] == [r["category_id"] for r in expected] != []
    np.testing.assert_allclose(
        [r["bbox"] for r in results], [r["bbox"] for r in expected], atol=1e-3
    )


def test_pixels_are_sent_where_no_encoded_image_can_hold_them(tmp_path):
    image = np.random.default_rng(0).integers(0, 65536, (4, 6, 5)).astype(np.uint16)
    np.save(tmp_path / "a.npy", image)
    known = {"in_channels": 5, "image_dtype": "uint16", "encoded_images": False}
    for api in ("rest", "grpc", "kserve"):
        arguments, found = CLIENT["request"](api, tmp_path / "a.npy", known)
        np.testing.assert_array_equal(found, image)
        np.testing.assert_array_equal(arguments["inputs"]["images"], image[None])
        assert arguments.get("signature") == (None if api == "kserve" else "serving_default")
        assert api != "rest" or json.dumps(arguments)  # JSON takes lists
    arguments, found = CLIENT["request"]("rest", tmp_path / "a.npy", {})
    assert found is None and arguments["inputs"]["image_bytes"][0][:6] == b"\x93NUMPY"


@pytest.mark.slow
def test_the_command_sends_16_bits_and_floats(tiny_config, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    fields = {"in_channels": 5, "image_dtype": "uint16", "pixel_mean": (), "pixel_std": ()}
    fields |= {"pixel_max": 4095.0, "score_threshold": 0.0}
    bands = MaskRCNN(dataclasses.replace(tiny_config, **fields))
    bands.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    image = np.random.default_rng(0).integers(0, 4096, (64, 96, 5)).astype(np.uint16)
    np.save(tmp_path / "a.npy", image)
    (tmp_path / "model.json").write_text(
        json.dumps({**bands.config.reading(), "class_names": [], "category_ids": []}).replace(
            '"channels"', '"in_channels"'
        )
    )
    command = [sys.executable, ROOT / "examples" / "serve" / "kserve_server.py", "--rest_port=0"]
    command += [f"--model_path={tmp_path / 'model.onnx'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        port = json.loads(server.stdout.readline())["rest_port"]
        command = ["client.py", "--api=kserve", f"--address=localhost:{port}"]
        command += [f"--output={tmp_path / 'found'}", f"--model_json={tmp_path / 'model.json'}"]
        monkeypatch.setattr(sys, "argv", [*command, "--pictures", str(tmp_path / "a.npy")])
        assert CLIENT["main"]() == 0
        server.kill()
    results = json.loads((tmp_path / "found" / "predictions.json").read_text())
    expected = bands.predict_on_batch(image[None])
    assert len(results) == expected["num_detections"][0] > 0
    assert (tmp_path / "found" / "a.npy.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("api", ["rest", "grpc"])
def test_200_requests_of_8_clients_are_all_answered_rightly(api):
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    command = [sys.executable, ROOT / "benchmarks" / "serving_load.py", "--requests=200"]
    done = subprocess.run([*command, f"--api={api}"], stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["right"], report["wrong"], report["lost"]) == (200, 0, 0), report
    assert done.returncode == 0
