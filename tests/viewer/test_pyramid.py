import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.viewer import pyramid


def tile(folder, name):
    with Image.open(folder / "image_files" / name) as image:
        return np.asarray(image)


def test_levels_halve_the_image_down_to_a_pixel(tmp_path):
    with open_source(np.full((700, 1101, 3), 90, np.uint8)) as source:
        assert pyramid.write_pyramid(tmp_path, "image", source) == 11
    files = sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    )
    assert files == sorted(
        [
            "image.dzi",
            *(f"image_files/11/{x}_{y}.jpg" for x in range(3) for y in range(2)),
            *(f"image_files/10/{x}_0.jpg" for x in range(2)),
            *(f"image_files/{level}/0_0.jpg" for level in range(10)),
        ]
    )
    assert tile(tmp_path, "11/2_1.jpg").shape == (700 - 512, 1101 - 1024, 3)
    assert tile(tmp_path, "10/1_0.jpg").shape == (350, 551 - 512, 3)
    assert tile(tmp_path, "0/0_0.jpg").shape == (1, 1, 3)
    assert 'TileSize="512"' in (tmp_path / "image.dzi").read_text()
    assert '<Size Width="1101" Height="700"/>' in (tmp_path / "image.dzi").read_text()


def test_tiles_of_all_levels_lie_at_their_place(tmp_path, monkeypatch):
    """A smooth picture, whose blocks and tiles are small, put together again from each level."""
    monkeypatch.setattr(pyramid, "TILE", 16)
    monkeypatch.setattr(pyramid, "_BLOCK", 32)
    y, x = np.mgrid[:150, :210]
    pixels = np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)
    with open_source(pixels) as source:
        highest = pyramid.write_pyramid(tmp_path, "image", source, quality=95)
    assert highest == 8
    for level in (8, 7, 6):
        rows, columns = -(-150 >> 8 - level), -(-210 >> 8 - level)
        whole = np.zeros((rows, columns, 3), np.uint8)
        for top in range(0, rows, 16):
            for left in range(0, columns, 16):
                part = tile(tmp_path, f"{level}/{left // 16}_{top // 16}.jpg")
                whole[top : top + 16, left : left + 16] = part
        small = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BOX)
        assert np.abs(whole.astype(int) - np.asarray(small)).max() <= 8


def test_each_pixel_is_read_once_and_never_many_at_once(tmp_path):
    reads = np.zeros((2500, 4200), int)

    class Lazy:
        shape, dtype = (2500, 4200, 3), np.dtype(np.uint8)

        def __getitem__(self, window):
            reads[window] += 1
            assert reads[window].size <= 2048 * 2048
            return np.zeros((*reads[window].shape, 3), np.uint8)

    with open_source(Lazy()) as source:
        pyramid.write_pyramid(tmp_path, "image", source)
    assert reads.min() == reads.max() == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (513, 1)])
def test_thin_images(tmp_path, shape):
    with open_source(np.full((*shape, 3), 200, np.uint8)) as source:
        highest = pyramid.write_pyramid(tmp_path, "image", source)
    assert tile(tmp_path, f"{highest}/0_0.jpg").shape == (min(shape[0], 512), min(shape[1], 512), 3)
