"""Smoothing a track over time: what turns on SO(3), what moves in metres, and the body put together again from these.

`savitzky_golay` (Savitzky & Golay 1964, SciPy's) fits a cubic in a centred window: for footage that is all there.
`one_euro` (Casiez, Roussel & Vogel 2012, '1€ Filter') uses the past alone: a low-pass whose cutoff rises with speed, so
that it neither trembles at rest nor lags in motion. No library that we would depend on has it for rotations.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from pose_factory.errors import PoseFactoryError
from pose_factory.tracking import camera
from pose_factory.tracking.people import Pose, Track, bounds, stack

DEGREE = 3
SPEED_CUTOFF = 1.0
"""Hz: the low-pass on the speed itself, as published."""


def smooth(
    track: Track,
    fps: float,
    settings: dict,
    assemble: Callable[[np.ndarray, np.ndarray], np.ndarray],
    size: tuple[int, int],
    step: int = 1,
) -> Track:
    """`track` smoothed as the config's `tracking.smoothing` has it; filmed at `fps` frame numbers a second, of which
    every `step`-th was.

    Rotations, translation and shape are filtered, joints are what `assemble` makes of them, and pixels their projection
    into images of `size` (width, height) plus the filtered rest; boxes follow the pixels. Frame numbers, provenance,
    score, confidence and appearance stay. Frames that a gap parts are filtered apart; of a stretch shorter than the
    window the window is shortened, and fewer frames than a cubic needs stay as they are.

    Raises PoseFactoryError for a rate that is not positive, and for values that are not finite.
    """
    if settings["filter"] == "none":
        return track
    if not fps > 0:
        raise PoseFactoryError(f"A track filmed at {fps} frames a second cannot be smoothed; give its true rate.")
    parts = _apart(track, size)
    filtered = [values.copy() for values in parts]
    steps = np.diff(track.frames)
    for rows in np.split(np.arange(len(track)), np.flatnonzero(steps != step) + 1):
        stretch = [values[rows] for values in parts]
        if settings["filter"] == "savitzky_golay":
            after = _savitzky_golay(stretch, settings["window_seconds"] * fps / step)
        else:
            one_euro = OneEuro(fps / step, settings["min_cutoff"], settings["beta"])
            after = [np.stack(values) for values in zip(*map(one_euro, *stretch), strict=True)]
        for values, new in zip(filtered, after, strict=True):
            values[rows] = new
    return _together(track, filtered, assemble, size)


class LiveSmoother:
    """One person smoothed with `one_euro` as they are followed, to what `smooth` would make of the same frames."""

    def __init__(self, fps: float, settings: dict) -> None:
        """`settings` is the config's `tracking.smoothing`, whose filter is one_euro; filmed at `fps` frame numbers a
        second."""
        self._fps = fps
        self._filter = OneEuro(fps, settings["min_cutoff"], settings["beta"])
        self._last: int | None = None

    def step(
        self,
        frame: int,
        pose: Pose,
        assemble: Callable[[np.ndarray, np.ndarray], np.ndarray],
        size: tuple[int, int],
        step: int = 1,
    ) -> Pose:
        """The pose of one more frame, whose number is `step` above that of the image before it; the filter starts anew
        for somebody who had no pose there."""
        if self._last is not None and frame != self._last + step:
            self._filter.restart()
        self._last = frame
        self._filter.rate = self._fps / step
        track = stack([frame], [pose], "")
        filtered = self._filter(*(values[0] for values in _apart(track, size)))
        return _together(track, [values[None] for values in filtered], assemble, size).pose(0)


class OneEuro:
    """The filter, told frame by frame; it remembers the last one alone."""

    def __init__(self, rate: float, min_cutoff: float, beta: float) -> None:
        """For `rate` frames a second, which may be changed from frame to frame; `min_cutoff` in Hz."""
        self.rate, self._min_cutoff, self._beta = rate, min_cutoff, beta
        self.restart()

    def restart(self) -> None:
        """Forget what was; the next frame stays as it is."""
        self._seen: list[np.ndarray] = []
        self._new: list[np.ndarray] = []
        self._turning, self._moving = 0.0, 0.0

    def __call__(self, *parts: np.ndarray) -> list[np.ndarray]:
        """Rotations (K, 3, 3), translation (3,) and other arrays, filtered. The others hardly move and have the lowest
        cutoff throughout."""
        self._new = self._follow(parts) if self._seen else list(parts)
        self._seen = list(parts)
        return self._new

    def _follow(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        rate, (rotations, translation, *others) = self.rate, parts
        (last_rotations, last_translation, *_), (turned, moved, *before) = self._seen, self._new
        slow, slowest = _gain(SPEED_CUTOFF, rate), _gain(self._min_cutoff, rate)
        turn = Rotation.from_matrix(last_rotations.swapaxes(-1, -2) @ rotations).magnitude()
        self._turning += slow * (turn * rate - self._turning)
        self._moving += slow * ((translation - last_translation) * rate - self._moving)
        lag = Rotation.from_matrix(turned.swapaxes(-1, -2) @ rotations).as_rotvec()
        share = _gain(self._min_cutoff + self._beta * self._turning, rate)[:, None]
        quick = _gain(self._min_cutoff + self._beta * np.abs(self._moving), rate)
        return [
            turned @ Rotation.from_rotvec(share * lag).as_matrix(),
            moved + quick * (translation - moved),
            *(old + slowest * (new - old) for old, new in zip(before, others, strict=True)),
        ]


def _apart(track: Track, size: tuple[int, int]) -> list[np.ndarray]:
    """What is filtered of a track: rotations, translation, shape, and how far pixels and boxes are from where these put
    them. Raises PoseFactoryError for values that are not finite."""
    for field in fields(Pose):
        if not np.isfinite(getattr(track, field.name)).all():
            raise PoseFactoryError(f"A track has a {field.name} that is not finite; leave those frames out first.")
    rest = track.pixels - camera.project(track.joints, track.translation, *size)
    return [track.rotations, track.translation, track.shape, rest, track.box - bounds(track.pixels)]


def _together(
    track: Track,
    parts: list[np.ndarray],
    assemble: Callable[[np.ndarray, np.ndarray], np.ndarray],
    size: tuple[int, int],
) -> Track:
    """The track that `_apart` took apart, with other `parts`."""
    rotations, translation, shape, rest, border = parts
    joints = assemble(rotations, shape)
    pixels = camera.project(joints, translation, *size) + rest
    return replace(
        track,
        rotations=rotations,
        translation=translation,
        shape=shape,
        joints=joints,
        pixels=pixels,
        box=bounds(pixels) + border,
    )


def _savitzky_golay(parts: list[np.ndarray], window: float) -> list[np.ndarray]:
    """Rotations (N, K, 3, 3) and other arrays (N, ...) filtered along N with a window of about so many frames.

    Of rotations, the matrices are filtered and then replaced by the nearest rotations, in the chordal metric.
    """
    count = len(parts[0])
    length = min(2 * int(window // 2) + 1, count - (count + 1) % 2)
    if length <= DEGREE + 1:
        return parts
    filtered = [savgol_filter(values, length, DEGREE, axis=0) for values in parts]
    u, _, vt = np.linalg.svd(filtered[0])
    u[..., -1] *= np.linalg.det(u @ vt)[..., None]
    return [u @ vt, *filtered[1:]]


def _gain(cutoff, rate: float):
    """How far a low-pass of first order goes to each new value."""
    return 1 / (1 + rate / (2 * np.pi * cutoff))
