import csv

import numpy as np
import pytest
import written_objects
from skimage.measure import regionprops
from written_objects import CLASSES, IDS, record

from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.writers import open_writer
from keras_maskrcnn.writers.to_csv import COLUMNS


def rows_of(folder, records, **options):
    with open_writer("csv", folder, **options) as writer:
        for one, found in records:
            writer.add(one, found)
    with open(folder / "measurements.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rectangle(height=20, width=10, at=(5, 30)):
    return {
        "boxes": np.array([[30, 5, 40, 25.5]], np.float32),
        "scores": np.array([0.75], np.float32),
        "labels": np.array([2], np.int32),
        "masks": InstanceMasks([np.ones((height, width), bool)], [at], written_objects.SIZE),
    }


def test_a_rectangle_has_known_measurements(tmp_path):
    [row] = rows_of(
        tmp_path,
        [(record("s/a,b.png", microns_per_pixel=0.5), rectangle())],
        class_names=CLASSES,
        category_ids=IDS,
    )
    assert tuple(row) == COLUMNS
    texts = {"file_name": "s/a,b.png", "class": CLASSES[1], "id": "1", "category_id": "7"}
    assert {name: row.pop(name) for name in texts} == texts
    # Axes: 4 times the root of the variance of n pixels in a row, (n^2 - 1) / 12.
    long, short = 4 * np.sqrt((20**2 - 1) / 12), 4 * np.sqrt((10**2 - 1) / 12)
    wanted = {
        **{"score": 0.75, "x1": 30, "y1": 5, "x2": 40, "y2": 25.5, "area": 200},
        **{"centroid_x": 35, "centroid_y": 15, "perimeter": 56, "orientation": 0},
        **{
            "major_axis": long,
            "minor_axis": short,
            "eccentricity": np.sqrt(1 - 99 / 399),
            "solidity": 1,
        },
        **{"area_um2": 50, "perimeter_um": 28, "major_axis_um": long / 2},
        "minor_axis_um": short / 2,
    }
    assert {name: float(value) for name, value in row.items()} == pytest.approx(wanted, abs=1e-4)


def test_microns_are_empty_where_they_are_not_known(tmp_path):
    [row] = rows_of(tmp_path, [(record(), rectangle())])
    assert {row[name] for name in COLUMNS if "_um" in name} == {""}
    assert "" not in {row[name] for name in COLUMNS if "_um" not in name}


def test_objects_of_every_kind_are_measured(tmp_path):
    found = written_objects.found()
    rows = rows_of(tmp_path, [(record("a.png"), found), (record("b.png"), found)])
    assert [row["id"] for row in rows] == [str(i + 1) for i in range(11)] * 2
    assert [int(row["area"]) for row in rows[:11]] == found["masks"].areas().tolist()
    by_name = dict(zip(written_objects.REGIONS, rows, strict=False))
    assert (by_name["pixel"]["centroid_x"], by_name["pixel"]["centroid_y"]) == ("110.5", "30.5")
    assert float(by_name["hole"]["solidity"]) < float(by_name["blob"]["solidity"])


def test_solidity_is_close_to_that_of_scikit_image(tmp_path):
    rows = rows_of(tmp_path, [(record("a.png"), written_objects.found())])
    for (region, _), row in zip(written_objects.REGIONS.values(), rows, strict=True):
        [other] = regionprops(region.astype(np.uint8))
        if other.area > 50:  # else a hull of pixels is coarse
            assert float(row["solidity"]) == pytest.approx(other.solidity, abs=0.03)
    by_name = dict(zip(written_objects.REGIONS, rows, strict=True))
    # Three by three pixels without two: the corner is outside of the hull by half a pixel.
    assert float(by_name["touching corner hole"]["solidity"]) == pytest.approx(7 / 8.5, abs=1e-4)
    assert float(by_name["line"]["solidity"]) == 1


def test_without_a_mask_there_is_the_box_alone(tmp_path):
    found = rectangle()
    empty = {**found, "masks": np.zeros((1, *written_objects.SIZE), bool)}
    del found["masks"]
    box, blank = rows_of(tmp_path, [(record("a.png"), found), (record("b.png"), empty)])
    assert (box["x1"], box["area"], box["solidity"]) == ("30.0", "", "")
    assert (blank["x1"], blank["area"], blank["solidity"]) == ("30.0", "0", "")


def test_no_cell_is_a_formula(tmp_path):
    found = {**rectangle(), "class_names": ["", "@SUM(A1)"]}
    [row] = rows_of(tmp_path, [(record('=HYPERLINK("x").png'), found)])
    assert (row["file_name"], row["class"]) == ('\'=HYPERLINK("x").png', "'@SUM(A1)")


@pytest.mark.slow
def test_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = rows_of(tmp_path, [(record("a.png"), written_objects.found())], class_names=CLASSES)
    table = pandas.read_csv(tmp_path / "measurements.csv")
    assert len(table) == len(rows) and table["class"].tolist() == [r["class"] for r in rows]
    assert table["area"].dtype == int and table["perimeter"].dtype == float
