"""Where live tracks are expected next, and how surely."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import stdtrit

from pose_factory.association.detection import Detection
from pose_factory.tracking.camera import CROP_FOCAL_LENGTH, CROP_SIZE

PENALTIES = np.array([1.2, 2.0, 5.0])
"""Of the ridge regressions of x, y and log n over time, as published."""
LONGEST_HORIZON = 49
"""No forecast reaches further, in frames, as published."""
LEAST_HISTORY = 3
"""Observations below which a straight line leaves nothing to tell its error by."""
CONFIDENCE = 0.95
"""Of the prediction intervals."""


@dataclass(frozen=True)
class Location:
    """Where N people are expected."""

    points: np.ndarray
    """(N, J, 2) image units: the last point is forecast, the others are as last seen."""
    camera: np.ndarray
    """(N, 3) t_x, t_y, n in metres."""
    interval: np.ndarray
    """(N, 3) half the width of the 95 % prediction intervals of the last point's x and y, and the factor exp(half the
    width) for log n; each divided by the number of repeated time stamps in the history + 1."""


@dataclass(frozen=True)
class Forecast(Detection):
    """A person as expected in the next image; or several, with a leading axis in every field."""

    interval: np.ndarray
    """(3,) as in Location; where a track was just born, its camera vector, as published."""


class PosePredictor(Protocol):
    """Forecasts poses (N, P) from the T last ones (N, T, P), seen at `times` (N, T), each `horizon` (N,) frames after
    the last."""

    def __call__(self, poses: np.ndarray, times: np.ndarray, horizon: np.ndarray) -> np.ndarray: ...


def hold_last(poses: np.ndarray, times: np.ndarray, horizon: np.ndarray) -> np.ndarray:
    """The PosePredictor that expects everybody to stay as last seen."""
    return poses[:, -1]


def forecast_location(points: np.ndarray, camera: np.ndarray, times: np.ndarray, horizon: np.ndarray) -> Location:
    """Where N people will be, each `horizon` (N,) frames after the last of T observations.

    `points` (N, T, J, 2) in image units, `camera` (N, T, 3) metres, `times` (N, T) in frames, never falling; T is
    at least LEAST_HISTORY. Ridge regressions over time of the last point's x and y and of log n, with their prediction
    intervals; t_x and t_y follow from the three. A depth that is not positive gives NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        series = np.concatenate([points[:, :, -1], np.log(camera[..., 2:])], axis=-1)
    value, interval = _ridge(series, times, times[:, -1] + np.minimum(horizon, LONGEST_HORIZON))
    place, depth = value[:, :2], np.exp(value[:, 2:])
    expected = points[:, -1].copy()
    expected[:, -1] = place
    repeats = 1 + (np.diff(times, axis=1) == 0).sum(axis=1)
    interval[:, 2] = np.exp(interval[:, 2])
    translation = np.concatenate([(place - 0.5) * depth * CROP_SIZE / CROP_FOCAL_LENGTH, depth], axis=1)
    return Location(expected, translation, interval / repeats[:, None])


def _ridge(series: np.ndarray, times: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value and half the prediction interval's width (N, 3), at times `at` (N,), of the lines through `series`
    (N, T, 3) at `times` (N, T): least squares with PENALTIES on the squared slopes.

    Where all time stamps are the same there is neither a slope nor a spread, and the interval is 0.
    """
    count = times.shape[1]
    centre, mean = times.mean(axis=1, keepdims=True), series.mean(axis=1)
    ahead = (at[:, None] - centre)[:, 0]
    offsets = (times - centre)[..., None]
    spread = (offsets**2).sum(axis=1)
    slope = (offsets * series).sum(axis=1) / (spread + PENALTIES)
    residuals = series - mean[:, None] - slope[:, None] * offsets
    error = np.sqrt((residuals**2).sum(axis=1) / (count - 2))
    distance = np.divide(ahead[:, None] ** 2, spread, out=np.zeros_like(spread), where=spread > 0)
    quantile = stdtrit(count - 2, (1 + CONFIDENCE) / 2)
    return mean + slope * ahead[:, None], quantile * error * np.sqrt(1 + 1 / count + distance)
