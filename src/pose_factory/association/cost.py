"""What it costs to take a person found in an image for one that was expected there."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from pose_factory.association.detection import SMPL_ROTATIONS, SMPL_SHAPE, Detection
from pose_factory.association.forecast import Forecast

APPEARANCE_UNIT = 1000.0
SMPL_COMPARED = 9 * SMPL_ROTATIONS + SMPL_SHAPE
SMPL_POSE = SMPL_COMPARED + 3


@dataclass(frozen=True)
class Constants:
    """How much each of the four distances weighs."""

    appearance: float
    pose: float
    place: float
    depth: float
    pose_limit: float
    """What no pose distance exceeds."""


CONSTANTS = {
    "EQ_010": Constants(appearance=3.8303, pose=1.5207, place=0.4930, depth=4.5831, pose_limit=1.2),
    "EQ_019": Constants(appearance=4.0536, pose=1.3070, place=0.3792, depth=4.1658, pose_limit=1.5),
}
"""The two published sets, by their published names."""


def cost(expected: Forecast, found: Detection, constants: Constants) -> np.ndarray:
    """(N, M) cost of each pair of N expected and M found people: 1 is a perfect match.

    The published product: (1 + a A) (1 + b P) exp(L / (c (0.1 + tanh i))) exp(D / (d (0.1 + tanh j))) of the squared
    distances A of appearance and P of pose, the distance L of the body's origins in the image, and |log| of the ratio
    of depths, D; i is the length of the prediction interval (x, y), and j is |log| of that of the depth. What is not a
    number in either person, or a depth that is not positive, makes the cost NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        place = cdist(expected.points[:, -1], found.points[:, -1])
        depth = np.abs(np.log(expected.camera[:, None, 2]) - np.log(found.camera[None, :, 2]))
        place_error = np.hypot(expected.interval[:, 0], expected.interval[:, 1])[:, None]
        depth_error = np.abs(np.log(expected.interval[:, 2]))[:, None]
        pose = np.minimum(pose_distance(expected.pose, found.pose), constants.pose_limit)
        exponent = place / (constants.place * (0.1 + np.tanh(place_error)))
        exponent += depth / (constants.depth * (0.1 + np.tanh(depth_error)))
        appearance = cdist(expected.appearance / APPEARANCE_UNIT, found.appearance / APPEARANCE_UNIT, "sqeuclidean")
        return (1 + constants.appearance * appearance) * (1 + constants.pose * pose) * np.exp(exponent)


def pose_distance(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(N, M) squared distances of pose vectors (N, P) and (M, P).

    Of PHALP's 229 numbers the three of the camera do not count. Other vectors hold K rotation matrices; their distance
    is the mean of a rotation times SMPL's 24, so that the published weight and limit mean the same for both.
    """
    length = expected.shape[1]
    if length == SMPL_POSE:
        return cdist(expected[:, :SMPL_COMPARED], found[:, :SMPL_COMPARED], "sqeuclidean")
    if length % 9:
        raise ValueError(f"a pose of {length} numbers is neither PHALP's {SMPL_POSE} nor rotation matrices")
    return cdist(expected, found, "sqeuclidean") * (SMPL_ROTATIONS * 9 / length)
