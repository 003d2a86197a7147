"""Answers TensorFlow Serving's gRPC and REST requests. For local trials and tests, NOT production.

    python examples/serve/reference_server.py --model_base_path=served --rest_api_port=8501

The official server is not a pip package. This one needs TensorFlow and tensorflow-serving-api. Its
flags have the names of the official ones. It loads the newest version folder with
`tf.saved_model.load`, replays its warm-up requests, and prints one line of JSON: the ports, the
version and the number of replayed requests. Predict, GetModelMetadata and GetModelStatus answer
with the official protos and status codes. There is no batching, no reloading and no encryption, so
it listens on 127.0.0.1 only. The bytes, time and connections of clients are limited. A request that
cannot be answered gets a status and one line, and the server goes on.
"""

import argparse
import base64
import concurrent.futures
import contextlib
import functools
import http.server
import json
import math
import pathlib
import re
import socket
import sys
import threading

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

CODES = {code.value[0]: code for code in grpc.StatusCode}  # TensorFlow uses the same numbers
HTTP_STATUS = {  # as the official server; every other status is 500
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
}
MAX_BYTES = 2**28  # per request, and per tensor in it
MAX_REST = 64  # connections at once
QUIET_SECONDS, READ_SECONDS = 10, 60  # the longest wait for a byte, and for a whole request
OPTIONS = [
    # A photo may be larger than gRPC's default of 4 MB.
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a port that is taken is an error
]
ROUTE = re.compile(r"/v1/models/([^/:]+)(?:/versions/([0-9]+))?(/metadata|:predict)?")


class Model:
    """Answers requests with the newest version of a SavedModel.

    Args:
        base_path: path. A folder with a subfolder per version, whose name is the version's number.
        name: str. The model's name in requests.

    Raises:
        FileNotFoundError: if there is no version.
        tf.errors.OpError: from the methods, for a request that cannot be answered.
    """

    def __init__(self, base_path, name):
        versions = [
            path
            for path in pathlib.Path(base_path).glob("*")
            if re.fullmatch("[0-9]{1,18}", path.name)
        ]
        if not versions:
            raise FileNotFoundError(
                "the model's folder must hold a folder per version, such as 1. "
                f"Received: model_base_path={str(base_path)!r}."
            )
        self.path = max(versions, key=lambda path: int(path.name))
        self.name, self.version = name, int(self.path.name)
        self.loaded = tf.saved_model.load(self.path)
        content = (self.path / "saved_model.pb").read_bytes()
        graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
        self.signature_defs = graph.signature_def

    def warm_up(self):
        """Replays the model's warm-up requests, if it has any, and returns their number."""
        path, count = self.path / "assets.extra" / "tf_serving_warmup_requests", 0
        if path.exists():
            for record in tf.data.TFRecordDataset(str(path)):
                request = prediction_log_pb2.PredictionLog.FromString(record.numpy())
                request.predict_log.request.model_spec.name = self.name  # any name is valid
                self.predict(request.predict_log.request)
                count += 1
        return count

    def predict(self, request):
        """PredictRequest -> PredictResponse."""
        self._check(request.model_spec)
        key = request.model_spec.signature_name or "serving_default"
        if key not in self.signature_defs:
            raise tf.errors.FailedPreconditionError(
                None, None, f'Serving signature key "{key}" not found.'
            )
        definition = self.signature_defs[key]
        inputs = {**definition.defaults, **request.inputs}
        if set(inputs) != set(definition.inputs):
            raise _invalid(
                f"the inputs of {key} are {sorted(definition.inputs)}. Received: {sorted(inputs)}."
            )
        unknown = set(request.output_filter) - set(definition.outputs)
        if unknown:
            raise _invalid(
                f"the outputs of {key} are {sorted(definition.outputs)}. "
                f"Received: {sorted(unknown)}."
            )
        try:
            for name, tensor in inputs.items():
                _check_size(name, tensor)
            tensors = {name: tf.constant(tf.make_ndarray(x)) for name, x in inputs.items()}
        except (TypeError, ValueError) as error:
            raise _invalid(f"a tensor cannot be read: {error}") from error
        outputs = self.loaded.signatures[key](**tensors)
        response = predict_pb2.PredictResponse(model_spec=self._spec(key))
        for name in request.output_filter or outputs:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name].numpy()))
        return response

    def metadata(self, request):
        """GetModelMetadataRequest -> GetModelMetadataResponse."""
        self._check(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise _invalid(
                f"metadata_field must be signature_def. Received: {list(request.metadata_field)}."
            )
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=self.signature_defs)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=self._spec())
        response.metadata["signature_def"].Pack(signatures)
        return response

    def status(self, request):
        """GetModelStatusRequest -> GetModelStatusResponse."""
        self._check(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        version = response.model_version_status.add(version=self.version, state="AVAILABLE")
        version.status.SetInParent()  # OK, and no message
        return response

    def _check(self, spec):
        other = spec.HasField("version") and spec.version.value != self.version
        if spec.name != self.name or other or spec.version_label:
            wanted = " ".join(str(spec).split())
            raise tf.errors.NotFoundError(None, None, f"Servable not found for request: {wanted}")

    def _spec(self, signature=""):
        spec = model_pb2.ModelSpec(name=self.name, signature_name=signature)
        spec.version.value = self.version
        return spec


class GrpcService(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """The two gRPC services of TensorFlow Serving; other methods answer UNIMPLEMENTED."""

    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):
        return _answer(self.model.predict, request, context)

    def GetModelMetadata(self, request, context):
        return _answer(self.model.metadata, request, context)

    def GetModelStatus(self, request, context):
        return _answer(self.model.status, request, context)


class RestServer(http.server.ThreadingHTTPServer):
    """Uses a thread per connection, at most `MAX_REST`; further connections get status 503."""

    request_queue_size = MAX_REST  # with the default of 5, clients retry only after seconds

    def __init__(self, *args):
        self._free = threading.BoundedSemaphore(MAX_REST)
        super().__init__(*args)

    def process_request(self, request, client_address):
        if not self._free.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(
                    b"HTTP/1.0 503 Service Unavailable\r\n\r\n"
                    b'{"error": "too many connections at once"}'
                )
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request, client_address):
        """Prints a line about a failed connection; usually the client has hung up."""
        error = sys.exc_info()[1]
        line = _one_line(f"{client_address[0]}: {type(error).__name__}: {error}")
        print(line, file=sys.stderr)


class RestHandler(http.server.BaseHTTPRequestHandler):
    """The REST routes: GET status and metadata, POST predict with "inputs" (not "instances")."""

    timeout = QUIET_SECONDS
    default_request_version = "HTTP/1.0"  # so that an answer to an invalid request has headers

    def __init__(self, model, *args):
        self.model = model
        super().__init__(*args)  # this answers the request

    def setup(self):
        super().setup()
        # Otherwise a client that sends a byte now and then would keep a thread forever.
        self._deadline = threading.Timer(READ_SECONDS, self._stop_reading)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self):
        self._deadline.cancel()
        super().finish()

    def _stop_reading(self):
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def do_GET(self):
        self._reply()

    def do_POST(self):
        self._reply()

    def log_message(self, *args):
        """Logs nothing."""

    def parse_request(self):
        """Parses a request; also answers an empty line, to which the base class sends nothing."""
        right = super().parse_request()
        if not self.requestline.strip():
            self.send_error(400, "an empty line is not a request")
        return right

    def send_error(self, code, message=None, explain=None):
        """Answers an invalid request; the base class calls this."""
        line = _one_line(message or explain or http.HTTPStatus(code).phrase)
        self._send(int(code), {"error": line})

    def _reply(self):
        try:
            body, refused = self._read_body()
            self._deadline.cancel()
            status, answer = refused or (200, self._answer(body))
        except tf.errors.OpError as error:
            code, line = _status(error)
            status, answer = HTTP_STATUS.get(code, 500), {"error": line}
        except Exception as error:  # a fault of this server must not stop it
            status, answer = 500, {"error": _one_line(f"{type(error).__name__}: {error}")}
        self._send(status, answer)
        if status in (400, 408, 411, 413):
            self._discard()

    def _read_body(self):
        """Returns (body, None), or (b"", (status, answer)) if the body is refused."""
        text = ", ".join(self.headers.get_all("Content-Length", ["0"])).strip()
        if "Transfer-Encoding" in self.headers:
            return b"", (411, {"error": "a body needs a Content-Length"})
        if not re.fullmatch("[0-9]+", text):
            return b"", (400, {"error": _one_line(f"Content-Length is not a number: {text!r}")})
        text = text.lstrip("0") or "0"
        if len(text) > 12 or int(text) > MAX_BYTES:
            return b"", (413, {"error": f"a body has at most {MAX_BYTES} bytes"})
        length = int(text)
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            body = b""
        if len(body) < length:
            return b"", (408, {"error": f"{length} bytes were announced, but fewer came"})
        return body, None

    def _send(self, status, answer):
        content = json.dumps(answer, default=bytes.decode).encode()  # run lengths are ASCII
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _discard(self):
        """Reads the rest of a request for a while; otherwise the client would lose the answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            for _ in range(256):
                if not self.connection.recv(2**16):
                    break

    def _answer(self, body):
        route = ROUTE.fullmatch(self.path)
        verb = route and route[3]
        if not route or (self.command == "POST") != (verb == ":predict"):
            raise _invalid(_one_line(f"Malformed request: {self.command} {self.path}"))
        spec = model_pb2.ModelSpec(name=route[1])
        if route[2]:
            if len(route[2]) > 18:  # a version has 64 bits
                raise tf.errors.NotFoundError(
                    None, None, f"Servable not found for request: {_one_line(self.path)}"
                )
            spec.version.value = int(route[2])
        if verb == ":predict":
            outputs = self.model.predict(self._predict_request(spec, body)).outputs
            values = {name: tf.make_ndarray(x).tolist() for name, x in outputs.items()}
            return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
        if verb == "/metadata":
            request = get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=spec, metadata_field=["signature_def"]
            )
            return json_format.MessageToDict(
                self.model.metadata(request), preserving_proto_field_name=True
            )
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return json_format.MessageToDict(
            self.model.status(request),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )

    def _predict_request(self, spec, body):
        try:
            content = json.loads(body)
            spec.signature_name = content.get("signature_name", "serving_default")
            request = predict_pb2.PredictRequest(model_spec=spec)
            known = {}
            if spec.signature_name in self.model.signature_defs:
                known = self.model.signature_defs[spec.signature_name].inputs
            for name, value in content["inputs"].items():
                value = _from_json(value)
                if name in known:
                    dtype = tf.as_dtype(known[name].dtype)
                    np.array(value, dtype.as_numpy_dtype)  # raises where TensorFlow overflows
                    value = tf.constant(value, dtype).numpy()
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        # The errors that JSON of another form can cause.
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise _invalid(
                'the body must be JSON {"signature_name": ..., "inputs": {NAME: VALUE}}. '
                + _one_line(f"Received: {type(error).__name__}: {error}")
            ) from error
        return request


def _from_json(value):
    """Replaces {"b64": ...} by bytes, also in nested lists."""
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return base64.b64decode(value["b64"], validate=True) if isinstance(value, dict) else value


def _check_size(name, tensor):
    """Refuses a TensorProto with a large shape; a few bytes may declare one."""
    sides = [side.size for side in tensor.tensor_shape.dim]
    itemsize = tf.as_dtype(tensor.dtype).size
    if min(sides, default=0) < 0 or math.prod(sides) * itemsize > MAX_BYTES:
        raise _invalid(
            f"{_one_line(name)} must have at most {MAX_BYTES} bytes. Received: shape={sides[:8]}."
        )


def _answer(method, request, context):
    try:
        return method(request)
    except tf.errors.OpError as error:
        status = _status(error)
    except Exception as error:  # a fault of this server must not stop it
        status = grpc.StatusCode.INTERNAL, _one_line(f"{type(error).__name__}: {error}")
    return context.abort(*status)


def _one_line(text, most=400):
    """Returns a text as one line of at most `most` characters."""
    return " ".join(text.split())[:most]


def _status(error):
    """Returns the status code and the message of a TensorFlow error, without the graph's place."""
    line = error.message.rpartition("<stack traces unavailable>\n")[2].partition("\n\t [[")[0]
    return CODES[error.error_code], _one_line(line)  # gRPC fails on a message of kilobytes


def _invalid(message):
    return tf.errors.InvalidArgumentError(None, None, message)


def main():
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model_base_path", required=True, help="folder with a folder per version")
    parser.add_argument("--model_name", default="maskrcnn", help="default: maskrcnn")
    parser.add_argument(
        "--port", type=int, default=8500, help="gRPC port; 0: any free one; default: 8500"
    )
    parser.add_argument(
        "--rest_api_port", type=int, help="REST port; 0: any free one; default: no REST"
    )
    parser.add_argument(
        "--threads", type=int, default=8, help="gRPC requests at the same time; default: 8"
    )
    args = parser.parse_args()

    model = Model(args.model_base_path, args.model_name)
    ready = {"version": model.version, "warmed_up": model.warm_up()}
    pool = concurrent.futures.ThreadPoolExecutor(args.threads)
    server, service = grpc.server(pool, options=OPTIONS), GrpcService(model)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    ready["port"] = server.add_insecure_port(f"127.0.0.1:{args.port}")
    server.start()
    if args.rest_api_port is not None:
        rest = RestServer(("127.0.0.1", args.rest_api_port), functools.partial(RestHandler, model))
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        ready["rest_api_port"] = rest.server_port
    print(json.dumps(ready), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.wait_for_termination()


if __name__ == "__main__":
    main()
