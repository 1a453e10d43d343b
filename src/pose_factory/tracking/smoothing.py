"""Smoothing a track over time: what turns on SO(3), what moves in metres, and the body put together again from these.

`savitzky_golay` (Savitzky & Golay 1964, SciPy's) fits a cubic in a centred window: for footage that is all there.
`one_euro` (Casiez, Roussel & Vogel 2012, '1€ Filter') uses the past alone: a low-pass whose cutoff rises with speed, so
that it neither trembles at rest nor lags in motion. No library that we would depend on has it for rotations.
"""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from pose_factory.errors import PoseFactoryError
from pose_factory.tracking import camera
from pose_factory.tracking.people import Pose, Track, bounds

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
    for field in fields(Pose):
        if not np.isfinite(getattr(track, field.name)).all():
            raise PoseFactoryError(f"A track has a {field.name} that is not finite; leave those frames out first.")
    changed = {name: getattr(track, name).copy() for name in ("rotations", "translation", "shape")}
    rest = track.pixels - camera.project(track.joints, track.translation, *size)
    border = track.box - bounds(track.pixels)
    steps = np.diff(track.frames)
    for rows in np.split(np.arange(len(track)), np.flatnonzero(steps != step) + 1):
        parts = [values[rows] for values in (*changed.values(), rest, border)]
        if settings["filter"] == "savitzky_golay":
            filtered = _savitzky_golay(parts, settings["window_seconds"] * fps / step)
        else:
            filtered = _one_euro(parts, fps / step, settings["min_cutoff"], settings["beta"])
        for values, new in zip((*changed.values(), rest, border), filtered, strict=True):
            values[rows] = new
    joints = assemble(changed["rotations"], changed["shape"])
    pixels = camera.project(joints, changed["translation"], *size) + rest
    return replace(track, joints=joints, pixels=pixels, box=bounds(pixels) + border, **changed)


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


def _one_euro(parts: list[np.ndarray], rate: float, min_cutoff: float, beta: float) -> list[np.ndarray]:
    """Rotations, translation and other arrays filtered from the first frame on, at `rate` Hz. The others hardly move
    and have the lowest cutoff throughout."""
    rotations, translation = parts[:2]
    new = [values.copy() for values in parts]
    turning, moving = np.zeros(rotations.shape[1]), np.zeros(3)
    slow, slowest = _gain(SPEED_CUTOFF, rate), _gain(min_cutoff, rate)
    for now in range(1, len(rotations)):
        turn = Rotation.from_matrix(rotations[now - 1].swapaxes(-1, -2) @ rotations[now]).magnitude()
        turning += slow * (turn * rate - turning)
        moving += slow * ((translation[now] - translation[now - 1]) * rate - moving)
        lag = Rotation.from_matrix(new[0][now - 1].swapaxes(-1, -2) @ rotations[now]).as_rotvec()
        share = _gain(min_cutoff + beta * turning, rate)[:, None]
        new[0][now] = new[0][now - 1] @ Rotation.from_rotvec(share * lag).as_matrix()
        gains = [_gain(min_cutoff + beta * np.abs(moving), rate), *[slowest] * len(parts[2:])]
        for values, seen, gain in zip(new[1:], parts[1:], gains, strict=True):
            values[now] = values[now - 1] + gain * (seen[now] - values[now - 1])
    return new


def _gain(cutoff, rate: float):
    """How far a low-pass of first order goes to each new value."""
    return 1 / (1 + rate / (2 * np.pi * cutoff))
