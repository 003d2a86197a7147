from keras_maskrcnn.cli import pictures


def test_pictures_of_images_that_differ_only_in_the_suffix_have_different_names():
    names = pictures.picture_names(["a.jpg", "b.jpg", "b.png"])
    assert names == ["a.png", "b.jpg.png", "b.png.png"]
    names = pictures.picture_names(["a.jpg", "a.png", "a.png.png", "a.jpg.tif", "b.tif.tif"])
    assert names == ["a.jpg.png", "a.png.png", "a.png.png.png", "a.jpg.tif.png", "b.tif.png"]
