"""The whole service, at work: a clip of which frames were spoilt on purpose, sent by a plain HTTP client; then a killed
worker, a full queue, nonsense, giant bodies and dawdling clients, all to one service, which must outlive them."""

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np
import psutil
import pytest
from serving import Service, asked, processes_of, service

from pose_factory.files import read_json, read_table
from pose_factory.geometry.camera import Camera
from pose_factory.service.settings import Settings
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.tracking import make_backend
from pose_factory.tracking.output import smoothly
from pose_factory.tracking.people import DETECTED, PREDICTED, REDETECTED
from pose_factory.tracking.session import follow
from pose_factory.validation import metrics

pytestmark = pytest.mark.timeout(600)  # of which making the film takes most, where nobody else has made it yet
FRAMES = 140
FOG = {*range(25, 30), *range(80, 92)}  # too faint for the detector, not for who looks where the person must be
BLANK = {*range(45, 50), 65, *range(110, 118)}  # nothing is there to be seen
QUEUE = 4
ENVIRONMENT = {"MAX_CONCURRENT_PROCESSES": "1", "POSE_SERVICE_QUEUE": str(QUEUE), "POSE_SERVICE_TIMEOUT": "120"}
MIB = 2**20


@dataclass(frozen=True)
class Clip:
    """Footage of `images` (H, W, 3) RGB, with the true joints (F, 23, 3), metres in camera axes."""

    images: list[np.ndarray]
    truth: np.ndarray
    fps: float

    @property
    def size(self) -> tuple[int, int]:
        return self.images[0].shape[1::-1]

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        return iter(enumerate(self.images))

    def request(self, number: int, session: str) -> dict:
        _, png = cv2.imencode(".png", self.images[number][..., ::-1])
        return asked(png.tobytes(), number, session_id=session, fps=self.fps)


@pytest.fixture(scope="module")
def clip(person_view, person_film) -> Clip:
    """The rendered person's film, there and back, with its frames of FOG and BLANK spoilt."""
    labels = read_table(person_view / "ground_truth.parquet").set_index(["frame", "joint"])
    camera = Camera.from_json(read_json(person_view / "camera.json"))
    film = [
        (image, camera.to_camera(labels.loc[frame].loc[JOINTS, ["x", "y", "z"]].to_numpy()))
        for frame, image in person_film
    ]
    there_and_back = film + film[-2:0:-1]
    images, truth = zip(*(there_and_back[number % len(there_and_back)] for number in range(FRAMES)), strict=True)
    return Clip([_spoilt(image, number) for number, image in enumerate(images)], np.array(truth), person_film.fps)


def _spoilt(image: np.ndarray, number: int) -> np.ndarray:
    contrast = 0.05 if number in FOG else 0.0 if number in BLANK else 1.0
    return np.round(128 + contrast * (image.astype(float) - 128)).astype(np.uint8)


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Service]:
    """One service for all of it; in the end it stops when it is told to, and leaves nothing behind."""
    folder = tmp_path_factory.mktemp("temporary")
    with service(**ENVIRONMENT, TMPDIR=str(folder)) as running:
        running.wait_until_ready()
        yield running
        assert running.stop(signal.SIGTERM) == 0, running.log_file.read_text()
        assert _until(lambda: processes_of(running) == [], seconds=10)
        assert [path for path in folder.rglob("*") if path.is_file()] == []  # torch leaves an empty folder


@pytest.fixture(scope="module")
def answers(running, clip) -> list[dict]:
    """The service's answers to the clip, frame after frame."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    answers = []
    with closing(connection):
        for number in range(FRAMES):
            body = json.dumps(clip.request(number, "clip"))
            connection.request("POST", "/pose/hybrid", body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            assert reply.status == 200
            answers.append(json.loads(reply.read()))
    return answers


@pytest.fixture
def outlived(running, clip) -> Iterator[Service]:
    """The service, which must be as good as before at the end of the test."""
    yield running
    assert running.process.poll() is None
    assert _until(lambda: running.get("/health").json()["ready"], seconds=60)
    answer = running.post("/pose/hybrid", json=clip.request(0, "after"))
    assert answer.status_code == 200 and answer.json()["source"] == DETECTED


def test_140_frames_are_140_poses(answers):
    sources = [answer["source"] for answer in answers]
    expected = [REDETECTED if n in FOG else PREDICTED if n in BLANK else DETECTED for n in range(FRAMES)]
    assert sources == expected
    for number, answer in enumerate(answers):
        assert (answer["frame_number"], answer["error"], answer["has_3d"]) == (number, None, True)
        assert [point["name"] for point in answer["keypoints"]] == JOINTS
        assert np.isfinite([[p["x"], p["y"], p["z"], p["confidence"]] for p in answer["keypoints"]]).all()
        assert np.array(answer["joints_3d_raw"]).shape == (len(JOINTS), 3)
        assert len(answer["mesh_vertices_data"]) == answer["mesh_vertices"] > 1000
    assert {answer["track_id"] for answer in answers} == {answers[0]["track_id"]}


def test_what_was_not_seen_is_less_sure(answers):
    confidence = np.array([answer["tracking_confidence"] for answer in answers])
    predicted = np.isin(range(FRAMES), list(BLANK))
    assert confidence[predicted].max() < confidence[~predicted].min()
    assert (np.diff(confidence[110:118]) < 0).all()  # and the less, the longer ago it was seen


def test_the_poses_are_right(answers, clip):
    """Those that were filled, too: the body is near where it really is, and the wrists move as they really do."""
    points = metrics.root_align(np.array([answer["joints_3d_raw"] for answer in answers]))
    truth = metrics.root_align(clip.truth)
    errors = metrics.mean(metrics.joint_errors(points, truth), axis=1)
    assert np.median(errors) < 0.1 and errors.max() < 0.2
    wrists = [INDEX["left_wrist"], INDEX["right_wrist"]]
    moved, truly = (joints[:, wrists] - joints[:, wrists].mean(axis=0) for joints in (points, truth))
    assert np.corrcoef(moved.ravel(), truly.ravel())[0, 1] > 0.7


def test_the_batch_tracker_gives_the_same_poses(answers, clip):
    """The workflow's own code, in causal mode, over all frames in one go."""
    settings = Settings.from_environment(os.environ).tracking
    backend = make_backend(settings, 2)
    followed = smoothly(follow(clip, backend, settings), clip, backend, settings)
    (track,) = followed.tracks.values()
    assert track.frames.tolist() == list(range(FRAMES))
    assert [answer["source"] for answer in answers] == track.provenance.tolist()
    rows = [INDEX[joint] for joint in backend.joints]
    pixels = np.array([[[p["x"], p["y"]] for p in answer["keypoints"]] for answer in answers])
    depths = np.array([[p["z"] for p in answer["keypoints"]] for answer in answers])
    np.testing.assert_allclose(pixels[:, rows], track.pixels, rtol=0, atol=0.5e-3 + 1e-6)  # of the digits that are sent
    np.testing.assert_allclose(depths[:, rows], track.joints[..., 2], rtol=0, atol=0.5e-5 + 1e-6)


def test_a_killed_worker_costs_its_own_request_alone(outlived, clip):
    worker = _worker(outlived)
    killed = threading.Event()
    replies: dict[str, list] = {f"load {number}": [] for number in range(3)}

    def client(session: str) -> None:
        """Three frames after the one that the worker may have been killed at."""
        left = 3
        for number in range(FRAMES):
            replies[session].append(outlived.post("/pose/hybrid", json=clip.request(number, session)))
            left -= killed.is_set()
            if left < 0:
                break

    with ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(client, session) for session in replies]
        assert _until(lambda: all(len(got) >= 2 for got in replies.values()), seconds=60)
        worker.kill()
        killed.set()
        for future in clients:
            future.result()
    statuses = Counter(reply.status_code for got in replies.values() for reply in got)
    assert set(statuses) <= {200, 500} and statuses[500] <= 1
    for got in replies.values():
        poses = [reply.json() for reply in got if reply.status_code == 200]
        assert len({pose["track_id"] for pose in poses}) == 1  # the session goes on as it was
        failures = [reply.json()["error"] for reply in got if reply.status_code == 500]
        assert all(sentence.endswith(".") for sentence in failures)
    assert _worker(outlived).pid != worker.pid


def test_a_full_queue_says_when_to_come_back(outlived, clip):
    def post(number: int) -> tuple[int, str | None]:
        reply = outlived.post("/pose/hybrid", json=clip.request(0, f"crowd {number}"))
        return reply.status_code, reply.headers.get("Retry-After")

    with ThreadPoolExecutor(6 * QUEUE) as pool:
        replies = list(pool.map(post, range(6 * QUEUE)))
    statuses = Counter(status for status, _ in replies)
    assert set(statuses) == {200, 503} and statuses[200] >= QUEUE
    assert all(int(wait) >= 1 for status, wait in replies if status == 503)


def test_a_thousand_malformed_requests_are_refused_each_in_a_sentence(outlived, clip):
    chance = random.Random(6)
    good = clip.request(0, "nonsense")
    before = _memory(outlived)
    address = ("127.0.0.1", outlived.port)
    connection = http.client.HTTPConnection(*address, timeout=60)
    statuses: Counter[int] = Counter()
    for _ in range(1000):
        path, body, kind = _malformed(chance, good)
        try:
            connection.request("POST", path, body, {"Content-Type": kind})
            reply = connection.getresponse()
        except ConnectionError:  # it may close after a refusal
            connection.close()
            connection.request("POST", path, body, {"Content-Type": kind})
            reply = connection.getresponse()
        content = json.loads(reply.read())
        statuses[reply.status] += 1
        if reply.status != 200:
            assert reply.status in (400, 415), (reply.status, content, body[:200])
            assert set(content) == {"frame_number", "error"} and len(content["error"]) > 10, body[:200]
    connection.close()
    assert statuses[200] < 50  # of damaged pictures that can still be read
    assert _memory(outlived) < before + 150 * MIB


def _malformed(chance: random.Random, good: dict) -> tuple[str, bytes, str]:
    """The path, body and kind of a request with something wrong in it."""
    path = chance.choice(["/pose/hybrid", "/pose", "/pose/batch"])
    image = good["image_base64"]
    bad_values = [None, -1, 1.5, "0", True, [], {}, [good], 10**30, "\x00", "é" * 300, chance.random(), ""]
    content = dict(good)
    kind = "application/json"
    match chance.randrange(9):
        case 0:
            body = chance.randbytes(chance.randrange(1, 2000))
        case 1:
            body = json.dumps(good).encode()
            body = body[: chance.randrange(len(body))]
        case 2:
            body = json.dumps(
                chance.choice([None, 1, "text", [], [good], {"frames": 1}, {"frames": [[]] * 99}])
            ).encode()
        case 3:
            content["frame_number"] = chance.choice([value for value in bad_values if value is not None])
            body = json.dumps(content).encode()
        case 4:
            del content[chance.choice(["image_base64", "frame_number"])]
            body = json.dumps(content).encode()
        case 5:
            place = chance.randrange(len(image))
            content["image_base64"] = image[:place] + chance.choice(["!", "\n\x00", "é", "data:", "="]) + image[place:]
            body = json.dumps(content).encode()
        case 6:
            content["image_base64"] = image[: 4 * chance.randrange(len(image) // 8)]
            body = json.dumps(content).encode()
        case 7:
            depth = chance.randrange(500, 50_000)
            body = b'{"frame_number":' + b"[" * depth
        case _:
            body, kind = (
                json.dumps(good).encode(),
                chance.choice(["text/plain", "image/png", "", "multipart/form-data"]),
            )
    if path == "/pose/batch" and kind == "application/json" and body.startswith(b'{"image_base64"'):
        path = "/pose/hybrid"  # else it would only be told that there are no frames
    return path, body, kind


def test_giant_bodies_are_refused_and_not_kept(outlived):
    giant = b'{"frame_number": 0, "image_base64": "' + b"A" * (50 * MIB) + b'"}'
    before = _memory(outlived)
    most = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            most.append(_memory(outlived))

    def post(_: int) -> tuple[int, str]:
        reply = outlived.post("/pose/hybrid", data=giant, headers={"Content-Type": "application/json"})
        return reply.status_code, reply.json()["error"]

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(post, range(12)))
    finally:
        over.set()
        watcher.join()
    assert {status for status, _ in replies} == {400}
    assert all("larger" in sentence for _, sentence in replies)
    assert max(most) < before + 50 * MIB


def test_dawdling_clients_keep_nobody_waiting(outlived, clip):
    """Half of them never end their headers, half their bodies; each sends a byte now and then."""
    headers = b"POST /pose/hybrid HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    openings = [headers, headers + b'Content-Length: 100000\r\n\r\n{"image_base64": "']
    dawdlers = [socket.create_connection(("127.0.0.1", outlived.port)) for _ in range(100)]
    try:
        for number, dawdler in enumerate(dawdlers):
            dawdler.sendall(openings[number % 2])
        for frame in range(5):
            for dawdler in dawdlers:
                dawdler.sendall(b"A")
            assert outlived.get("/health").json()["ready"]
            assert outlived.post("/pose/hybrid", json=clip.request(frame, "among dawdlers")).status_code == 200
    finally:
        for dawdler in dawdlers:
            dawdler.close()


def _worker(running: Service) -> psutil.Process:
    """The one process that answers frames, once it is there."""

    def workers() -> list[psutil.Process]:
        children = psutil.Process(running.process.pid).children()
        return [child for child in children if any("spawn_main" in word for word in child.cmdline())]

    assert _until(lambda: len(workers()) == 1, seconds=60)
    return workers()[0]


def _memory(running: Service) -> int:
    """Bytes that the process takes which clients talk to."""
    return psutil.Process(running.process.pid).memory_info().rss


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes to be within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
