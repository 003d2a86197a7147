import json

import numpy as np
import pytest
import shapely
import written_objects
from written_objects import CLASSES, IDS, REGIONS, SIZE, record

from keras_maskrcnn.writers import open_writer

TRANSFORM = (0.25, 0.0, 500_000.1, 0.0, -0.25, 4_600_000.7)


def write(folder, found, **options):
    with open_writer("geojson", folder, class_names=CLASSES, category_ids=IDS) as writer:
        writer.add(record("sub/a.tif", **options), found)
    return folder / "geojson" / "sub" / "a.geojson"


def masks_of(geometries):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return [shapely.contains_xy(geometry, x, y) for geometry in geometries]


def test_shapely_reads_the_same_masks(tmp_path):
    found = written_objects.found()
    path = write(tmp_path, found)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["type"], content["name"]) == ("FeatureCollection", "a")
    assert content["crs"]["properties"]["name"].startswith('ENGCRS["pixels of the image"')
    geometries = shapely.get_parts(shapely.from_geojson(path.read_text(encoding="utf-8")))
    assert shapely.is_valid(geometries).all()
    np.testing.assert_array_equal(masks_of(geometries), np.asarray(found["masks"]))
    kinds = dict(zip(REGIONS, (geometry.geom_type for geometry in geometries), strict=True))
    assert kinds["hole"] == "Polygon" and kinds["parts"] == kinds["diagonal"] == "MultiPolygon"


def test_properties_are_those_of_qgis_and_qupath(tmp_path):
    path = write(tmp_path, written_objects.found())
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    assert features[1]["properties"] == {
        "number": 2,
        "class": CLASSES[1],
        "score": pytest.approx(0.89, abs=1e-6),
        "category_id": 7,
        "objectType": "detection",
        "classification": {"name": CLASSES[1]},
        "measurements": {"score": pytest.approx(0.89, abs=1e-6)},
    }


@pytest.mark.parametrize("transform", [TRANSFORM, (0.2, 0.1, 10.0, 0.1, -0.2, 20.0)])
def test_a_georeferenced_image_has_coordinates_of_its_system(tmp_path, transform):
    found = written_objects.found()
    path = write(tmp_path, found, crs="EPSG:32633", transform=transform)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    geometries = shapely.get_parts(shapely.from_geojson(json.dumps(content)))
    a, b, c, d, e, f = transform
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = [
        shapely.contains_xy(geometry, a * x + b * y + c, d * x + e * y + f)
        for geometry in geometries
    ]
    np.testing.assert_array_equal(inside, np.asarray(found["masks"]))
    assert sum(g.area for g in geometries) == pytest.approx(
        abs(a * e - b * d) * found["masks"].areas().sum(), rel=1e-3
    )


@pytest.mark.parametrize("crs", [None, "EPSG:32633"])
def test_rings_turn_as_rfc_7946_wants(tmp_path, crs):
    transform = None if crs is None else TRANSFORM
    path = write(tmp_path, written_objects.found(("hole", "parts")), crs=crs, transform=transform)
    for geometry in shapely.get_parts(shapely.from_geojson(path.read_text(encoding="utf-8"))):
        for polygon in shapely.get_parts(geometry):
            assert polygon.exterior.is_ccw and not any(ring.is_ccw for ring in polygon.interiors)


@pytest.mark.parametrize(
    ("crs", "name"),
    [
        ("EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84"),
        ("epsg:3857", "urn:ogc:def:crs:EPSG::3857"),
        ('PROJCS["my own"]', 'PROJCS["my own"]'),
    ],
)
def test_a_reference_system_is_named(tmp_path, crs, name):
    path = write(tmp_path, written_objects.found(()), crs=crs, transform=TRANSFORM)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["features"] == [] and content["crs"]["properties"]["name"] == name


def test_degrees_keep_a_thousandth_of_a_pixel(tmp_path):
    transform = (1e-6, 0, 11.1234567, 0, -1e-6, 48.7654321)
    path = write(tmp_path, written_objects.found(("blob",)), crs="EPSG:4326", transform=transform)
    [feature] = json.loads(path.read_text(encoding="utf-8"))["features"]
    left, *_ = shapely.from_geojson(json.dumps(feature["geometry"])).bounds
    assert left == pytest.approx(11.1234567 + 4e-6, abs=1e-9)


def test_a_system_without_a_transform_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a.tif: .* needs a transform. Received: transform=None"):
        write(tmp_path, written_objects.found(), crs="EPSG:32633")


def test_without_masks_there_are_boxes(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    features = json.loads(write(tmp_path, found).read_text(encoding="utf-8"))["features"]
    assert shapely.from_geojson(json.dumps(features[0]["geometry"])).bounds == (4, 7, 30, 33)


@pytest.mark.slow
@pytest.mark.parametrize("crs", [None, "EPSG:32633", "EPSG:4326", "WKT"])
def test_geopandas_reads_geometry_system_and_properties(tmp_path, crs):
    geopandas = pytest.importorskip("geopandas")
    pyproj = pytest.importorskip("pyproj")
    if crs == "WKT":
        crs = pyproj.CRS("EPSG:2056").to_wkt()
    found = written_objects.found()
    transform = (1e-6, 0, 11, 0, -1e-6, 48) if crs == "EPSG:4326" else TRANSFORM
    path = write(tmp_path, found, crs=crs, transform=transform)
    table = geopandas.read_file(path)
    if crs is None:
        assert (table.crs.name, table.crs.is_geographic) == ("pixels of the image", False)
    else:
        assert table.crs == pyproj.CRS(crs)
    assert table["class"].tolist()[:2] == list(CLASSES)
    assert table["score"].tolist() == pytest.approx(found["scores"].tolist(), abs=1e-5)
    assert table.geometry.is_valid.all()
    pixel = 1 if crs is None else abs(transform[0] * transform[4])
    np.testing.assert_allclose(table.geometry.area / pixel, found["masks"].areas(), rtol=0.01)
