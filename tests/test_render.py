"""Rendering: the same picture every time, the device that is asked for, and no image that is not the body's."""

import cv2
import numpy as np
import pytest
from angles import angle
from characters import make

from pose_factory.blender import bounds, render, scene
from pose_factory.blender.prepare import prepare
from pose_factory.errors import PoseFactoryError
from pose_factory.frames import image
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.framing import frame_view

ANGLE = angle(azimuth=30.0, framing="ring")
SETTINGS = {"engine": "cycles", "device": "cpu", "samples": 2, "denoise": True, "seed": 0}


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A function that films frames of the doll: (images {frame: array}, content of camera.json, of render.json)."""
    folder = tmp_path_factory.mktemp("render")
    facts = prepare({"file": str(make(folder, "plain.fbx"))}, folder / "character.blend")
    scene.open_character(folder / "character.blend")
    measured = bounds.measure(facts)
    log = folder / "render.log"
    log.write_text("")

    def film(frames, resolution=(96, 128), threads=1, **settings):
        view = frame_view(measured, {**ANGLE, "resolution": list(resolution)})
        scene.open_character(folder / "character.blend")
        told = render.render(view, measured, frames, {**SETTINGS, **settings}, threads, folder / "frames", log)
        return {frame: cv2.imread(str(image(folder / "frames", frame))) for frame in frames}, view, told

    film.facts, film.bounds, film.folder, film.log = facts, measured, folder, log
    return film


def test_the_same_seed_gives_the_same_pixels_on_any_number_of_threads(filmed):
    frame = filmed.facts["first_frame"]
    once, twice = filmed([frame])[0][frame], filmed([frame], threads=2)[0][frame]
    np.testing.assert_array_equal(once, twice)
    assert (filmed([frame], seed=1)[0][frame] != once).any()


def test_a_frame_looks_the_same_whichever_others_are_filmed(filmed):
    first, last = filmed.facts["first_frame"], filmed.facts["last_frame"]
    both = filmed([first, last])[0]
    np.testing.assert_array_equal(filmed([last])[0][last], both[last])
    assert (both[first] != both[last]).any()


def test_the_picture_has_the_size_asked_for_and_the_body_where_the_camera_says(filmed):
    """Portrait, odd sizes; a frame with the body differs from the empty studio only inside the hull's box."""
    frame = filmed.facts["first_frame"]
    images, view, told = filmed([frame], resolution=(75, 131), denoise=False, samples=8)
    picture = images[frame]
    assert picture.shape == (131, 75, 3)
    assert told["frames"] == [frame] and told["device"] == "CPU"
    pixels, _ = Camera.from_json(view).project(np.array(filmed.bounds["hull"]))
    (left, top), (right, bottom) = pixels.min(axis=0), pixels.max(axis=0)
    saturation = np.ptp(picture.astype(int), axis=2)
    rows, columns = np.nonzero(saturation > 60)  # the doll's colours; the studio is grey
    assert len(rows) > 100
    assert columns.min() >= left - 1 and columns.max() <= right + 1
    assert rows.min() >= top - 1 and rows.max() <= bottom + 1


def test_a_render_that_fails_leaves_the_pictures_as_they_were_and_nothing_beside_them(filmed):
    first, last = filmed.facts["first_frame"], filmed.facts["last_frame"]
    filmed([first])
    before = sorted(filmed.folder.rglob("*"))
    assert image(filmed.folder / "frames", first) in before
    filmed.log.write_text("Error: System is out of GPU memory\n")
    with pytest.raises(PoseFactoryError, match="so its images are not kept"):
        filmed([last])
    filmed.log.write_text("")
    assert sorted(filmed.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("wanted", "available", "expected"),
    [
        ("auto", [], "CPU"),
        ("auto", ["CUDA", "OPTIX"], "OPTIX"),
        ("auto", ["METAL"], "METAL"),
        ("cpu", ["CUDA"], "CPU"),
        ("hip", ["HIP"], "HIP"),
    ],
)
def test_device_is_the_best_there_is_or_the_one_asked_for(wanted, available, expected):
    assert render.choose_device(wanted, available) == expected


def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(PoseFactoryError, match="render.device is cuda, but Cycles finds no GPU here"):
        render.choose_device("cuda", [])
