"""What answers a frame: with a real tracker against the workflow's on the same images, and in processes of its own."""

import base64
import io
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import cv2
import hmr2_files
import numpy as np
import pytest
from PIL import Image
from scripted import Film, Scripted, walker

from pose_factory.footage import RenderedFrames
from pose_factory.service import Request, worker
from pose_factory.service.engine import Engine
from pose_factory.service.processes import DONE, FAILED, PROGRESS
from pose_factory.service.settings import Settings
from pose_factory.service.worker import Model
from pose_factory.skeleton import JOINTS
from pose_factory.tracking import make_backend
from pose_factory.tracking.output import smoothly
from pose_factory.tracking.people import DETECTED, INTERPOLATED, PREDICTED, REDETECTED
from pose_factory.tracking.session import Followed, follow

SETTINGS = Settings.from_environment({"MAX_CONCURRENT_PROCESSES": "1", "POSE_SERVICE_TIMEOUT": "200"})
SECONDS = 200


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def blank(number: int) -> bytes:
    """An image that the scripted backend takes for the one of that number."""
    return png(np.full((*Film.size[::-1], 3), number, np.uint8))


class Session:
    """A session of a model, whose memory is kept as the engine keeps it; it asks for no body, unless it is told to."""

    def __init__(self, model: Model, name: str = "default") -> None:
        self.model, self.name, self.memory = model, name, None

    def send(self, image: bytes, number: int, **more) -> dict:
        answer = self.raw(image, number, **more)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def raw(self, image: bytes, number: int, **more):
        request = Request(image, number, self.name, **{"body": False, **more})
        answer, self.memory = self.model.answer(request, self.memory)
        return answer


def assert_equal(answer: dict, followed: Followed, joints: list[str], frame: int) -> None:
    """That the answer is what the causal run says of the frame, up to the decimals that are sent."""
    (track,) = followed.tracks.values()
    row = list(track.frames).index(frame)
    assert (answer["track_id"], answer["source"]) == (*followed.tracks, track.provenance[row])
    told = {point["name"]: point for point in answer["keypoints"]}
    values = np.array([[told[joint][name] for name in ("x", "y", "z", "confidence")] for joint in joints])
    np.testing.assert_allclose(values[:, :2], track.pixels[row], rtol=0, atol=6e-4)
    np.testing.assert_allclose(values[:, 2], track.joints[row, :, 2], rtol=0, atol=6e-6)
    np.testing.assert_allclose(values[:, 3], track.confidence[row], rtol=0, atol=6e-5)
    assert answer["tracking_confidence"] == pytest.approx(track.confidence[row].mean(), abs=6e-5)


# With a tracker that plays a script


@pytest.fixture
def scripted(monkeypatch):
    """A model whose backend plays a script."""

    def make(*arguments) -> Model:
        monkeypatch.setattr(worker, "make_backend", lambda *_: Scripted(*arguments))
        return Model(SETTINGS)

    return make


def test_140_frames_one_by_one_are_the_causal_run(scripted):
    """To and fro, with detections dropped on purpose."""
    hidden = {*range(20, 30), 41, 42, 55}
    model = scripted([walker()], [hidden], [{22, 23, 41}])
    numbers = [60 - abs(i % 118 - 59) for i in range(140)]

    class ToAndFro(Film):
        def __iter__(self):
            return ((i, np.full((2, 2, 3), number, np.uint16)) for i, number in enumerate(numbers))

    backend = Scripted([walker()], [hidden], [{22, 23, 41}])
    followed = smoothly(follow(ToAndFro(), backend, SETTINGS.tracking), Film(), backend, SETTINGS.tracking)
    session = Session(model)
    for i, number in enumerate(numbers):
        answer = session.send(blank(number), i)
        assert_equal(answer, followed, backend.joints, i)
        assert (answer["frame_number"], answer["frame_width"], answer["frame_height"]) == (i, 640, 480)
        assert len(session.memory) < 2 * 120_000
    (track,) = followed.tracks.values()
    assert {DETECTED, REDETECTED, PREDICTED} == set(track.provenance) and len(track) == 140


def without_time(answer: dict) -> dict:
    return {key: value for key, value in answer.items() if key != "processing_time_ms"}


def test_a_retry_gets_the_same_answer_and_changes_nothing(scripted):
    session = Session(scripted([walker()], [{6}]))
    for number in range(1, 8):
        first = session.send(blank(number), number, body=True)
        memory = session.memory
        answer = session.raw(blank(number), number, body=True)
        assert answer.stats.repeat and not answer.stats.new_sequence
        assert without_time(json.loads(answer.body)) == without_time(first)
        assert session.memory == memory


def test_a_retried_first_frame_starts_nothing_new(scripted):
    session = Session(scripted([walker()], [set()]))
    first, again = (session.raw(blank(1), 0) for _ in range(2))
    assert first.stats.new_sequence and again.stats.repeat
    assert without_time(json.loads(first.body)) == without_time(json.loads(again.body))


@pytest.mark.parametrize("name", ["default", "named"])
def test_a_late_frame(scripted, name):
    """On the default session it starts a new sequence; on a named one it is answered, and forgotten."""
    session = Session(scripted([walker()], [set()]), name)
    for number in range(1, 11):
        session.send(blank(number), number)
    memory = session.memory
    late = session.raw(blank(9), 4)
    assert late.status == 200 and late.stats.new_sequence == (name == "default")
    assert json.loads(late.body)["frame_number"] == 4
    assert (session.memory == memory) == (name == "named")
    following = session.raw(blank(11), 11)
    assert not following.stats.new_sequence


def test_zero_starts_anew_on_any_session(scripted):
    session = Session(scripted([walker()], [{20}]), "named")
    for number in range(1, 11):
        session.send(blank(number), number)
    assert session.raw(blank(1), 0).stats.new_sequence
    assert session.send(blank(20), 1)["keypoints"] == []  # who was there before is not known any more


def test_skipped_frames_are_missed_ones(scripted):
    """Predicted from further away, one is less sure."""
    sure = {}
    for gap in (1, 5):
        session = Session(scripted([walker()], [set(range(31, 61))]))
        for number in range(1, 31):
            session.send(blank(number), number)
        answer = session.send(blank(30 + gap), 30 + gap)
        assert answer["source"] == PREDICTED
        sure[gap] = answer["tracking_confidence"]
    assert sure[5] < 0.7 * sure[1]
    patience = SETTINGS.tracking["association"]["max_age"]
    session.send(blank(30), 40)
    assert not session.raw(blank(30), 41 + patience).stats.new_sequence
    assert session.raw(blank(30), 43 + 2 * patience).stats.new_sequence


def test_another_size_is_another_sequence(scripted):
    session = Session(scripted([walker()], [set()]), "named")
    session.send(blank(1), 1)
    assert session.raw(png(np.full((50, 40, 3), 2, np.uint8)), 2).stats.new_sequence


def test_nobody_in_the_image(scripted):
    answer = Session(scripted([], [])).send(blank(1), 3, visualize=True)
    assert answer.pop("processing_time_ms") > 0 and answer.pop("visualization") and answer.pop("model_version")
    assert answer == {
        "frame_number": 3,
        "session_id": "default",
        "frame_width": 640,
        "frame_height": 480,
        "track_id": None,
        "source": None,
        "keypoints": [],
        "keypoint_count": 0,
        "has_3d": False,
        "joints_3d_raw": [],
        "joint_angles_3d": {},
        "mesh_vertices": 0,
        "mesh_vertices_data": [],
        "mesh_faces_data": [],
        "camera_translation": [],
        "focal_length": 12500.0,
        "tracking_confidence": 0.0,
        "error": None,
    }


def test_a_damaged_image_is_the_clients_fault(scripted):
    session = Session(scripted([walker()], [set()]))
    session.send(blank(1), 1)
    memory = session.memory
    answer = session.raw(png(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))[:5000], 2)
    assert answer.status == 400
    assert json.loads(answer.body) == {
        "frame_number": 2,
        "error": "image_base64 is damaged or breaks off; send a JPEG, PNG or WebP.",
    }
    assert session.memory == memory


def test_a_failure_of_the_model_is_told_and_forgotten(scripted, monkeypatch):
    session = Session(scripted([walker()], [set()]))
    session.send(blank(1), 1)
    memory = session.memory
    with monkeypatch.context() as broken:

        def detect(*_):
            raise RuntimeError("the network is broken\nmore about it")

        broken.setattr(session.model._backend, "detect", detect)
        answer = session.raw(blank(2), 2)
    assert answer.status == 500 and session.memory == memory
    assert json.loads(answer.body) == {
        "frame_number": 2,
        "error": "The model failed on this frame: RuntimeError: the network is broken.",
    }
    assert session.send(blank(2), 2)["source"] == DETECTED


# With the default tracker


@pytest.fixture(scope="module")
def model() -> Model:
    made = Model(SETTINGS)
    made.warm_up()
    return made


def test_a_clip_sent_frame_by_frame_is_the_workflows_causal_run(model, person_film: RenderedFrames):
    """Between them, some images are painted over, so that nobody can be detected."""
    backend = make_backend(SETTINGS.tracking, 1)

    class Dropped:
        fps, size, times = person_film.fps, person_film.size, person_film.times

        def __iter__(self):
            for number, image in person_film:
                yield number, np.full_like(image, 90) if number in (20, 21, 30) else image

    followed = smoothly(follow(Dropped(), backend, SETTINGS.tracking), Dropped(), backend, SETTINGS.tracking)
    session = Session(model)
    for number, image in Dropped():
        answer = session.send(png(image), number, fps=person_film.fps, body=number % 8 == 0)
        assert_equal(answer, followed, backend.joints, number)
    (track,) = followed.tracks.values()
    assert len(track) == 48 and (track.provenance == PREDICTED).sum() == 3


def test_the_whole_envelope(model, person_film):
    number, image = next(iter(person_film))
    answer = Session(model).send(png(image), number, body=True, visualize=True)
    assert answer["keypoint_count"] == 23 and [point["name"] for point in answer["keypoints"]] == JOINTS
    assert answer["has_3d"] and answer["error"] is None
    vertices, faces = np.array(answer["mesh_vertices_data"]), np.array(answer["mesh_faces_data"])
    assert vertices.shape == (answer["mesh_vertices"], 3) and faces.shape[1] == 3
    assert set(np.unique(faces)) <= set(range(len(vertices)))
    joints = np.array(answer["joints_3d_raw"])
    assert joints.shape == (23, 3) and 1.2 < np.ptp(vertices[:, 1]) < 2.2
    assert {"left_knee", "right_hip", "left_elbow", "right_shoulder", "spine"} <= answer["joint_angles_3d"].keys()
    assert answer["source"] == DETECTED and answer["tracking_confidence"] > 0.5
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(answer["visualization"]), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == image.shape
    focal, size = answer["focal_length"], np.array(person_film.size)
    points = vertices + answer["camera_translation"]
    pixels = focal * points[:, :2] / points[:, 2:] + size / 2
    seen = np.array([[point["x"], point["y"]] for point in answer["keypoints"]])
    assert (seen > pixels.min(axis=0) - 15).all() and (seen < pixels.max(axis=0) + 15).all()


def test_only_the_pose(model, person_film):
    number, image = next(iter(person_film))
    session = Session(model)
    answer = session.send(png(image), number)
    assert answer["keypoint_count"] == 21 and not answer["has_3d"]
    assert answer["mesh_vertices_data"] == answer["joints_3d_raw"] == [] and answer["joint_angles_3d"] == {}
    assert len(answer["camera_translation"]) == 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (17, 23)])
def test_images_of_odd_sizes(model, shape):
    answer = Session(model).send(png(np.zeros((*shape, 3), np.uint8)), 0)
    assert (answer["frame_height"], answer["frame_width"], answer["keypoints"]) == (*shape, [])


def test_smpl_comes_with_hmr2(tmp_path, person_film):
    """A tiny network, which knows nothing, on what MediaPipe's detector finds."""
    files = hmr2_files.write_all(tmp_path / "models")
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"tracking": {"backend": "hmr2", "hmr2": {"models": str(files), "device": "cpu"}}}))
    model = Model(Settings.from_environment({"POSE_SERVICE_CONFIG": str(config)}))
    model.warm_up()
    assert model.device == "cpu"
    session = Session(model)
    for number, image in list(person_film)[:2]:
        answer = session.send(png(image), number, body=True)
        assert answer["keypoint_count"] == 23 and answer["has_3d"] and answer["mesh_vertices"] == 6890
        told = np.array([[point[name] for name in "xyz"] for point in answer["keypoints"]])
        joints, at = np.array(answer["joints_3d_raw"]), np.array(answer["camera_translation"])
        np.testing.assert_allclose(joints[:, 2], told[:, 2], atol=2e-5)
        points = joints + at
        pixels = answer["focal_length"] * points[:, :2] / points[:, 2:] + np.array(person_film.size) / 2
        np.testing.assert_allclose(pixels, told[:, :2], atol=0.05)


# In a process of its own


def test_a_real_worker_that_is_killed_is_replaced(person_film):
    images = [png(image) for _, image in person_film]
    running = Engine(SETTINGS)
    try:
        statuses = []
        for number, image in enumerate(images[:4]):
            statuses.append(running.submit(Request(image, number)).result(SECONDS).status)
        futures = [running.submit(Request(image, number)) for number, image in enumerate(images[4:8], start=4)]
        while not running.health()["running"]:
            time.sleep(0.01)
        os.kill(running._processes[0]._process.pid, signal.SIGKILL)
        answers = [future.result(SECONDS) for future in futures]
    finally:
        running.close(0.0)
    assert statuses == 4 * [200]
    assert sorted(answer.status for answer in answers) in ([200, 200, 200, 500], 4 * [200])
    assert [answer.stats.new_sequence for answer in answers] == 4 * [False]  # the memory is not the worker's
    assert running.restarts() == 1


# Films


class Told(list):
    """The end of a connection that keeps what is sent."""

    send = list.append


@pytest.fixture
def track_film(monkeypatch):
    """What the film's process tells of a file."""
    monkeypatch.setattr(os, "nice", lambda _: None)  # it is not this process that should be nicer

    def track(path: Path) -> Told:
        told = Told()
        worker.track_film(told, SETTINGS, path)
        return told

    return track


def test_a_film_is_filled_from_both_sides(person_film, tmp_path, track_film):
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), person_film.fps, person_film.size)
    for index, (_, image) in enumerate(person_film):
        writer.write(np.full_like(image, 90) if index in (20, 21) else image[..., ::-1])
    writer.release()
    *progress, (last, result) = track_film(path)
    assert progress == [(PROGRESS, (count, 48)) for count in range(49)] and last == DONE
    told = json.loads(result)
    assert (told["frame_count"], told["people"], told["coverage"], told["warnings"]) == (48, 1, 1.0, [])
    assert told["fps"] == pytest.approx(person_film.fps)
    answers = told["answers"]
    assert [answer["frame_number"] for answer in answers] == list(range(48))
    assert [answers[index]["source"] for index in (19, 20, 21, 22)] == [DETECTED, *2 * [INTERPOLATED], DETECTED]
    for answer in answers:
        assert answer["has_3d"] and answer["keypoint_count"] == 23 and len(answer["joints_3d_raw"]) == 23
        assert answer["mesh_vertices"] == 0 and answer["mesh_vertices_data"] == answer["mesh_faces_data"] == []


def test_what_is_no_film_is_told_in_a_sentence(tmp_path, track_film, monkeypatch):
    path = tmp_path / "secret name.mp4"
    path.write_bytes(b"no film at all")
    *_, (last, sentence) = track_film(path)
    assert last == FAILED and sentence.startswith("The film cannot be opened as a video")
    monkeypatch.setattr(worker, "Video", lambda _: 1 / 0)
    assert track_film(path) == [(FAILED, "The film cannot be tracked: ZeroDivisionError: division by zero.")]


def test_a_film_of_nobody_or_too_large(tmp_path, track_film):
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    told = json.loads(track_film(path)[-1][1])
    assert (told["frame_count"], told["people"], told["coverage"]) == (3, 0, 0.0)
    assert [answer["keypoints"] for answer in told["answers"]] == 3 * [[]]
    too_large = Told()
    worker.track_film(too_large, replace(SETTINGS, max_pixels=3000), path)
    assert too_large == [(FAILED, "The film has 64 x 48 pixels, more than 3,000 in all; send a smaller one.")]
