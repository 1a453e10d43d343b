"""When feet carry weight, and which point of them holds still."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, binary_opening

from pose_factory.retargeting.recording import SIDES, Recording, leg_length

LOW = 0.05
"""Of the leg: how far a point of a foot on the floor may be above where it is when standing."""
SLOW = 0.45
"""Leg lengths a second that it may go."""
SHORTEST = 0.05
"""Seconds: shorter contacts and gaps between them are noise."""
FLOOR = 5
"""The per cent of frames whose lower foot may be below the floor: those that go through it."""


@dataclass(frozen=True)
class Foot:
    """One foot over N frames, in its recording's unit: the `paths` (N, P, 3) of its points (`points`), whether each is
    `touching` the floor (N, P), and the height of the floor."""

    paths: np.ndarray
    touching: np.ndarray
    floor: float

    @property
    def height(self) -> np.ndarray:
        """(N, P) how far each point is above the floor."""
        return self.paths[..., 2] - self.floor

    @property
    def planted(self) -> np.ndarray:
        """(N,) whether any point is on the floor."""
        return self.touching.any(axis=1)

    def anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """For each step between frames the point that goes least of those on the floor before and after (N - 1,), -1
        where there is none, and how far it goes on the floor (N - 1, 2)."""
        steps = np.diff(self.paths[..., :2], axis=0)
        both = self.touching[1:] & self.touching[:-1]
        point = np.argmin(np.where(both, np.linalg.norm(steps, axis=2), np.inf), axis=1)
        return np.where(both.any(axis=1), point, -1), steps[np.arange(len(steps)), point]


def feet(recording: Recording) -> Mapping[str, Foot]:
    """Both feet of a recording, by side. The floor is where the lower foot is at its lowest."""
    leg = leg_length(recording.rest)
    paths = {
        side: recording.places[f"{side}_ankle"][:, None]
        + points(recording.rest, side) @ recording.turns[f"{side}_foot"].transpose(0, 2, 1)
        for side in SIDES
    }
    lowest = np.min([path[..., 2].min(axis=1) for path in paths.values()], axis=0)
    floor = float(np.percentile(lowest, FLOOR))
    frames = max(round(SHORTEST * recording.fps), 1)
    found = {}
    for side, path in paths.items():
        speed = np.linalg.norm(np.gradient(path, axis=0), axis=2) * recording.fps if len(path) > 1 else 0.0
        touching = (path[..., 2] - floor < LOW * leg) & (speed < SLOW * leg)
        for point in touching.T:
            point[:] = _without_blinks(point, frames)
        found[side] = Foot(path, touching, floor)
    return found


def points(rest: Mapping[str, np.ndarray], side: str) -> np.ndarray:
    """(P, 3) points of a foot at rest relative to the ankle: the heel, below it, and the base of the toes, on which a
    foot rolls off, where it is known."""
    if f"{side}_foot" not in rest:
        return np.zeros((1, 3))
    toes = rest[f"{side}_foot"] - rest[f"{side}_ankle"]
    return np.array([[0, 0, toes[2]], toes])


def _without_blinks(on: np.ndarray, frames: int) -> np.ndarray:
    """`on` (N,) without gaps and then without runs of less than `frames` + 1 frames."""
    padded = np.pad(on, frames, mode="edge")
    window = np.ones(frames + 1, bool)
    return binary_opening(binary_closing(padded, window), window)[frames:-frames]
