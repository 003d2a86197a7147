import os

from keras_maskrcnn.writers import ImageRecord


def test_names_have_slashes_on_every_system():
    assert ImageRecord(os.path.join("sub", "a.png"), 3, 4).posix_name == "sub/a.png"
    assert ImageRecord("a b.png", 3, 4).posix_name == "a b.png"
