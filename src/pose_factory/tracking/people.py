"""What a tracker knows of people: one person in one image (`Pose`), and one person over time (`Track`).

Arrays are float64. Pixels follow PIXEL_CONVENTION; the camera's axes are x right, y down, z forward; J counts the
backend's joints, K its rotations, S its shape parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

DETECTED, REDETECTED, INTERPOLATED, PREDICTED = "detected", "redetected", "interpolated", "predicted"
PROVENANCES = (DETECTED, REDETECTED, INTERPOLATED, PREDICTED)
"""From the surest to the least sure: found by the backend on its own; found when it looked again where the person had
to be; between two that were found; and beyond them."""
SAME_PERSON = 0.1
"""Two poses in an image are of one person if their joints lie closer, on average, than this fraction of the longer side
of the larger box."""


@dataclass(frozen=True)
class Pose:
    """One person in one image.

    `joints` are `backend.assemble(rotations, shape)`: what turns is in `rotations`, what stays is in `shape`.
    """

    box: np.ndarray
    """(4,) x_min, y_min, x_max, y_max around the person, pixels; may reach beyond the image."""
    score: float
    """How sure the backend is that this is a person, 0 to 1."""
    pixels: np.ndarray
    """(J, 2) where the joints are in the image."""
    joints: np.ndarray
    """(J, 3) metres, camera axes, relative to the midpoint of the hips."""
    confidence: np.ndarray
    """(J,) 0 to 1."""
    translation: np.ndarray
    """(3,) metres: the midpoint of the hips in the camera's frame, for the focal length of `tracking.camera`."""
    rotations: np.ndarray
    """(K, 3, 3) rotation matrices; the first turns the body into camera axes, each other one is relative to its
    parent's."""
    shape: np.ndarray
    """(S,) bone lengths or body shape parameters."""
    appearance: np.ndarray
    """(A,) a descriptor of how the person looks, compared by squared distance."""


@dataclass(frozen=True)
class Track:
    """One person over time: N frames in increasing order, each field of Pose stacked along a first axis N."""

    frames: np.ndarray
    """(N,) integer frame numbers."""
    provenance: np.ndarray
    """(N,) str, of PROVENANCES."""
    box: np.ndarray
    score: np.ndarray
    pixels: np.ndarray
    joints: np.ndarray
    confidence: np.ndarray
    translation: np.ndarray
    rotations: np.ndarray
    shape: np.ndarray
    appearance: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows) -> "Track":
        """The rows that a slice, mask or index array selects."""
        return Track(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def pose(self, row: int) -> Pose:
        """The person in one of the frames."""
        return Pose(**{field.name: getattr(self, field.name)[row] for field in fields(Pose)})


def stack(frames: Sequence[int], poses: Sequence[Pose], provenance: str | Sequence[str]) -> Track:
    """The track of one person seen as `poses` in `frames`; at least one."""
    words = np.array([provenance] * len(poses) if isinstance(provenance, str) else list(provenance), dtype=object)
    stacked = {field.name: np.stack([getattr(pose, field.name) for pose in poses]) for field in fields(Pose)}
    return Track(frames=np.asarray(frames, dtype=int), provenance=words, **stacked)


def merge(*tracks: Track) -> Track:
    """The parts of one track, in the order of their frames."""
    joined = {f.name: np.concatenate([getattr(track, f.name) for track in tracks]) for f in fields(Track)}
    order = np.argsort(joined["frames"], kind="stable")
    return Track(**joined)[order]


def fault(pose: Pose) -> str:
    """Why a backend's pose is of no use, in words; empty if it is."""
    if not all(np.isfinite(getattr(pose, field.name)).all() for field in fields(Pose)):
        return "it is not finite"
    if (pose.joints[:, 2] + pose.translation[2] <= 0).any():
        return "it is behind the camera"
    return ""


def bounds(pixels: np.ndarray) -> np.ndarray:
    """(..., 4) x_min, y_min, x_max, y_max of pixels (..., J, 2)."""
    return np.concatenate([pixels.min(axis=-2), pixels.max(axis=-2)], axis=-1)


def same_person(one: Pose, other: Pose) -> bool:
    """Whether two poses in one image lie on each other."""
    side = max((box[2:] - box[:2]).max() for box in (one.box, other.box))
    return float(np.linalg.norm(one.pixels - other.pixels, axis=1).mean()) < SAME_PERSON * side


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (4,); 0 for boxes without extent."""
    both = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None).prod()
    either = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - both
    return float(both / either) if either > 0 else 0.0
