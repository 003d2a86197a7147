import os
import pathlib
import pickle
import sys
import zipfile

import h5py
import numpy as np
import pytest

from keras_maskrcnn.data import archives
from keras_maskrcnn.weights import CheckpointError, read_checkpoint

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_both_formats_of_pytorch(name):
    arrays = read_checkpoint(GOLDEN / name)
    expected = {
        "contiguous": np.arange(24).reshape(2, 3, 4),
        "transposed": np.arange(24).reshape(4, 6).T,
        "window": [5, 6, 7, 8],
        "scalar": 7,
        "empty": np.zeros((0, 3)),
        "half": [0.5, -2.0],
        "bfloat16": [1.5, -3.0],
        "flags": [True, False],
        "parameter": [1.0, 1.0],
        "weight": [[3.0, 3.0]],
        "bias": [-1.0],
    }
    assert set(arrays) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(arrays[key], value, err_msg=key)
        assert arrays[key].shape == np.shape(value)
    assert arrays["contiguous"].dtype == np.float32
    assert arrays["scalar"].dtype == np.int64
    assert arrays["half"].dtype == np.float16


def test_a_bare_state_dict():
    assert set(read_checkpoint(GOLDEN / "torch_state_dict.pth")) == {"weight", "bias"}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_numpy_as_detectron2_writes_them(protocol, tmp_path):
    weights = {
        "backbone.stem": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">i4"),
    }
    path = tmp_path / "model.pkl"
    tree = {"model": weights, "__author__": "x", "matching_heuristics": True, "n": np.float32(2)}
    path.write_bytes(pickle.dumps(tree, protocol=protocol))
    arrays = read_checkpoint(path)
    assert set(arrays) == set(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(arrays[name], value)


def test_pickles_of_python_2(tmp_path):
    # The bytes of cPickle.dumps({"blobs": {"w": np.array([1, 2], "<f4")}}, 2).
    data = (
        b"\x80\x02}q\x01U\x05blobsq\x02}q\x03U\x01wcnumpy.core.multiarray\n_reconstruct\nq\x04"
        b"cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87Rq\x06(K\x01K\x02\x85cnumpy\ndtype\nq\x07"
        b"U\x02f4K\x00K\x01\x87Rq\x08(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x00\x00\x80?\x00\x00\x00@tbss."
    )
    path = tmp_path / "caffe2.pkl"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_checkpoint(path)["w"], [1.0, 2.0])


def test_npz_and_h5(tmp_path):
    import h5py

    np.savez(tmp_path / "a.npz", x=np.ones(3), **{"y/z": np.zeros(2)})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layer/layer/kernel:0"] = np.ones((2, 2))
        file["layer/name"] = "text is left out"
    assert set(read_checkpoint(tmp_path / "a.npz")) == {"x", "y/z"}
    assert set(read_checkpoint(tmp_path / "a.h5")) == {"layer/layer/kernel:0"}


def test_without_safetensors_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    (tmp_path / "a.safetensors").write_bytes(b"x" * 16)
    with pytest.raises(CheckpointError, match=r"pip install keras3-maskrcnn\[weights\]. Received"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"x": np.ones(3)}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "a.safetensors")["x"], np.ones(3))


class Malicious:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Malicious(os.system, "touch was_here"), "system"),
        (Malicious(eval, "1"), "eval"),
        (Malicious(getattr, {}, "clear"), "getattr"),
        (Malicious(np.load, "x"), "load"),
        (pathlib.Path, "pathlib"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_by_name(
    value, name, protocol, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"model": {"w": value}}, protocol=protocol))
    with pytest.raises(CheckpointError, match=rf"evil.pth is refused: .* call \S*{name}"):
        read_checkpoint(path)
    assert not (tmp_path / "was_here").exists()


def test_an_array_of_objects_is_an_error(tmp_path):
    path = tmp_path / "objects.pkl"
    path.write_bytes(pickle.dumps({"w": np.array([{}, {}], dtype=object)}))
    with pytest.raises(CheckpointError, match="objects.pkl is broken: an array holds object"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_an_error(name, share, tmp_path):
    data = (GOLDEN / name).read_bytes()
    path = tmp_path / "short.pth"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="short.pth (is broken|is not a checkpoint)"):
        read_checkpoint(path)


def test_a_tensor_outside_of_its_storage_is_an_error():
    from keras_maskrcnn.weights.checkpoint import _Storage, _Tensor

    storage = _Storage("FloatStorage", 4)
    storage.fill(np.arange(4, dtype="<f4").tobytes())
    np.testing.assert_array_equal(_Tensor(storage, 1, (3,), (1,)).array(), [1, 2, 3])
    for bad in [(1, (4,), (1,)), (-1, (1,), (1,)), (3, (2,), (-1,)), (0, (2,), (4,))]:
        with pytest.raises(ValueError, match="outside its storage"):
            _Tensor(storage, *bad).array()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"hello, world", "is not a checkpoint: expected .* begins with b'hello, w'"),
        (pickle.dumps({"epoch": 3}), "holds no arrays"),
        (b"PK\x03\x04 and nothing more", "is broken"),
    ],
)
def test_other_files_are_errors_that_name_the_file(content, words, tmp_path):
    path = tmp_path / "a.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"a.pth {words}"):
        read_checkpoint(path)


def nested_dicts(depth):
    tree = {"w": np.ones(1)}
    for _ in range(depth):
        tree = {"a": tree, "b": tree}
    return tree


def deep_dict(depth):
    tree = {"w": np.ones(1)}
    for _ in range(depth):
        tree = {"a": tree}
    return tree


def endless_dict():
    tree = {"w": np.ones(1)}
    tree["self"] = tree
    return tree


@pytest.mark.parametrize(
    "tree",
    [nested_dicts(31), deep_dict(40), endless_dict(), {"a" * 600: {"b" * 600: 1}}],
    ids=["shared", "deep", "endless", "names"],
)
def test_nested_dicts_are_read_within_bounds(tree, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(tree))
    with pytest.raises(CheckpointError, match="a.pkl is broken: it has over 100000 entries"):
        read_checkpoint(path)


def test_dicts_that_are_shared_are_read(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(nested_dicts(3)))
    assert len(read_checkpoint(path)) == 8


def test_a_tensor_has_no_more_numbers_than_its_storage():
    """A stride of 0 would turn 16 bytes into 2 GiB."""
    from keras_maskrcnn.weights.checkpoint import _Storage, _Tensor

    storage = _Storage("FloatStorage", 4)
    storage.fill(np.arange(4, dtype="<f4").tobytes())
    found = _Tensor(storage, 0, (2, 2), (0, 1)).array()
    np.testing.assert_array_equal(found, [[0, 1], [0, 1]])
    for bad in [(0, (5,), (0,)), (0, (2**29,), (0,)), (0, (1,) * 40, (0,) * 40), (0, (2.0,), (1,))]:
        with pytest.raises(ValueError, match="outside its storage"):
            _Tensor(storage, *bad).array()


def torch_zip(path, data, declared=None, method=zipfile.ZIP_STORED):
    """Writes the zip of a state dict {"w": 4 floats}, with other bytes as its storage."""
    with zipfile.ZipFile(GOLDEN / "torch_zip.pth") as golden:
        entries = {name: golden.read(name) for name in golden.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, data if name.endswith("/data/0") else content)
        if declared:
            for entry in archive.filelist:
                if entry.filename.endswith("/data/0"):
                    entry.file_size = declared


@pytest.mark.parametrize(
    ("data", "declared", "method", "words"),
    [
        (b"\0" * 16, 2**31 - 1, zipfile.ZIP_STORED, "declares 2147483647 bytes and has 16"),
        (b"\0" * 16, 2**31 - 1, zipfile.ZIP_DEFLATED, "would unpack to 2147"),
        (b"\0" * 2**20, 2**31 - 1, zipfile.ZIP_DEFLATED, "would unpack to 2147"),
    ],
)
def test_a_zip_that_declares_more_than_it_holds_is_refused(data, declared, method, words, tmp_path):
    path = tmp_path / "a.pth"
    torch_zip(path, data, declared, method)
    with pytest.raises(CheckpointError, match=f"a.pth is broken: .*{words}"):
        read_checkpoint(path)


def test_an_npz_that_declares_more_than_it_holds_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(10**6))
    assert read_checkpoint(path)["a"].shape == (10**6,)
    monkeypatch.setattr(archives, "ROOM", 10**6)
    with pytest.raises(CheckpointError, match="a.npz is broken: it would unpack to 80001"):
        read_checkpoint(path)


def test_an_h5_file_is_read_within_bounds(tmp_path, monkeypatch):
    path, far = tmp_path / "a.h5", tmp_path / "far.bin"
    far.write_bytes(b"secret" * 8)

    def refused(words, write):
        with h5py.File(path, "w") as file:
            write(file)
        with pytest.raises(CheckpointError, match=f"a.h5 is broken: {words}"):
            read_checkpoint(path)

    refused("w declares more", lambda file: file.create_dataset("w", (2**40,), "f4"))
    refused(
        "w lies in another file",
        lambda file: file.create_dataset("w", (4,), "f4", external=[(str(far), 0, 16)]),
    )
    refused("it has over", lambda file: file.create_group("/".join("a" * 40)))
    with h5py.File(path, "w") as file:
        file["a/w"] = [1.0]
        file["a/again"] = file["a"]  # a group that contains itself
        file["far"] = h5py.ExternalLink("b.h5", "w")
        file["soft"] = h5py.SoftLink("/a/w")
    assert list(read_checkpoint(path)) == ["a/w"]
