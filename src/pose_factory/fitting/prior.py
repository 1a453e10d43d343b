"""What is known of a body before it is seen: how far its joints turn, how they rest, and its likely phenotype.

A bone turns away from the rest pose by a rotation vector, taken apart along three axes that are fixed to the parent:
about the hinge (bend), along the bone (twist) and across both (side). Bending forwards is positive for the trunk, the
neck and the thighs, flexing for elbows and knees, lifting the toes for feet, drawing back for the collar bone, whose
hinge is upright and whose side is lowering it; the hinge of an arm is its elbow's at rest.
The numbers are in limits.json.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pose_factory.fitting.model import Skeleton, skeleton

AXES = ("bend", "twist", "side")
SHAPE = np.array([0.5, 0.7, 0.5, 0.5, 0.4, 0.5, 0.0])
SHAPE_SPREAD = np.array([0.3, 0.15, 0.2, 0.25, 0.12, 0.25, 0.07])
SMALLEST, LARGEST = np.array([0, 0, 0, 0, 0, 0, -0.3]), np.array([1, 1, 1, 1, 1, 1, 0.3])
"""An adult, 1.67 m tall give or take 0.17 m: MakeHuman's phenotypes, in the order of PHENOTYPES, and the logarithm of
how much larger than life the tracker's metres are. A tracker cannot see how large somebody is."""
MIRROR = np.array([1.0, -1.0, -1.0])
"""An axis of rotation, as a mirror from left to right shows it."""
_CHILD = {
    "Spine": "Spine1",
    "Spine1": "Spine2",
    "Spine2": "Neck",
    "Neck": "Head",
    "Head": "",
    "LeftShoulder": "LeftArm",
    "LeftArm": "LeftForeArm",
    "LeftForeArm": "LeftHand",
    "LeftUpLeg": "LeftLeg",
    "LeftLeg": "LeftFoot",
    "LeftFoot": "LeftToeBase",
}


@dataclass(frozen=True)
class PosePrior:
    """The bones that a fit may turn besides the root, F of them, angles in radians."""

    bones: np.ndarray
    """(F,) rows of Skeleton.bones."""
    axes: np.ndarray
    """(F, 3, 3) the axes of AXES as rows, in the axes of the rest pose."""
    low: np.ndarray
    """(F, 3)."""
    high: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


@cache
def pose_prior() -> PosePrior:
    """That of limits.json, with the axes of the mean adult."""
    table = json.loads(Path(__file__).with_name("limits.json").read_text())["bones"]
    body = skeleton()
    rest, _ = body.points(SHAPE[:-1])
    rows, axes, numbers = [], [], []
    for name, ranges in table.items():
        frame = _axes(body, rest, name)
        for side in ("Left", "Right") if name.startswith("Left") else ("",):
            rows.append(body.bones.index("mixamorig:" + (name.replace("Left", side) if side else name)))
            axes.append(frame * MIRROR if side == "Right" else frame)
            numbers.append([ranges[axis] for axis in AXES])
    low, high, mean, spread = np.radians(np.moveaxis(np.array(numbers), -1, 0))
    return PosePrior(np.array(rows), np.array(axes), low, high, mean, spread)


def _axes(body: Skeleton, rest: np.ndarray, name: str) -> np.ndarray:
    def at(bone: str) -> np.ndarray:
        return rest[body.bones.index(f"mixamorig:{bone}")]

    left, up = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    along = at(_CHILD[name]) - at(name) if _CHILD[name] else up
    if name in ("LeftArm", "LeftForeArm"):
        hinge = np.cross(at("LeftForeArm") - at("LeftArm"), at("LeftHand") - at("LeftForeArm"))
    elif name in ("LeftUpLeg", "LeftFoot"):
        hinge = -left
    else:
        hinge = up if name == "LeftShoulder" else left
    if "Left" not in name:
        along = along * [0, 1, 1]  # Anny's head is a millimetre beside the middle
    along = along / np.linalg.norm(along)
    hinge = hinge - (hinge @ along) * along
    hinge = hinge / np.linalg.norm(hinge)
    return np.stack([hinge, along, np.cross(hinge, along)])
