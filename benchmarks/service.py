"""The pose service under load, and what its poses are worth, against the batch tracker and the bare detector.

    PYTHONPATH=src python benchmarks/service.py results/eve/front --minutes 10

The view is one of a finished run; its frames are the clip. A service is started on a free port of the loopback
interface, answers the clip once for one client alone, and is then sent it by CLIENTS clients at once, each with a
session of its own, over and over.
"""

import argparse
import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import psutil
from damage import camera_truth

from pose_factory import frames
from pose_factory.config import load
from pose_factory.files import read_json, read_table
from pose_factory.footage import RenderedFrames
from pose_factory.geometry.camera import Camera
from pose_factory.service.settings import Settings
from pose_factory.skeleton import INDEX
from pose_factory.tracking import make_backend
from pose_factory.tracking.output import smoothly
from pose_factory.tracking.session import follow
from pose_factory.validation import metrics

CLIENTS = 4
PATIENCE = 120  # seconds that a client waits for an answer, and everybody for the service to be ready
HIDE_EVERY, HIDE_FOR = 20, 6  # of each 20 frames, the last 6 are blank in the clip with frames to fill


class Client:
    """A plain HTTP client that keeps its connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def get(self, path: str) -> tuple[int, dict]:
        self._connection.request("GET", path)
        return self._answer()

    def post(self, path: str, body: dict) -> tuple[int, dict]:
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return self._answer()

    def _answer(self) -> tuple[int, dict]:
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


@contextmanager
def serving() -> Iterator[tuple[int, psutil.Process]]:
    """A service's port and main process, once it is ready; the settings are the environment's, but for the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"POSE_SERVICE_HOST": "127.0.0.1", "POSE_SERVICE_PORT": str(port)}
    command = [sys.executable, "-m", "pose_factory.service", "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("The service does not get ready; start it with `make serve` to see why.")
            time.sleep(0.5)
        yield port, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _is_ready(port: int) -> bool:
    try:
        return Client(port).get("/health")[1]["ready"]
    except ConnectionError:
        return False


def request(image: bytes, frame: int, session: str, fps: float) -> dict:
    """The body that asks for the pose in one frame of a session."""
    encoded = base64.b64encode(image).decode()
    return {"image_base64": encoded, "frame_number": frame, "session_id": session, "fps": fps}


def one_clip(port: int, images: Sequence[bytes], fps: float) -> list[dict]:
    """The answers to a clip's frames, one after the other."""
    client = Client(port)
    answers = []
    for number, image in enumerate(images):
        status, answer = client.post("/pose/hybrid", request(image, number, "alone", fps))
        assert status == 200, answer
        answers.append(answer)
    return answers


class Load:
    """Clients who post a clip over and over until `stop`, and what they saw: `latencies` (seconds of each answer),
    `statuses` (of all answers), `health` (seconds of each GET /health), `memory` (bytes of the service's
    processes together, every few seconds)."""

    def __init__(self, port: int, process: psutil.Process, images: Sequence[bytes], fps: float) -> None:
        self._port, self._process, self._images, self._fps = port, process, images, fps
        self._over = threading.Event()
        self.latencies: list[float] = []
        self.statuses: list[int] = []
        self.health: list[float] = []
        self.memory: list[int] = []

    def run(self, seconds: float) -> None:
        """Load the service for so long."""
        threads = [threading.Thread(target=self._client, args=(f"client {number}",)) for number in range(CLIENTS)]
        threads += [threading.Thread(target=self._ask_health), threading.Thread(target=self._watch_memory)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self._over.set()
        for thread in threads:
            thread.join()

    def _client(self, session: str) -> None:
        client = Client(self._port)
        frame = 0
        while not self._over.is_set():
            started = time.perf_counter()
            body = request(self._images[frame], frame, session, self._fps)
            status, _ = client.post("/pose/hybrid", body)
            self.latencies.append(time.perf_counter() - started)
            self.statuses.append(status)
            frame = (frame + 1) % len(self._images)

    def _ask_health(self) -> None:
        client = Client(self._port)
        while not self._over.wait(0.5):
            started = time.perf_counter()
            status, _ = client.get("/health")
            self.health.append(time.perf_counter() - started)
            self.statuses.append(status)

    def _watch_memory(self) -> None:
        while not self._over.wait(5):
            self.memory.append(memory(self._process))


def memory(process: psutil.Process) -> int:
    """Resident bytes of a process and of those it started. What they share is counted for each, which does not change
    with whoever else on the machine uses the same libraries."""
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])


def quality(points: np.ndarray, truth: np.ndarray, fps: float) -> str:
    """MPJPE, PA-MPJPE and jitter of joints (F, J, 3), metres, in words."""
    numbers = np.arange(len(points))
    mpjpe, aligned = 1000 * metrics.mpjpe(points, truth), 1000 * metrics.pa_mpjpe(points, truth)
    return f"{mpjpe:8.1f} {aligned:10.1f} {metrics.jitter(points, numbers) * fps**3:10.0f}"


def canonical(joints: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A backend's joints (F, J, 3) as the canonical ones (F, 23, 3), NaN where it has none."""
    whole = np.full((len(joints), len(INDEX), 3), np.nan)
    whole[:, [INDEX[name] for name in names]] = joints
    return whole


def report_quality(view: Path, port: int, settings: Settings, say) -> None:
    """Print how good the poses of the clip are: the tracker's, and the service's with and without blank frames."""
    facts = read_json(view / "render.json")
    fps, numbers = facts["fps"], facts["frames"]
    footage = RenderedFrames(view / "frames", numbers, fps)
    images = clip_of(view)
    backend = make_backend(settings.tracking, os.cpu_count())
    labels, camera = read_table(view / "ground_truth.parquet"), Camera.from_json(read_json(view / "camera.json"))
    truth = canonical(camera_truth(labels, camera, backend.joints), backend.joints)
    say(f"\n{len(images)} frames of {footage.size[0]} x {footage.size[1]}    MPJPE mm, PA-MPJPE mm, jitter m/s^3")
    say(f"  {'truth':52s} {quality(truth, truth, fps)}")
    for name, way in {
        "the tracker's landmarks, batch": load({"characters": {"any": {"anny": {}}}}, Path.cwd())["tracking"],
        "the tracker's landmarks, live": settings.tracking,
    }.items():
        followed = smoothly(follow(footage, backend, way), footage, backend, way)
        track = max(followed.tracks.values(), key=len)
        points = np.full(truth.shape, np.nan)
        points[np.searchsorted(numbers, track.frames)] = canonical(track.joints, backend.joints)
        say(f"  {name:52s} {quality(points, truth, fps)}")
    answers = one_clip(port, images, fps)
    say(f"  {'the service':52s} {quality(points_of(answers), truth, fps)}   {sources(answers)}")
    times = np.array([answer["processing_time_ms"] for answer in answers[1:]])
    hidden = [number for number in range(len(images)) if number % HIDE_EVERY >= HIDE_EVERY - HIDE_FOR]
    spoilt = [blank_image(footage.size) if number in hidden else image for number, image in enumerate(images)]
    answers = one_clip(port, spoilt, fps)
    name = f"the service, {len(hidden)} frames blank"
    say(f"  {name:52s} {quality(points_of(answers), truth, fps)}   {sources(answers)}")
    say(f"    {'of which these':50s} {1000 * metrics.mpjpe(points_of(answers)[hidden], truth[hidden]):8.1f}")
    say(f"  One client alone, ms a frame: p50 {np.median(times):.0f}, p95 {np.percentile(times, 95):.0f}")


def clip_of(view: Path) -> list[bytes]:
    """The files of a view's frames."""
    return [frames.image(view / "frames", number).read_bytes() for number in read_json(view / "render.json")["frames"]]


def points_of(answers: Sequence[dict]) -> np.ndarray:
    """(F, 23, 3) the bodies' joints, NaN where there is none."""
    return np.array([answer["joints_3d_raw"] or np.full((len(INDEX), 3), np.nan) for answer in answers])


def sources(answers: Sequence[dict]) -> str:
    return ", ".join(f"{count} {source}" for source, count in Counter(answer["source"] for answer in answers).items())


def report_load(view: Path, port: int, process: psutil.Process, minutes: float, settings: Settings, say) -> None:
    """Print what the service does under load, and the bare detector's pace right before and after."""
    started, bare = memory(process), [bare_pace(view, settings)]
    load = Load(port, process, clip_of(view), read_json(view / "render.json")["fps"])
    load.run(60 * minutes)
    bare.append(bare_pace(view, settings))
    pace = len(load.latencies) / (60 * minutes)
    ms, health = 1000 * np.array(load.latencies), 1000 * np.array(load.health)
    say(f"\n{CLIENTS} clients for {minutes:g} minutes: {len(ms)} frames, {pace:.2f} a second")
    say("  latency, ms: p50 {:.0f}, p95 {:.0f}, p99 {:.0f}, most {:.0f}".format(*np.percentile(ms, [50, 95, 99, 100])))
    say(f"  statuses: {dict(Counter(load.statuses))}")
    say("  GET /health, ms: p50 {:.1f}, p99 {:.1f}, most {:.1f}".format(*np.percentile(health, [50, 99, 100])))
    parts = [f"{np.mean(part) / 1e6:.0f}" for part in np.array_split(load.memory, 5)]
    before, most, after = (taken / 1e6 for taken in (started, max(load.memory), memory(process)))
    say(f"  memory, MB: {before:.0f} before, {most:.0f} at most, {after:.0f} after")
    say(f"    mean of each fifth of the time: {', '.join(parts)}")
    say(f"  the bare detector, before and after: {bare[0]:.2f} and {bare[1]:.2f} frames a second")
    say(f"  the service's pace as a share of the bare detector's: {pace / np.mean(bare):.2f}")


def bare_pace(view: Path, settings: Settings) -> float:
    """Frames a second of the backend's detections alone, an image at a time, from the same files."""
    facts = read_json(view / "render.json")
    backend = make_backend(settings.tracking, os.cpu_count())
    footage = RenderedFrames(view / "frames", facts["frames"], facts["fps"])
    started = time.perf_counter()
    for _, image in footage:
        backend.detect([image])
    return len(facts["frames"]) / (time.perf_counter() - started)


def blank_image(size: tuple[int, int]) -> bytes:
    """A grey PNG of this width and height: nobody is in it."""
    return cv2.imencode(".png", np.full((size[1], size[0], 3), 128, np.uint8))[1].tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("view", type=Path, help="the folder of a finished view")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts (10)")
    given = parser.parse_args()
    settings, say = Settings.from_environment(os.environ), partial(print, flush=True)
    with serving() as (port, process):
        report_quality(given.view, port, settings, say)
        report_load(given.view, port, process, given.minutes, settings, say)


if __name__ == "__main__":
    main()
