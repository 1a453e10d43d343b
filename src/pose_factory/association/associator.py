"""Tracks over time: matched, born, confirmed and ended, one image after the other."""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_factory.association.cost import CONSTANTS, cost
from pose_factory.association.detection import Detection, stack
from pose_factory.association.forecast import Forecast, PosePredictor, forecast_location, hold_last
from pose_factory.hmr2.models import POSE_PREDICTOR

log = logging.getLogger(__name__)

Sighting = tuple[int, int]
"""(frame number, index among that frame's detections)."""


@dataclass(frozen=True)
class LiveTrack:
    """A track after an image."""

    track_id: int
    """From 1, in order of birth; never used again."""
    confirmed: bool
    missed: int
    """Images since it was last seen."""
    detection: int | None
    """Which of this image's detections it is."""


@dataclass(frozen=True)
class Step:
    """What one image did to the tracks."""

    frame: int
    live: list[LiveTrack]
    """In order of birth."""
    born: list[int]
    """The ids of tracks that start in this image."""
    died: list[int]
    """The ids of tracks that are no longer live."""
    confirmed: dict[int, list[Sighting]]
    """The tracks that are confirmed in this image, with the earlier sightings that now turn out to be theirs."""


@dataclass
class _Track:
    track_id: int
    history: deque[tuple[int, Detection]]
    forecasts: deque[Forecast]
    sightings: list[Sighting]
    """All while the track waits to be confirmed; afterwards the last one."""
    hits: int = 1
    missed: int = 0
    confirmed: bool = False

    def see(self, time: int, detection: Detection, sighting: Sighting) -> None:
        self.history.append((time, detection))
        self.sightings = [*([] if self.confirmed else self.sightings), sighting]
        self.hits += 1
        self.missed = 0


class Associator:
    """Follows people through a film, of which it is told image by image.

    `settings` is the config's `tracking.association`. An unconfirmed track ends with its first miss, as published; a
    confirmed one after more than `max_age` misses in a row.
    """

    def __init__(self, settings: dict, predict_pose: PosePredictor = hold_last) -> None:
        self._settings = settings
        self._predict_pose = predict_pose
        self._tracks: list[_Track] = []
        self._time = 0
        self._next_id = 1

    def step(self, frame: int, detections: Sequence[Detection]) -> Step:
        """The tracks after one more image, in which `detections` were found, perhaps none.

        Every image of the film counts as one unit of time, also those without anybody; the number `frame` is only
        told back. A detection that holds NaN or infinity, or whose depth is not positive, is logged and left out.
        """
        usable = [index for index, detection in enumerate(detections) if _is_usable(frame, index, detection)]
        matches = {row: usable[column] for row, column in self._match(frame, [detections[index] for index in usable])}
        for row, track in enumerate(self._tracks):
            if row in matches:
                track.see(self._time, detections[matches[row]], (frame, matches[row]))
            else:
                track.missed += 1
        taken = set(matches.values())
        died = [track.track_id for track in self._tracks if self._is_over(track)]
        self._tracks = [track for track in self._tracks if not self._is_over(track)]
        self._forecast(self._tracks)
        born = [self._born(frame, index, detections[index]) for index in usable if index not in taken]
        self._tracks += born
        confirmed = {track.track_id: track.sightings[:-1] for track in self._tracks if self._is_due(track)}
        for track in self._tracks:
            track.confirmed |= track.track_id in confirmed
        self._time += 1
        live = [LiveTrack(track.track_id, track.confirmed, track.missed, _taken(track)) for track in self._tracks]
        return Step(frame, live, [track.track_id for track in born], died, confirmed)

    def skip(self) -> list[int]:
        """Let one unit of time pass without an image: a miss for whoever is confirmed, while the others wait for the
        next image. The ids of tracks that are no longer live."""
        for track in self._tracks:
            track.missed += 1
        died = [track.track_id for track in self._tracks if track.confirmed and self._is_over(track)]
        self._tracks = [track for track in self._tracks if track.track_id not in died]
        self._forecast(self._tracks)
        self._time += 1
        return died

    def found_after_all(self, track_id: int, detection: Detection) -> None:
        """Take a live track that was missed in the last image as seen there: by other means it was found, as
        `detection`. Raises ValueError where no live track has that id or where it was not missed."""
        [track] = [track for track in self._tracks if track.track_id == track_id and track.missed]
        track.history.append((self._time - 1, detection))
        track.missed = 0
        track.forecasts.pop()  # made without this sight
        self._forecast([track])

    def _match(self, frame: int, detections: list[Detection]) -> list[tuple[int, int]]:
        """Pairs of a row of tracks and a column of detections: those of the least sum, less those beyond the gate."""
        if not self._tracks or not detections:
            return []
        costs = self._costs(stack(detections))
        unknown = np.isnan(costs)
        if unknown.any():
            log.warning("Frame %d: %d costs are not a number; these pairs are not matched.", frame, unknown.sum())
        gate = self._settings["gate"]
        allowed = costs <= gate
        rows, columns = linear_sum_assignment(np.where(allowed, costs, gate + 1e-5))
        return [(row, column) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]

    def _costs(self, found: Detection) -> np.ndarray:
        """(tracks, detections): the least over the forecasts that a track remembers, of which a young one has few."""
        depth = self._settings["past_lookback"]
        remembered = [[*track.forecasts, *[track.forecasts[-1]] * depth][:depth] for track in self._tracks]
        expected = stack([forecast for forecasts in remembered for forecast in forecasts])
        costs = cost(expected, found, CONSTANTS[self._settings["constants"]])
        return np.fmin.reduce(costs.reshape(len(self._tracks), depth, -1), axis=1)

    def _forecast(self, tracks: list[_Track]) -> None:
        """Give each of these tracks its expectation of the next image."""
        if not tracks:
            return
        times = np.array([[time for time, _ in track.history] for track in tracks])
        seen = [[detection for _, detection in track.history] for track in tracks]
        points, camera, poses = (
            np.stack([[getattr(detection, name) for detection in history] for history in seen])
            for name in ("points", "camera", "pose")
        )
        horizon = np.array([track.missed + 1 for track in tracks])
        location = forecast_location(points, camera, times, horizon)
        pose = self._predict_pose(poses, times, horizon)
        for row, track in enumerate(tracks):
            appearance = track.history[-1][1].appearance
            place = location.points[row], location.camera[row], location.interval[row]
            track.forecasts.append(Forecast(appearance, pose[row], *place))

    def _born(self, frame: int, index: int, detection: Detection) -> _Track:
        """A new track, which has a whole history of its first sighting."""
        length = self._settings["history"]
        first = Forecast(**vars(detection), interval=detection.camera)
        self._next_id += 1
        return _Track(
            track_id=self._next_id - 1,
            history=deque([(self._time, detection)] * length, maxlen=length),
            forecasts=deque([first], maxlen=self._settings["past_lookback"]),
            sightings=[(frame, index)],
        )

    def _is_due(self, track: _Track) -> bool:
        return not track.confirmed and track.hits >= self._settings["n_init"]

    def _is_over(self, track: _Track) -> bool:
        return track.missed > (self._settings["max_age"] if track.confirmed else 0)


def choose_predictor(models: Path, device: str = "cpu") -> PosePredictor:
    """The learned predictor of SMPL poses where its weights are in the folder `models`, else `hold_last`; the log says
    which. Raises PoseFactoryError where the weights are there but cannot be read."""
    if not (models / POSE_PREDICTOR).is_file():
        log.info("There is no %s: poses are expected to stay as they are.", models / POSE_PREDICTOR)
        return hold_last
    from pose_factory.association.pose_predictor import LearnedPredictor  # torch takes seconds to load

    log.info("Poses are forecast with %s.", models / POSE_PREDICTOR)
    return LearnedPredictor(models / POSE_PREDICTOR, device)


def _is_usable(frame: int, index: int, detection: Detection) -> bool:
    usable = all(np.isfinite(values).all() for values in vars(detection).values()) and detection.camera[2] > 0
    if not usable:
        log.warning("Frame %d: detection %d is not finite or behind the camera; it is left out.", frame, index)
    return usable


def _taken(track: _Track) -> int | None:
    return None if track.missed else track.sightings[-1][1]
