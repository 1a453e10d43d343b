"""Frames a second of the CPU tracker, against MediaPipe's own solution on the same film, and what filling adds.

    PYTHONPATH=src python benchmarks/trackers.py results/ada/front

The film is the view's frames, scaled to 512 pixels and repeated, as an H.264 MP4: every way starts from the file.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import av
import cv2
import numpy as np
from mediapipe.python.solutions.pose import Pose as Solution

from pose_factory.config import load
from pose_factory.files import read_json
from pose_factory.footage import Footage, RenderedFrames, Video
from pose_factory.tracking import Backend, filling, make_backend, output
from pose_factory.tracking.people import DETECTED, stack

SIZE, FRAMES = 512, 480
HIDDEN = 0.36


def write_film(path: Path, view: Path) -> None:
    """FRAMES frames of `view`, there and back again, at SIZE pixels."""
    facts = read_json(view / "render.json")
    images = [cv2.resize(image, (SIZE, SIZE)) for _, image in RenderedFrames(view / "frames", facts["frames"], 30)]
    there_and_back = images + images[-2:0:-1]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=30)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(there_and_back[number % len(there_and_back)], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def solution(film: Footage) -> None:
    """MediaPipe as its users run it: one person, followed."""
    with Solution(model_complexity=1) as pose:
        for _, image in film:
            pose.process(image)


def one_by_one(film: Footage, backend: Backend) -> None:
    """Our detections, an image at a time."""
    for _, image in film:
        backend.detect([image])


def together(film: Footage, backend: Backend) -> None:
    """Our detections, sixteen images at a time."""
    waiting = []
    for _, image in film:
        waiting.append(image)
        if len(waiting) == 16:
            backend.detect(waiting)
            waiting = []


def all_of_it(film: Footage, settings: dict, folder: Path) -> None:
    """From the file to the tables: decoded, detected, associated, filled, smoothed and written."""
    names = {"tracks": "tracks.parquet", "people": "people.parquet", "report": "tracking.json"}
    output.track(
        film, settings, SimpleNamespace(**{name: folder / file for name, file in names.items()}), os.cpu_count()
    )


def seconds_of(work: Callable, *given) -> float:
    started = time.perf_counter()
    work(*given)
    return time.perf_counter() - started


def filling_seconds(film: Footage, backend: Backend) -> float:
    """Seconds of filling 1,000 frames, of which HIDDEN at random are missing."""
    poses = [pose for _, image in film for pose in backend.detect([image])[0][:1]]
    track = stack(range(1000), (poses * (1000 // len(poses) + 1))[:1000], DETECTED)
    hidden = np.random.default_rng(0).choice(np.arange(1, 999), int(1000 * HIDDEN), replace=False)
    left = track[~np.isin(track.frames, hidden)]
    return seconds_of(filling.interpolate, left, hidden, backend.assemble, film.size)


def main(view: str) -> None:
    settings = load({"characters": {"any": {"anny": {}}}}, Path.cwd())["tracking"]
    backend = make_backend(settings, os.cpu_count())
    with TemporaryDirectory() as folder:
        write_film(Path(folder) / "film.mp4", Path(view))
        film = Video(Path(folder) / "film.mp4")
        backend.detect([image for _, image in zip(range(16), (image for _, image in film), strict=False)])  # warm up
        baseline = seconds_of(solution, film)
        ways = {
            "MediaPipe's own solution": baseline,
            "detect, one by one": seconds_of(one_by_one, film, backend),
            "detect, sixteen at a time": seconds_of(together, film, backend),
            "all of it, file to tables": seconds_of(all_of_it, film, settings, Path(folder)),
        }
        print(f"{FRAMES} frames of {SIZE} x {SIZE}             frames/s   times the solution's time")
        for name, seconds in ways.items():
            print(f"  {name:30s} {FRAMES / seconds:12.1f} {seconds / baseline:12.2f}")
        print(f"Filling 1,000 frames, {HIDDEN:.0%} of them missing: {filling_seconds(film, backend):.2f} s")
    unit = 1 if sys.platform == "darwin" else 1024
    print(f"Most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6:.0f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
