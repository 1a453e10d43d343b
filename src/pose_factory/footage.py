"""Footage: images in order, from the frames of a view or from a video, the same to whoever goes through them. It holds
a few images at a time, so that a long film needs no more memory than a short one."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.stream import VideoStream

from pose_factory import frames
from pose_factory.errors import PoseFactoryError

AHEAD = 4
"""So many images are read before they are asked for."""
Item = TypeVar("Item")


class Footage(Protocol):
    """What all footage offers."""

    fps: float
    size: tuple[int, int]
    times: dict[int, float]

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]: ...


class RenderedFrames:
    """The frames of one view, of which every n-th may have been filmed.

    Raises PoseFactoryError when there is none, and on the way when one is missing, damaged or of another size.
    """

    def __init__(self, folder: str | Path, numbers: Sequence[int], fps: float) -> None:
        if not len(numbers):
            raise PoseFactoryError(f"There is no frame in {folder}; render its view again.")
        self._folder, self._numbers = folder, numbers
        self.fps = fps
        self.times = {number: (number - numbers[0]) / fps for number in numbers}
        height, width = frames.read_image(frames.image(folder, numbers[0])).shape[:2]
        self.size = (width, height)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        return _read_ahead(self._read())

    def _read(self) -> Iterator[tuple[int, np.ndarray]]:
        for number, image in frames.read_rgb(self._folder, self._numbers):
            height, width = image.shape[:2]
            if (width, height) != self.size:
                raise PoseFactoryError(
                    f"{frames.image(self._folder, number)} is {width} x {height} pixels, the frames before it "
                    f"{self.size[0]} x {self.size[1]}; render its view again."
                )
            yield number, image


class Video:
    """A film in any container and code that FFmpeg reads, as a player shows it: upright, with square pixels.

    Frames are numbered from 0 in the order in which they are shown; those that cannot be decoded have no number. Where
    the frame rate varies, `fps` is its mean. All images have the size of the first one. Sound, further video streams
    and transparency are left out. Raises PoseFactoryError when no frame can be decoded; a film that is damaged or
    breaks off gives what is there, and `warnings` says so in sentences, once all has been gone through.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self.times: dict[int, float] = {}
        self.warnings: list[str] = []
        with self._open() as (container, stream):
            self.fps = _mean_rate(container, stream)
        with self._open() as (container, stream):
            first = next(_decode(container, stream, []), None)
            if first is None:
                raise PoseFactoryError(
                    f"No frame of {path} can be decoded; it is empty, damaged or in a format that is not supported: "
                    f"copy it again or convert it to an H.264 MP4."
                )
            aspect = stream.sample_aspect_ratio or 1
            self._stored = (max(1, round(first.width * aspect)), first.height)
        height, width = _upright(np.empty(self._stored[::-1], bool), first).shape
        self.size = (width, height)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        return _read_ahead(self._read())

    def facts(self) -> dict:
        """What docs/tables.md lists under video.json; all must have been gone through before."""
        return {
            "width": self.size[0],
            "height": self.size[1],
            "fps": self.fps,
            "frames": len(self.times),
            "times": list(self.times.values()),
            "warnings": self.warnings,
        }

    def _read(self) -> Iterator[tuple[int, np.ndarray]]:
        faults: list[Exception] = []
        start = 0
        width, height = self._stored
        with self._open() as (container, stream):
            for number, frame in enumerate(_decode(container, stream, faults)):
                if frame.pts is None:
                    raise PoseFactoryError(
                        f"{self._path} does not say when its frames are shown; convert it to an MP4."
                    )
                start = frame.pts if number == 0 else start
                self.times[number] = float((frame.pts - start) * stream.time_base)
                image = frame.to_ndarray(format="rgb24", width=width, height=height)
                yield number, np.ascontiguousarray(_upright(image, frame))
            end = self.times[number] + (float((frame.duration or 0) * stream.time_base) or 1 / self.fps)
            announced = _announced_end(stream) - float(start * stream.time_base)
        self.warnings = [f"{len(faults)} of the film's packets are damaged and were left out."] if faults else []
        if announced - end > 2 / self.fps:
            missing = round(announced * self.fps) - len(self.times)
            self.warnings.append(
                f"The film breaks off at {end:.2f} s of {announced:.2f} s, about {missing} frames are lost."
            )

    @contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        try:
            # Phones and editors write titles in whatever encoding they like.
            container = av.open(str(self._path), metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise PoseFactoryError(
                f"{self._path} cannot be opened as a video ({error.strerror}); copy it again or convert it to an H.264 "
                f"MP4."
            ) from error
        with container:
            films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            if not container.streams:
                raise PoseFactoryError(f"{self._path} breaks off before the index of its contents; copy it again.")
            if not films:
                raise PoseFactoryError(f"{self._path} holds no film, only sound or a cover picture; name another file.")
            best = container.streams.best("video")
            yield container, best if best in films else films[0]


def _read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same, read by another thread while the last ones are worked on."""
    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(next, items, None) for _ in range(AHEAD))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(next, items, None))
            yield item


def _decode(container: InputContainer, stream: VideoStream, faults: list) -> Iterator[av.VideoFrame]:
    """The frames in the order in which they are shown; what could not be decoded goes to `faults`.

    FFmpeg's threads for whole frames are left off: they lose the last good frames of a film that breaks off.
    """
    try:
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.FFmpegError as error:
                faults.append(error)
            else:
                yield from decoded
    except av.FFmpegError as error:  # what follows cannot even be parted into frames
        faults.append(error)
        yield from stream.decode(None)


def _mean_rate(container: InputContainer, stream: VideoStream) -> float:
    """Frames a second over the whole film; 1 for a single frame that does not tell."""
    shown = []
    with suppress(av.FFmpegError):  # where the film breaks off
        for packet in container.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                shown.append(packet.pts)
    length = (max(shown) - min(shown)) * stream.time_base if shown else 0
    return float((len(shown) - 1) / length if length else stream.average_rate or 1)


def _announced_end(stream: VideoStream) -> float:
    """When the last frame should end, in seconds, as the container has it; 0 where it does not tell."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    tags = " ".join(text for name, text in stream.metadata.items() if name.startswith("DURATION"))  # Matroska
    clock = re.search(r"(\d+):(\d+):([\d.]+)", tags)
    return sum(float(part) * unit for part, unit in zip(clock.groups(), (3600, 60, 1), strict=True)) if clock else 0.0


def _upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """The (H, W, ...) image turned and mirrored by quarter turns as the frame's display matrix says.

    The matrix takes a row (x, y, 1), y down, of 16.16 fixed point numbers to where it is shown.
    """
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return image
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5]
    if abs(b) > abs(a):  # x becomes y
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
