"""The reference server answers any input with a status and one line, and goes on."""

import functools
import importlib.util
import json
import pathlib
import socket
import threading
import time

import pytest

pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
import tensorflow as tf  # noqa: E402
from tensorflow_serving.apis import predict_pb2  # noqa: E402

PATH = pathlib.Path(__file__).parents[2] / "examples" / "serve" / "reference_server.py"
SPEC = importlib.util.spec_from_file_location("reference_server", PATH)
SERVER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SERVER)
PREDICT = "/v1/models/m:predict"


@pytest.fixture
def model():
    """A model without signatures, for the status route."""
    model = object.__new__(SERVER.Model)
    model.name, model.version, model.signature_defs = "m", 1, {}
    return model


@pytest.fixture
def server(model, monkeypatch):
    """The port of a REST server in this process, which waits for a second at most."""
    monkeypatch.setattr(SERVER.RestHandler, "timeout", 0.5)
    monkeypatch.setattr(SERVER, "READ_SECONDS", 1)
    monkeypatch.setattr(SERVER, "MAX_REST", 4)
    rest = SERVER.RestServer(("127.0.0.1", 0), functools.partial(SERVER.RestHandler, model))
    thread = threading.Thread(target=functools.partial(rest.serve_forever, poll_interval=0.01))
    thread.start()
    yield rest.server_port
    rest.shutdown()
    rest.server_close()
    thread.join()


def send(port, content):
    """Sends bytes to the server; returns its answer, (status, JSON or None)."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(content)
        answer = b""
        while part := connection.recv(2**16):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else None, json.loads(body or "null")


def post(body, length=None, path=PREDICT):
    length = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode() + body


def assert_serves(port):
    status, answer = send(port, b"GET /v1/models/m HTTP/1.1\r\n\r\n")
    assert (status, answer["model_version_status"][0]["state"]) == (200, "AVAILABLE")


DEEP = b"[" * 100_000
NESTED = b'{"inputs": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}"
REQUESTS = {
    "deep JSON": (post(DEEP), 400),
    "deep inputs": (post(NESTED), 400),
    "a number of 10,000 digits": (post(b'{"inputs": {"a": ' + b"9" * 10_000 + b"}}"), 400),
    "half of a character": (post(b'{"signature_name": "\\ud800", "inputs": {}}'), 400),
    "a signature of 100,000 letters": (
        post(b'{"signature_name": "%s", "inputs": {}}' % (b"a" * 100_000)),
        400,
    ),
    "no UTF-8": (post(b"\xff\xfe\xfd"), 400),
    "a signature that is none": (post(b'{"inputs": {}}'), 400),
    "a length that is no number": (post(b"{}", "abc"), 400),
    "a negative length": (post(b"{}", -5), 400),
    "another script's digits": (post(b"{}", "1e3"), 400),
    "two lengths": (
        b"GET /v1/models/m HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        400,
    ),
    "a length of 20 digits": (post(b"{}", "9" * 20), 413),
    "a length of 10,000 digits": (post(b"{}", "9" * 10_000), 413),
    "a length of 2 GB": (post(b"{}", 2**31), 413),
    "chunks": (
        f"POST {PREDICT} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        411,
    ),
    "a version of 20 digits": (b"GET /v1/models/m/versions/%s HTTP/1.1\r\n\r\n" % (b"9" * 20), 404),
    "a version of 5,000 digits": (
        b"GET /v1/models/m/versions/%s HTTP/1.1\r\n\r\n" % (b"9" * 5000),
        404,
    ),
    "another version": (b"GET /v1/models/m/versions/2 HTTP/1.1\r\n\r\n", 404),
    "another path": (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
    "another method": (b"PUT / HTTP/1.1\r\n\r\n", 501),
    "a method of 10,000 letters": (b"A" * 10_000 + b" / HTTP/1.1\r\n\r\n", 501),
    "an empty line": (b"\r\n", 400),
    "no request": (b"hello, world and you\r\n\r\n", 400),
    "a long line": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    "a long header": (b"GET / HTTP/1.1\r\na: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
    "less than announced": (post(b"{}", 100), 408),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_bad_request_gets_a_status_and_a_line(name, server, capfd):
    content, expected = REQUESTS[name]
    status, answer = send(server, content)
    assert status == expected
    assert list(answer) == ["error"]
    assert 0 < len(answer["error"]) < 1000 and "\n" not in answer["error"]
    assert_serves(server)
    assert "Traceback" not in capfd.readouterr().err


def test_connections_that_say_nothing_are_ended(server):
    held = [socket.create_connection(("127.0.0.1", server), timeout=30) for _ in range(4)]
    held[0].sendall(b"POST ")
    held[1].sendall(post(b"{", 50))
    time.sleep(0.1)
    assert send(server, b"GET /v1/models/m HTTP/1.1\r\n\r\n")[0] == 503  # the fifth
    for connection in held:
        while connection.recv(2**16):
            pass
        connection.close()
    time.sleep(0.1)
    assert_serves(server)


def test_a_byte_now_and_then_does_not_hold_a_thread(server):
    with socket.create_connection(("127.0.0.1", server), timeout=30) as connection:
        began = time.monotonic()
        connection.sendall(post(b"", 1000))
        connection.settimeout(0.2)
        answer = b""
        while time.monotonic() < began + 20 and not answer:
            try:
                answer = connection.recv(2**16)
            except TimeoutError:
                connection.sendall(b" ")
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - began < 10
    assert_serves(server)


def test_a_fault_of_the_server_is_500_and_it_goes_on(server, model, monkeypatch, capfd):
    def fail(request):
        raise RuntimeError("a fault\nin two lines")

    monkeypatch.setattr(model, "predict", fail)
    assert send(server, post(b'{"inputs": {}}')) == (
        500,
        {"error": "RuntimeError: a fault in two lines"},
    )
    assert_serves(server)


@pytest.mark.parametrize("shape", [[2**20, 2**20], [-1], [2**62, 2**62]])
def test_a_tensor_that_one_number_stands_for_is_refused(model, shape):
    definition = type("Definition", (), {"defaults": {}, "inputs": {"a": 1}, "outputs": {}})
    model.signature_defs = {"s": definition}
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "s"
    tensor = request.inputs["a"]
    tensor.dtype = tf.float32.as_datatype_enum
    tensor.float_val.append(1)
    for side in shape:
        tensor.tensor_shape.dim.add(size=side)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a must have at most 268435456 bytes"):
        model.predict(request)
