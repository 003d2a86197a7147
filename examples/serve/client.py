"""Sends image files to a served model, and writes the detections.

    python examples/serve/client.py --output=found photos/*.jpg
    python examples/serve/client.py --api=grpc --output=found --pictures photos/*.jpg
    python examples/serve/client.py --api=kserve --output=found photos/*.jpg

It sends one image per request to TensorFlow Serving's REST or gRPC API, or by the Open Inference
Protocol (KServe v2) to a server of ONNX files, such as OpenVINO Model Server. It writes
found/predictions.json as `keras-maskrcnn predict` does: COCO results with file names. With
--pictures it also draws them. If the server refuses an image, its name is printed on stderr and the
exit status is 1.

REST needs only Python. gRPC needs tensorflow-serving-api, whose protos import TensorFlow. Pictures
and KServe need keras_maskrcnn: an ONNX file takes pixels, so the client reads the image. So do the
masks of a model that was exported with soft masks, because they must be pasted into the image. Run
lengths (masks="rle") are written as they are.

--model_json says which bands and which dtype the images of the model have; without it they are RGB
of 8 bits. If JPEG and PNG cannot hold them, the client reads the image, and sends pixels.
"""

import argparse
import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request

PORTS = {"rest": 8501, "grpc": 8500, "kserve": 8000}


class ServingError(Exception):
    """An error that the server answers.

    Attributes:
        code: str. The gRPC status, such as "INVALID_ARGUMENT", or the number of the HTTP status.
    """

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class RestClient:
    """Sends requests to a model by REST.

    Args:
        address: str. HOST:PORT.
        model: str. The model's name.
        timeout: float. Seconds to wait for an answer.
    """

    def __init__(self, address, model="maskrcnn", timeout=60.0):
        self.address, self.timeout = address, timeout
        self.url = f"http://{address}/v1/models/{model}:predict"

    def predict(self, inputs, signature="serve_image_bytes"):
        """Sends one request.

        Args:
            inputs: dict of input names to (nested lists of) numbers or bytes.
            signature: str. The signature's name.

        Returns:
            dict of output names to nested lists.

        Raises:
            ServingError: if the server refuses the request.
            OSError: if the server cannot be reached.
        """
        body = json.dumps({"signature_name": signature, "inputs": inputs}, default=_base64)
        request = urllib.request.Request(
            self.url, body.encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.load(response)["outputs"]
        except urllib.error.HTTPError as error:
            content = error.read().decode(errors="replace")
            raise ServingError(str(error.code), content) from error


class GrpcClient:
    """Sends requests to a model by gRPC. It has the arguments and the method of `RestClient`.

    It also takes arrays, and returns arrays.
    """

    def __init__(self, address, model="maskrcnn", timeout=60.0):
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise ImportError(
                "--api=grpc needs the extra serving; in the clone: pip install '.[serving]'. "
                f"{type(error).__name__}: {error}."
            ) from error

        # By default gRPC refuses answers above 4 MB; soft masks of a few images are larger.
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.address, self.model, self.timeout = address, model, timeout

    def predict(self, inputs, signature="serve_image_bytes"):
        """Sends one request, as `RestClient`; if no server is reached, it raises `ServingError`."""
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.model, signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self.stub.Predict(request, self.timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details()) from error
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


class KserveClient:
    """Sends arrays by the Open Inference Protocol over HTTP. It has the arguments of `RestClient`.

    Tensors travel as bytes after the JSON, in the protocol's extension for binary data.
    """

    # The protocol's names of what models of this package take and return.
    TYPES = {
        "UINT8": "uint8",
        "UINT16": "uint16",
        "INT32": "int32",
        "INT64": "int64",
        "FP32": "float32",
    }

    def __init__(self, address, model="maskrcnn", timeout=60.0):
        self.address, self.timeout = address, timeout
        self.url = f"http://{address}/v2/models/{model}"
        self._outputs = None  # asked for at the first request

    def predict(self, inputs):
        """Sends one request.

        Args:
            inputs: dict of input names to arrays: images (B, H, W, C) of the model's dtype, by
                default uint8 (B, H, W, 3) RGB.

        Returns:
            dict of output names to arrays.

        Raises:
            ServingError: if the server refuses the request.
            OSError: if the server cannot be reached.
        """
        import numpy as np

        if self._outputs is None:
            described, _ = self._ask(self.url, None, {})
            self._outputs = [output["name"] for output in described["outputs"]]
        names = {dtype: name for name, dtype in self.TYPES.items()}
        tensors, content = [], b""
        for name, value in inputs.items():
            size = {"binary_data_size": value.nbytes}
            tensors.append({"name": name, "shape": value.shape, "parameters": size})
            tensors[-1]["datatype"] = names[str(value.dtype)]
            content += value.tobytes()
        # Without their names, OpenVINO Model Server would write the outputs as text.
        wanted = [{"name": name, "parameters": {"binary_data": True}} for name in self._outputs]
        header = json.dumps({"inputs": tensors, "outputs": wanted}).encode()
        length = {"Inference-Header-Content-Length": str(len(header))}
        answer, content = self._ask(f"{self.url}/infer", header + content, length)
        outputs = {}
        for output in answer["outputs"]:
            dtype = np.dtype(self.TYPES[output["datatype"]])
            if "data" in output:
                values = np.array(output["data"], dtype)
            else:
                size = output["parameters"]["binary_data_size"]
                values, content = np.frombuffer(content[:size], dtype), content[size:]
            outputs[output["name"]] = values.reshape(output["shape"])
        return outputs

    def _ask(self, url, body, headers):
        """Returns an answer's JSON, and the bytes after it."""
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                content = response.read()
                length = response.headers["Inference-Header-Content-Length"]
        except urllib.error.HTTPError as error:
            raise ServingError(str(error.code), error.read().decode(errors="replace")) from error
        length = int(length or len(content))
        return json.loads(content[:length]), content[length:]


def coco_results(answer, path, category_ids=(), size=None):
    """Converts the detections of an answer's first image to COCO results.

    Args:
        answer: dict of the model's outputs, lists or arrays: boxes (B, D, 4), scores (B, D), labels
            (B, D), num_detections (B,), and for masks either rle (B, D) with sizes (B, 2), or masks
            (B, D, m, m). Without either of them there is no "segmentation".
        path: path of the image. The file is read only if masks (B, D, m, m) are pasted.
        category_ids: sequence of ints. The ids of labels 1, 2, ...; if empty, labels are written.
        size: (height, width) of the image, if it is known.

    Returns:
        list of {"file_name", "category_id", "bbox" [x, y, w, h], "score", "segmentation"}; empty
        without detections.

    Raises:
        ImportError: if masks must be pasted and keras_maskrcnn is not installed.
    """
    name, count = pathlib.Path(path).name, int(answer["num_detections"][0])
    if "masks" in answer:
        import numpy as np

        from keras_maskrcnn import detections
        from keras_maskrcnn.data.images import read_image

        outputs = {key: np.asarray(value) for key, value in answer.items()}
        size = size or read_image(str(path)).shape[:2]
        results = detections.coco_results(outputs, 0, name, *size, category_ids)
        return [{"file_name": result.pop("image_id"), **result} for result in results]
    results = []
    for i in range(count):
        (x1, y1, x2, y2), label = map(float, answer["boxes"][0][i]), int(answer["labels"][0][i])
        results.append(
            {
                "file_name": name,
                "category_id": category_ids[label - 1] if category_ids else label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(answer["scores"][0][i]),
            }
        )
        if "rle" in answer:
            counts, size = answer["rle"][0][i], [int(side) for side in answer["sizes"][0]]
            counts = counts if isinstance(counts, str) else counts.decode("ascii")
            results[-1]["segmentation"] = {"size": size, "counts": counts}
    return results


def draw(path, results, picture, names, image=None):
    """Writes a picture of one image with its results.

    Args:
        path: path of the image.
        results: the image's results, from `coco_results`.
        picture: path of the PNG to write.
        names: dict of category ids to class names; may be empty.
        image: the image as an array, if it was read.
    """
    import numpy as np
    from pycocotools import mask as mask_api

    from keras_maskrcnn import visualize
    from keras_maskrcnn.data.images import read_image

    # Take all classes with a name, so that each has the same color in every picture.
    ids = sorted({*names, *(result["category_id"] for result in results)})
    things = {
        "boxes": [(x, y, x + w, y + h) for x, y, w, h in (result["bbox"] for result in results)],
        "scores": [result["score"] for result in results],
        "labels": [ids.index(result["category_id"]) + 1 for result in results],
        "class_names": [names.get(i, str(i)) for i in ids],
    }
    if results and "segmentation" in results[0]:
        things["masks"] = np.array([mask_api.decode(r["segmentation"]) for r in results], bool)
    image = read_image(str(path)) if image is None else image
    visualize.save_png(picture, visualize.draw(image, things))


def read(path, known):
    """Reads an image file with the bands and the dtype of a model.

    Args:
        path: path of the image.
        known: dict of the model's model.json; without its entries, 8-bit RGB.

    Returns:
        (H, W, C) array.

    Raises:
        ValueError: if the file cannot be read, or has other bands.
        ImportError: if keras_maskrcnn is not installed.
    """
    from keras_maskrcnn.data.pixels import read_pixels

    channels, dtype = known.get("in_channels", 3), known.get("image_dtype", "uint8")
    return read_pixels(str(path), channels=channels, dtype=dtype)


def request(api, path, known):
    """Makes the request for an image file: its bytes, or its pixels where only these are taken.

    Args:
        api: str. A key of `PORTS`.
        path: path of the image.
        known: dict of the model's model.json.

    Returns:
        arguments of `predict` as a dict, and the image if it was read, else None.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file cannot be read, or has other bands.
        ImportError: if keras_maskrcnn is needed and not installed.
    """
    if api != "kserve" and known.get("encoded_images", True):
        return {"inputs": {"image_bytes": [path.read_bytes()]}}, None
    image = read(path, known)
    if api == "kserve":
        return {"inputs": {"images": image[None]}}, image
    images = [image.tolist()] if api == "rest" else image[None]
    return {"inputs": {"images": images}, "signature": "serving_default"}, image


def _base64(value):
    return {"b64": base64.b64encode(value).decode("ascii")}


def main():
    """Sends every image, writes the results, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "images",
        nargs="+",
        type=pathlib.Path,
        help="JPEG or PNG files, or .npy and TIFF for more bands",
    )
    parser.add_argument("--api", choices=PORTS, default="rest", help="default: rest")
    parser.add_argument(
        "--address", help="HOST:PORT; default: localhost:8501 (rest), :8500 (grpc), :8000 (kserve)"
    )
    parser.add_argument("--model_name", default="maskrcnn", help="default: maskrcnn")
    parser.add_argument(
        "--model_json",
        help="the export's assets.extra/model.json, for classes, and the bands and dtype of images",
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a new or empty folder")
    parser.add_argument("--pictures", action="store_true", help="draw the detections")
    args = parser.parse_args()
    if len({path.name for path in args.images}) < len(args.images):
        parser.error("the images must have different names, because results name them.")
    if args.output.is_dir() and any(args.output.iterdir()):
        parser.error(f"the output folder is not empty. Received: output={str(args.output)!r}.")

    known = {"class_names": [], "category_ids": []}  # the rest has defaults
    if args.model_json:
        known = json.loads(pathlib.Path(args.model_json).read_text(encoding="utf-8"))
    ids = known["category_ids"]
    names = dict(zip(ids, known["class_names"], strict=True))
    address = args.address or f"localhost:{PORTS[args.api]}"
    clients = {"rest": RestClient, "grpc": GrpcClient, "kserve": KserveClient}
    try:
        client = clients[args.api](address, args.model_name)
    except ImportError as error:
        parser.exit(1, f"{error}\n")
    args.output.mkdir(parents=True, exist_ok=True)
    results, refused = [], 0
    for path in args.images:
        try:
            arguments, image = request(args.api, path, known)
            size = None if image is None else image.shape[:2]
            found = coco_results(client.predict(**arguments), path, ids, size)
        except (OSError, ServingError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            refused += 1
            continue
        except ImportError as error:
            parser.exit(
                1,
                "keras_maskrcnn is needed to paste soft masks and to read images for kserve; run "
                f"lengths by rest or grpc do not need it: {error}\n",
            )
        results += found
        if args.pictures:
            draw(path, found, args.output / f"{path.name}.png", names, image)
    with open(args.output / "predictions.json", "w", encoding="utf-8") as file:
        json.dump(results, file)
    done = len(args.images) - refused
    print(f"{len(results)} detections in {done} images, {refused} without an answer.")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
