"""What a tracker calls a joint, on Anny's body: constant offsets from Anny's own joints.

A tracker's hip is not where Anny's thigh begins. The offset turns with the bone that carries the joint and grows with
the body; it may differ between the tracker's joints in space and in the image. landmarks.json holds what was measured
on rendered bodies (benchmarks/body_fit.py --calibrate).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_factory.errors import PoseFactoryError
from pose_factory.fitting.model import skeleton
from pose_factory.skeleton import INDEX, JOINTS

FILE = Path(__file__).with_name("landmarks.json")


@dataclass(frozen=True)
class Landmarks:
    """K joints as a tracker has them, first in space, then in the image: M = 2 K.

    names; points (M,) and holders (M,): the point of the skeleton each one is near, and the bone that carries it;
    offset (M, 3) from that point, in the axes of the rest pose, as a fraction of the body's size; moved (B, M) whether
    it moves when a bone turns; hips, the two of K that what is in space is relative to.
    """

    names: tuple[str, ...]
    points: np.ndarray
    holders: np.ndarray
    offset: np.ndarray
    moved: np.ndarray
    hips: tuple[int, int]

    def rest(self, rest: np.ndarray) -> np.ndarray:
        """(M, 3, C) the landmarks in the rest pose, from the skeleton's points (P, 3, C) or what is linear in them."""
        return rest[self.points] + self.offset[:, :, None] * size(rest)


def size(rest: np.ndarray) -> np.ndarray:
    """(C,) how tall a body with the rest points (P, 3, C) is from the ankles to the top of the head, metres."""
    joints = skeleton().joints
    top, left, right = (rest[joints[INDEX[name]], 2] for name in ("head_top", "left_ankle", "right_ankle"))
    return top - (left + right) / 2


def landmarks(names: Sequence[str], table: dict[str, dict] | None = None) -> Landmarks:
    """Those of `names` that `table` (default: landmarks.json) has.

    Raises PoseFactoryError if the hips or the shoulders are not among them.
    """
    table = json.loads(FILE.read_text())["joints"] if table is None else table
    used = tuple(name for name in names if name in table)
    lacking = [f"{side}_{part}" for part in ("hip", "shoulder") for side in ("left", "right")]
    if lacking := [name for name in lacking if name not in used]:
        raise PoseFactoryError(
            f"A body cannot be fitted without {', '.join(lacking)}; give a tracker's joints with them."
        )
    body = skeleton()
    points = body.joints[[JOINTS.index(name) for name in used]]
    holders = np.maximum(body.holders[points], 0)
    moved = body.below[:, points] | (np.arange(len(body.bones))[:, None] == holders)
    hips = used.index("left_hip"), used.index("right_hip")

    return Landmarks(
        used,
        np.tile(points, 2),
        np.tile(holders, 2),
        np.array([table[name][key] for key in ("world", "image") for name in used], float),
        np.tile(moved, 2),
        hips,
    )
