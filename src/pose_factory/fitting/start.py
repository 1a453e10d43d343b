"""Where a fit starts: the pose read off the tracker's joints, bone by bone from the trunk outwards."""

import numpy as np

from pose_factory.fitting.model import skeleton
from pose_factory.fitting.prior import SHAPE, pose_prior
from pose_factory.fitting.solver import Seen, State, place

LIMBS = {("Arm", "ForeArm"): ("shoulder", "elbow", "wrist"), ("UpLeg", "Leg"): ("hip", "knee", "ankle")}
STRAIGHT = 0.15
"""Where the sine of a limb's bend is less, its hinge is rather taken from the swing of its upper bone."""


def start(seen: Seen, shape: np.ndarray = SHAPE) -> State:
    """A body of that shape in the pose of what was seen: the trunk as the hips and shoulders have it, the limbs along
    their joints, the rest at rest; where it is as its size in the image says."""
    body, prior, marks = skeleton(), pose_prior(), seen.landmarks
    rest = marks.rest(body.points(shape[:-1])[0][..., None])[: len(marks.names), :, 0]
    there = dict(zip(marks.names, rest, strict=True))
    here = dict(zip(marks.names, np.moveaxis(seen.world @ seen.view, 1, 0), strict=True))
    turns = np.tile(np.eye(3), (len(seen.world), len(body.bones), 1, 1))
    root = _trunk(here) @ _trunk(there).T
    turns[:, 0] = root
    for side in ("Left", "Right"):
        for bones, joints in LIMBS.items():
            names = [f"{side.lower()}_{joint}" for joint in joints]
            if not all(name in there for name in names):
                continue
            upper, lower = (body.bones.index(f"mixamorig:{side}{bone}") for bone in bones)
            hinge = prior.axes[list(prior.bones).index(lower), 0]
            rest_upper, rest_lower = there[names[1]] - there[names[0]], there[names[2]] - there[names[1]]
            now_upper = np.einsum("nji,nj->ni", root, here[names[1]] - here[names[0]])
            now_lower = np.einsum("nji,nj->ni", root, here[names[2]] - here[names[1]])
            turned = swing(rest_upper, now_upper)
            bent = np.cross(_unit(now_upper), _unit(now_lower)) + STRAIGHT * turned @ hinge
            turns[:, upper] = _frame(now_upper, bent) @ _frame(rest_upper, hinge).T
            turns[:, lower] = swing(rest_lower, np.einsum("nji,nj->ni", turns[:, upper], now_lower))
    state = State(turns, np.zeros((len(turns), 3)), shape)
    points = place(state, marks, derivatives=False)[:, len(marks.names) :]
    return State(turns, _root(points, seen), shape)


def _root(points: np.ndarray, seen: Seen) -> np.ndarray:
    """(N, 3) where the root is if all points (N, K, 3) about it are as far away as the body's size says."""
    share = (seen.trust / seen.trust.sum(axis=1, keepdims=True))[..., None]
    across = (share * (seen.pixels * seen.scale[:, None, None] - points[..., :2])).sum(axis=1)
    return np.concatenate(
        [across, (seen.focal * seen.scale - (share[..., 0] * points[..., 2]).sum(axis=1))[:, None]], axis=1
    )


def _trunk(at: dict[str, np.ndarray]) -> np.ndarray:
    up = at["left_shoulder"] + at["right_shoulder"] - at["left_hip"] - at["right_hip"]
    return _frame(up, at["left_hip"] - at["right_hip"] + at["left_shoulder"] - at["right_shoulder"])


def _frame(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(..., 3, 3) axes as columns: `across` made perpendicular to `along`, `along`, and their product."""
    y = _unit(along)
    for spare in 1e-6 * np.eye(3)[:2]:  # where across says nothing
        x = across - (across * y).sum(-1, keepdims=True) * y
        across = np.where(np.linalg.norm(x, axis=-1, keepdims=True) > 1e-7, across, across + spare)
    x = _unit(across - (across * y).sum(-1, keepdims=True) * y)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def swing(rest: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(N, 3, 3) the smallest rotations from the direction of `rest` (3,) to those of `vectors` (N, 3), as two half
    turns; about any axis where they are opposite."""
    rest, now = _unit(rest), _unit(vectors)
    middle = _unit(rest + now + 1e-9 * np.cross(rest, np.eye(3)[np.argmin(abs(rest))]))
    halves = [2 * axis[..., :, None] * axis[..., None, :] - np.eye(3) for axis in (middle, rest)]
    return halves[0] @ halves[1]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors; straight up, in the camera's axes, for what has no length."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), np.array([0.0, -1.0, 0.0]))
