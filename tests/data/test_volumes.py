"""data/volumes.py: slices of zarr, HDF5 and TIFF are those of the arrays that were written."""

import h5py
import numpy as np
import pytest
import tifffile

from keras_maskrcnn import data
from keras_maskrcnn.data import DataError

RAW = np.random.default_rng(0).integers(0, 256, (5, 20, 30), np.uint8)
LABELS = np.zeros((5, 20, 30), np.uint32)
LABELS[:4, 3:9, 4:14] = 70_000
LABELS[2:, 12:18, 20:28] = 3


def write_hdf5(folder):
    with h5py.File(folder / "cells.h5", "w") as file:
        file["volumes/raw"], file["volumes/labels"] = RAW, LABELS
    return folder / "cells.h5/volumes/raw", folder / "cells.h5/volumes/labels"


def write_zarr(folder):
    zarr = pytest.importorskip("zarr", reason="needs the extra zarr")
    for name, array in (("raw", RAW), ("labels", LABELS)):
        chunks = (1, 20, 30)
        zarr.create_array(folder / f"{name}.zarr", data=array, chunks=chunks)
    return folder / "raw.zarr", folder / "labels.zarr"


def write_ome_zarr(folder):
    zarr = pytest.importorskip("zarr", reason="needs the extra zarr")
    places = ("cells.zarr", RAW[None, None]), ("cells.zarr/labels/cells", LABELS[None, None])
    for place, array in places:
        group = zarr.open_group(folder / place, mode="a")
        group.create_array("0", data=array)
        axes = [{"name": name} for name in "tczyx"]
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    return folder / "cells.zarr", folder / "cells.zarr/labels/cells"


def write_tiff(folder, **options):
    for name, array in (("raw", RAW), ("labels", LABELS)):
        tifffile.imwrite(folder / f"{name}.tif", array, **options)
    return folder / "raw.tif", folder / "labels.tif"


def write_ome_tiff(folder):
    return write_tiff(folder, ome=True, metadata={"axes": "ZYX"}, compression="zlib")


@pytest.mark.parametrize(
    "write", [write_hdf5, write_zarr, write_ome_zarr, write_tiff, write_ome_tiff, None]
)
def test_slices_are_images_and_labels_instances(tmp_path, write):
    raw, labels = (RAW, LABELS) if write is None else write(tmp_path)
    dataset = data.from_volume(raw, labels, class_names=["cell"])
    assert len(dataset) == 5 and dataset.sizes == ((20, 30),) * 5
    assert dataset.num_instances.tolist() == [1, 1, 2, 2, 1]
    for i in range(5):
        np.testing.assert_array_equal(dataset.load_image(i), np.repeat(RAW[i, ..., None], 3, 2))
    np.testing.assert_array_equal(dataset.load(3)["boxes"], [[20, 12, 28, 18], [4, 3, 14, 9]])
    two = data.from_volume(raw, labels, label_classes={3: "dog", 70_000: "cat"}, channels=1)
    assert two.class_names == ("cat", "dog") and two.labels.tolist() == [1, 1, 2, 1, 2, 1, 2]
    np.testing.assert_array_equal(two.load_image(2)[..., 0], RAW[2])


def test_bands_and_other_axes_are_found_by_their_names(tmp_path):
    bands = np.stack([RAW, RAW[::-1]], axis=1).astype(np.uint16)  # z, c, y, x
    tifffile.imwrite(tmp_path / "a.tif", bands, ome=True, metadata={"axes": "ZCYX"})
    for volume in (tmp_path / "a.tif", bands.transpose(0, 2, 3, 1)):
        dataset = data.from_volume(
            volume, LABELS, class_names=["cell"], channels=2, image_dtype="uint16"
        )
        np.testing.assert_array_equal(dataset.load_image(1), bands[1].transpose(1, 2, 0))


def link_out(folder):
    write_hdf5(folder)
    with h5py.File(folder / "out.h5", "w") as file:
        file["raw"] = h5py.ExternalLink("cells.h5", "volumes/raw")
        layout = h5py.VirtualLayout(RAW.shape, RAW.dtype)
        layout[...] = h5py.VirtualSource(folder / "cells.h5", "volumes/raw", RAW.shape)
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("wide", (1, 20000, 30000), "u1", chunks=(1, 20000, 30000))  # no data
    return folder


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("out.h5/raw", "'raw' is in another file"),
        ("out.h5/virtual", "'virtual' is in another file"),
        ("out.h5/wide", r"chunks=\(1, 20000, 30000\), of over 536870912 bytes"),
        ("out.h5/gone", r"'gone' is not in the file, but \['raw', 'virtual', 'wide'\]"),
        ("cells.h5/volumes", r"a group with \['labels', 'raw'\]"),
        ("cells.h5/volumes/raw/0", "'0' is not in the file, but a data set"),
        ("gone/raw", "gone/raw: not a TIFF, a zarr folder, or the path of"),
        ("", "not a zarr array of an image"),
    ],
)
def test_other_files_are_named_and_not_followed(tmp_path, place, line):
    with pytest.raises(DataError, match=line) as caught:
        data.from_volume(link_out(tmp_path) / place, LABELS, class_names=["cell"])
    assert "\n" not in str(caught.value)


def test_slices_of_an_ome_tiff_in_other_files_are_refused(tmp_path):
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0"><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for z, name in enumerate(("a.ome.tif", "b.ome.tif"))
    )
    size = 'SizeX="30" SizeY="20" SizeZ="2" SizeC="1" SizeT="1"'
    kind = f'<Pixels ID="P" DimensionOrder="XYZCT" Type="uint8" {size}>'
    ome = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    image = f'<Image ID="I">{kind}<Channel ID="C"/>{planes}</Pixels></Image>'
    for name in ("a.ome.tif", "b.ome.tif"):
        text = f'<OME xmlns="{ome}" UUID="urn:uuid:{name}">{image}</OME>'
        tifffile.imwrite(tmp_path / name, RAW[0], description=text, metadata=None)
    with pytest.raises(DataError, match="a.ome.tif: a TIFF must have each slice in a page of its"):
        data.from_volume(tmp_path / "a.ome.tif", LABELS[:2], class_names=["cell"])


@pytest.mark.parametrize(
    ("raw", "labels", "options", "line"),
    [
        (RAW, LABELS[1:], {}, r"labels must have the slices.*\(5, 20, 30\).*\(4, 20, 30\)"),
        (RAW, LABELS[..., None].repeat(2, 3), {}, "and no bands. Received: .*bands=True"),
        (RAW[0], LABELS, {}, r"a volume must be .* Received: shape=\(20, 30\), axes=''"),
        (RAW, LABELS, {"label_classes": {3: "dog"}}, "a class in label_classes.*label=70000"),
        (RAW, LABELS / 2, {"class_names": ["cell"]}, "image 0: masks must be .*whole numbers"),
        (RAW[:0], LABELS[:0], {}, "a volume must be"),
    ],
)
def test_volumes_that_do_not_fit_are_refused_in_one_line(raw, labels, options, line):
    with pytest.raises(DataError, match=line) as caught:
        data.from_volume(raw, labels, **options)
    assert "\n" not in str(caught.value)
