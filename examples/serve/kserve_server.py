"""Answers Open Inference Protocol (KServe v2) requests over HTTP. For local trials and tests only.

    python examples/serve/kserve_server.py --model_path=model.onnx --rest_port=8000

It stands in for OpenVINO Model Server, which is not a pip package. Its flags have the names of the
official ones. It runs an ONNX file or OpenVINO IR with `keras_maskrcnn.runtime`, prints one line of
JSON with the port, and listens on 127.0.0.1. It knows the routes for readiness, metadata and
inference, and tensors as bytes after the JSON, but not tensors in the JSON.
"""

import argparse
import functools
import http.server
import json

import numpy as np

from keras_maskrcnn.runtime import ExportedModel

MAX_BYTES = 2**28  # of a request
NAMES = {"uint8": "UINT8", "uint16": "UINT16", "int32": "INT32", "float32": "FP32"}
LENGTH = "Inference-Header-Content-Length"


class Handler(http.server.BaseHTTPRequestHandler):
    """The routes of one model."""

    def __init__(self, model, name, *args):
        self.model, self.root = model, f"/v2/models/{name}"
        self.channels, self.dtype = model.config.in_channels, model.config.image_dtype
        super().__init__(*args)  # this answers the request

    def log_message(self, *args):
        """Logs nothing."""

    def do_GET(self):
        if self.path in ("/v2/health/live", "/v2/health/ready", f"{self.root}/ready"):
            self._send(200, b"")
        elif self.path == self.root:
            nothing = np.zeros((1, 64, 64, self.channels), self.dtype)
            outputs = self.model.predict_on_batch(nothing)
            outputs = [{"name": name, **_described(x)} for name, x in outputs.items()]
            shape = [-1, -1, -1, self.channels]
            inputs = [{"name": "images", "datatype": NAMES[self.dtype], "shape": shape}]
            self._send_json(200, {"name": self.root, "inputs": inputs, "outputs": outputs})
        else:
            self._send_json(404, {"error": f"not found: {self.path}"})

    def do_POST(self):
        if self.path != f"{self.root}/infer":
            self._send_json(404, {"error": f"not found: {self.path}"})
            return
        try:
            images, wanted = self._read_request()
            outputs = self.model.predict_on_batch(images)
            outputs = {name: outputs[name] for name in wanted or outputs}
        except (KeyError, TypeError, ValueError) as error:
            self._send_json(400, {"error": " ".join(f"{type(error).__name__}: {error}".split())})
            return
        described = [
            {"name": name, **_described(x), "parameters": {"binary_data_size": x.nbytes}}
            for name, x in outputs.items()
        ]
        header = json.dumps({"outputs": described}).encode()
        content = header + b"".join(x.tobytes() for x in outputs.values())
        self._send(200, content, {LENGTH: str(len(header))})

    def _read_request(self):
        """Returns the images, and the names of the outputs that are asked for."""
        size, length = (int(self.headers[name] or -1) for name in ("Content-Length", LENGTH))
        if not 0 <= length <= size <= MAX_BYTES:
            raise ValueError(f"a request needs Content-Length up to {MAX_BYTES}, and {LENGTH}")
        content = self.rfile.read(size)
        request = json.loads(content[:length])
        (tensor,) = request["inputs"]
        datatype = NAMES[self.dtype]
        if (tensor["name"], tensor["datatype"]) != ("images", datatype):
            raise ValueError(f"the input is images, {datatype}. Received: {tensor}")
        images = np.frombuffer(content[length:], self.dtype).reshape(tensor["shape"])
        return images, [output["name"] for output in request.get("outputs", ())]

    def _send_json(self, status, answer):
        self._send(status, json.dumps(answer).encode())

    def _send(self, status, content, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _described(array):
    return {"datatype": NAMES[str(array.dtype)], "shape": array.shape}


def main():
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model_path", required=True, help=".onnx, or .xml with its .bin")
    parser.add_argument("--model_name", default="maskrcnn", help="default: maskrcnn")
    parser.add_argument("--rest_port", type=int, default=8000, help="0: any free one")
    args = parser.parse_args()
    handler = functools.partial(Handler, ExportedModel(args.model_path), args.model_name)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", args.rest_port), handler)
    print(json.dumps({"rest_port": server.server_port}), flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
