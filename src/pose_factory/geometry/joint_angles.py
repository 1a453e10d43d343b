"""How far a person's joints are bent, from where the joints are."""

from collections.abc import Sequence

import numpy as np

from pose_factory.skeleton import JOINTS

TRUNK = ("neck", "pelvis")


def _of_side(side: str) -> dict[str, tuple[tuple[str, str], tuple[str, str]]]:
    shoulder, elbow, wrist, hip, knee, ankle, foot = (
        f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot")
    )
    return {
        f"{side}_shoulder": (TRUNK, (shoulder, elbow)),
        f"{side}_elbow": ((shoulder, elbow), (elbow, wrist)),
        f"{side}_hip": (TRUNK, (hip, knee)),
        f"{side}_knee": ((hip, knee), (knee, ankle)),
        f"{side}_ankle": ((knee, ankle), (ankle, foot)),
    }


SEGMENTS = {
    **_of_side("left"),
    **_of_side("right"),
    "spine": (("pelvis", "spine"), ("spine", "neck")),
    "neck": (("spine", "neck"), ("neck", "head_top")),
}
"""The two segments of the body, each from one joint to the other, that an angle lies between."""


def joint_angles(points: np.ndarray, names: Sequence[str] = JOINTS) -> dict[str, np.ndarray]:
    """{angle: (...,) degrees, 0 to 180} of joints `points` (..., J, 3) called `names`, in any unit and any axes.

    Each is the angle between two segments of the body (SEGMENTS), 0 when one goes on in the direction of the other:

    - elbow, knee: 0 is straight, 90 bent at a right angle;
    - shoulder: between trunk (neck to pelvis) and upper arm: 0 hangs down, 90 is horizontal, 180 raised overhead;
    - hip: between trunk and thigh: 0 is upright, 90 sitting; to the front and to the side count alike;
    - ankle: between shin and the line from ankle to ball of the foot: 0 is pointed, about 60 standing;
    - spine: between its lower and its upper half; neck: between upper spine and the line from neck to head top.

    NaN where an angle is undefined: a joint is not among `names`, is NaN, or lies on the segment's other joint.
    """
    points = np.asarray(points, float)
    place = {name: points[..., index, :] for index, name in enumerate(names)}
    nowhere = np.full((*points.shape[:-2], 3), np.nan)

    def along(segment: tuple[str, str]) -> np.ndarray:
        start, end = (place.get(joint, nowhere) for joint in segment)
        return end - start

    return {angle: _between(along(first), along(second)) for angle, (first, second) in SEGMENTS.items()}


def _between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(...,) degrees between vectors (..., 3); NaN where one has no length. The arc tangent is exact near 0 and 180,
    where the arc cosine is not."""
    sine, cosine = np.linalg.norm(np.cross(one, other), axis=-1), np.sum(one * other, axis=-1)
    pointless = (np.linalg.norm(one, axis=-1) == 0) | (np.linalg.norm(other, axis=-1) == 0)
    return np.where(pointless, np.nan, np.degrees(np.arctan2(sine, cosine)))
