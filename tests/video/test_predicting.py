import numpy as np
import pytest
from drawn_clips import FakeModel, boxes_at, write_clip
from PIL import Image

from keras_maskrcnn import video
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import DataError


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_each_frame_comes_with_what_the_model_finds_in_it(clip):
    results = list(video.predict_video(FakeModel(), clip))
    assert [result.number for result in results] == list(range(12))
    for number, seconds, pixels, found in results:
        assert seconds == pytest.approx(number / 25) and pixels.shape == (96, 128, 3)
        truth = boxes_at(number)[found["labels"] - 1]
        np.testing.assert_allclose(found["boxes"], truth, atol=2)
        assert found["class_names"] == ("red", "green", "blue") and "track_ids" not in found


def test_the_model_gets_a_frame_when_its_result_is_asked_for(clip):
    model = FakeModel()
    results = video.predict_video(model, clip)
    for i in range(3):
        assert len(model.shapes) == i
        next(results)


def test_detections_with_low_scores_are_left_out(clip):
    result = next(video.predict_video(FakeModel(score=0.3), clip, score_threshold=0.4))
    assert len(result.found["boxes"]) == 0


def test_damage_is_told_after_the_frames_that_can_be_read(clip, tmp_path):
    content = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    results = video.predict_video(FakeModel(), tmp_path / "cut.mp4")
    seen = 0
    with pytest.raises(DataError, match=r"cut.mp4: .*it ends after 0.\d\d s of 0.48 s\.$"):
        for _ in results:
            seen += 1
    assert 4 <= seen < 12
    skipped = video.predict_video(FakeModel(), tmp_path / "cut.mp4", on_error="skip")
    assert len(list(skipped)) == seen


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"on_error": "stop"}, ValueError), ({"frame_rate": 5}, ValueError)],
)
def test_bad_arguments_are_refused_at_once(clip, arguments, error):
    with pytest.raises(error, match="Received: "):
        video.predict_video(FakeModel(), clip, **arguments)


def test_frames_become_gray_for_a_model_of_one_band(clip):
    class Gray(FakeModel):
        def predict_on_batch(self, images):
            seen.append(images[0])
            return super().predict_on_batch(np.repeat(images, 3, axis=3))

    model, seen = Gray(), []
    model.config = MaskRCNNConfig(num_classes=3, in_channels=1)
    result = next(video.predict_video(model, clip))
    expected = np.asarray(Image.fromarray(result.pixels).convert("L"))
    np.testing.assert_array_equal(seen[0][..., 0], expected)
    assert seen[0].shape == (96, 128, 1)


@pytest.mark.parametrize("fields", [{"in_channels": 5}, {"image_dtype": "uint16"}])
def test_other_models_are_not_for_videos(clip, fields):
    model = FakeModel()
    model.config = MaskRCNNConfig(num_classes=3, **fields)
    line = "a model for videos must take RGB or gray of 8 bits. Received: in_channels="
    with pytest.raises(ValueError, match=line):
        video.predict_video(model, clip)
