"""Real footage in the config and in the workflow: tracked and drawn, without ground truth."""

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pose_factory import frames
from pose_factory.config import load
from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_json, read_table
from workflow import Workflow, jobs

BODY = {"anny": {}}


def loaded(videos, root: Path, **settings) -> dict:
    return load({"characters": {"ada": BODY}, "videos": videos, **settings}, root)


# In the config


def test_videos_load_as_absolute_paths_and_only_chooses_them_like_characters(tmp_path):
    for name in ("dance.mp4", "my walk.MOV"):
        (tmp_path / name).touch()
    videos = {"dance": "dance.mp4", "walk": str(tmp_path / "my walk.MOV")}
    config = loaded(videos, tmp_path)
    assert config["videos"] == {"dance": str(tmp_path / "dance.mp4"), "walk": str(tmp_path / "my walk.MOV")}
    assert config["only"] == ["ada", "dance", "walk"]
    for only, characters, chosen in [("walk", [], ["walk"]), (["dance", "ada"], ["ada"], ["dance"])]:
        config = loaded(videos, tmp_path, only=only)
        assert (list(config["characters"]), list(config["videos"])) == (characters, chosen)
    assert loaded({"dance": "missing.mp4"}, tmp_path, only="ada")["videos"] == {}, "not chosen: need not exist"
    assert load({"characters": {"ada": BODY}}, tmp_path)["videos"] == {}


@pytest.mark.parametrize(
    ("videos", "sentence"),
    [
        ({"x": "danse.mp4"}, "videos.x is a file that does not exist: {}/danse.mp4; the nearest there is 'dance.mp4'."),
        ({"x": "dance.avi"}, "videos.x is 'dance.avi', whose suffix is not supported; use one of .mp4, .m4v, .mov, "),
        (
            {"x": "dance.mp5"},
            "videos.x is 'dance.mp5', whose suffix is not supported; the nearest valid one is '.mp4'.",
        ),
        ({"x": "folder.mp4"}, "videos.x is the folder {}/folder.mp4; name a file in it."),
        ({"x": ""}, "videos.x is empty, but must be a path to an .mp4, .m4v, .mov, .webm or .mkv file."),
        ({"x": 7}, "videos.x is 7, but must be text (a path to an .mp4"),
        (
            {"x y": "dance.mp4"},
            "videos.x y is not a valid name; use at most 64 letters, digits, '_' and '-' ('dataset'",
        ),
        ({"review": "dance.mp4"}, "videos.review is not a valid name; use at most"),
        ({"ada": "dance.mp4"}, "videos.ada has the name of a character; give it another."),
        ({"Ada": "dance.mp4"}, "videos.Ada differs from another name only in upper and lower case."),
        (["dance.mp4"], 'videos is ["dance.mp4"], but must be a mapping (real footage, by name).'),
    ],
)
def test_a_mistake_in_the_videos_is_one_sentence(tmp_path, videos, sentence):
    (tmp_path / "dance.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(PoseFactoryError) as error:
        loaded(videos, tmp_path)
    assert str(error.value).startswith("Config: " + sentence.format(tmp_path))


def test_a_character_cannot_take_the_folder_of_the_videos(tmp_path):
    with pytest.raises(PoseFactoryError, match="characters.videos is not a valid name"):
        load({"characters": {"videos": BODY}}, tmp_path)


# In the workflow


def film(path: Path, folder: Path, numbers: list[int], times: int = 1) -> Path:
    """The frames of a rendered view as a phone would film them: on its side, with the turn in the file's head."""
    images = [frames.read_image(frames.image(folder, number)) for number in numbers] * times
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = images[0].shape[1::-1]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(-90)
        for tick, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.rot90(image)), format="bgr24")
            frame.pts, frame.time_base = tick, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def tracked(finished: Workflow, tmp_path_factory) -> Workflow:
    """Two films, one of a person and one of nobody, through the workflow, without any character."""
    folder = tmp_path_factory.mktemp("videos")
    view = finished.root / "results" / "xbot" / "front"
    numbers = read_json(view / "render.json")["frames"]
    film(folder / "my dance.mp4", view / "frames", numbers, 6)
    nobody = folder / "empty"
    nobody.mkdir()
    for number in (1, 2):
        cv2.imwrite(str(frames.image(nobody, number)), np.full((96, 128, 3), 90, np.uint8))
    film(folder / "empty.mp4", nobody, [1, 2])
    config = finished.config | {"only": ["dance", "nobody"]}
    config["videos"] = {"dance": str(folder / "my dance.mp4"), "nobody": str(folder / "empty.mp4")}
    workflow = Workflow.new(folder / "repository", config)
    run = workflow.run("--cores", "2")
    assert run.status == 0, run.console
    return workflow


@pytest.mark.parametrize(("video", "count"), [("dance", 12), ("nobody", 2)])
def test_a_film_gives_tracks_people_reports_and_an_overlay_of_its_own_length(tracked, video, count):
    folder = tracked.root / "results" / "videos" / video
    assert tracked.results(f"videos/{video}/*.*") == [
        f"videos/{video}/{name}"
        for name in (
            "body.json",
            "body.npz",
            "joint_angles.parquet",
            "overlay.mp4",
            "people.parquet",
            "tracking.json",
            "tracks.parquet",
            "video.json",
        )
    ]
    facts, report, tracks = (
        read(folder / name)
        for read, name in ((read_json, "video.json"), (read_json, "tracking.json"), (read_table, "tracks.parquet"))
    )
    size = (96, 128) if video == "dance" else (128, 96)
    assert (facts["width"], facts["height"], facts["frames"], facts["warnings"]) == (*size, count, [])
    assert report["frames"] == count and report["fps"] == pytest.approx(30) == facts["fps"]
    assert report["coverage"] == tracks.frame.nunique() / count
    with av.open(str(folder / "overlay.mp4")) as container:
        shown = list(container.decode(video=0))
    assert [frame.time for frame in shown] == pytest.approx(facts["times"], abs=1e-3)
    assert {(frame.width, frame.height) for frame in shown} == {size}


def test_nobody_in_a_film_is_reported_and_no_error(tracked):
    report = read_json(tracked.root / "results" / "videos" / "nobody" / "tracking.json")
    assert report["coverage"] == 0 and report["tracks"] == []
    assert read_table(tracked.root / "results" / "videos" / "nobody" / "tracks.parquet").empty


def test_a_film_is_tracked_again_where_it_or_the_tracking_changes_and_never_for_a_characters_sake(tracked, tmp_path):
    assert tracked.plan() == set()
    copy = tracked.copy(tmp_path / "copy")
    path = Path(copy.config["videos"]["nobody"])
    other = tmp_path / "other.mp4"
    other.write_bytes(path.read_bytes() + b"\0\0\0\x08free")
    os.utime(other, (0, 0))  # older than what was made of the first
    config = copy.config
    config["videos"]["nobody"] = str(other)
    copy.configure(config)
    assert copy.plan() == jobs("track_video overlay_video fit_body_video", ["nobody"])
    config["videos"]["nobody"] = str(path)
    copy.configure(config | {"render": {"samples": 3}})
    assert copy.plan() == set()
    copy.change("tracking.mediapipe.pose_confidence", 0.4)
    assert copy.plan() == jobs("track_video overlay_video fit_body_video", ["dance", "nobody"])


def test_a_broken_film_is_one_sentence_and_stops_no_other(tracked, tmp_path):
    copy = tracked.copy(tmp_path / "copy")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    copy.change("videos.nobody", str(tmp_path / "broken.mp4"))
    (copy.root / "results" / "videos" / "dance" / "overlay.mp4").unlink()
    run = copy.run("--cores", "2")
    assert run.status != 0
    (sentence,) = run.sentences
    assert sentence.startswith(f"track_video nobody: {tmp_path}/broken.mp4 cannot be opened as a video")
    assert (copy.root / "results" / "videos" / "dance" / "overlay.mp4").exists()
