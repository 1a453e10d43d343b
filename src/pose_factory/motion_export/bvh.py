"""Motions as BVH, the text that most animation programs read.

Metres, Y up, the rest pose facing +Z: what Blender's importer takes by default (it turns Y up to its own Z up), at its
scale of 1. A joint's rotations are relative to the rest pose, which stands as the body itself is at rest, arms half
lowered. There is no frame number in BVH: its first frame is the motion's.
"""

import re
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.geometry.kinematics import local_turns

Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From Blender's world into BVH's axes."""
ORDER = "ZXY"
"""Of the turns about a joint's own axes, as its channels name them."""
STILL = 1e-4
"""Metres by which a bone may move in its parent and still have rotations only."""


class Skeleton(Protocol):
    """B bones at rest, a tree with its root first: names, parents (B,) (-1 for the root), heads and tails (B, 3) in
    metres, Blender's axes."""

    bones: list[str]
    parents: np.ndarray
    heads: np.ndarray
    tails: np.ndarray


def bvh(skeleton: Skeleton, turns: np.ndarray, places: np.ndarray, fps: float) -> str:
    """The content of a BVH file of F frames, `fps` a second, in which the bones are turned by `turns` (F, B, 3, 3) from
    the rest pose's axes into the world's and have their heads at `places` (F, B, 3), metres, Blender's world.

    The root, and other bones whose heads move in their parents, as where a rig stretches, have position channels: what
    these say replaces the joint's OFFSET. With them every head is where it was, to STILL a bone.
    """
    parents = skeleton.parents
    rest = skeleton.heads - skeleton.heads[parents]
    rest[0] = 0  # some programs would add the root's place at rest to that in each frame, others not
    offsets = places.copy()
    offsets[:, 1:] = np.einsum("fbji,fbj->fbi", turns[:, parents[1:]], places[:, 1:] - places[:, parents[1:]])
    moving = np.abs(offsets - rest).max(axis=(0, 2)) > STILL
    moving[0] = True
    order = list(_depth_first(parents, 0))
    angles = Rotation.from_matrix((Y_UP @ local_turns(turns, parents) @ Y_UP.T).reshape(-1, 3, 3))
    angles = angles.as_euler(ORDER, degrees=True, suppress_warnings=True)  # that of several triples there is one
    angles = angles.reshape(*offsets.shape)
    offsets = offsets @ Y_UP.T
    columns = [part for bone in order for part in ([offsets[:, bone]] if moving[bone] else []) + [angles[:, bone]]]
    frames = [" ".join(f"{value:.6f}" for value in row) for row in np.hstack(columns)]
    header = ["MOTION", f"Frames: {len(frames)}", f"Frame Time: {1 / fps:.8f}"]
    joints = _joint(skeleton, _names(skeleton.bones), rest, moving, 0, "")
    return "\n".join(["HIERARCHY", *joints, *header, *frames, ""])


def _names(bones: list[str]) -> list[str]:
    """What `bones` are called in BVH, where white space ends a name: with underscores instead, and a number where
    another is called so already."""
    names = []
    for bone in bones:
        name = plain = re.sub(r"\s", "_", bone)
        number = 1
        while name in names or (name != bone and name in bones):
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names


def _depth_first(parents: np.ndarray, bone: int) -> Iterator[int]:
    yield bone
    for child in np.flatnonzero(parents == bone):
        yield from _depth_first(parents, child)


def _joint(
    skeleton: Skeleton, names: list[str], rest: np.ndarray, moving: np.ndarray, bone: int, indent: str
) -> Iterator[str]:
    """The lines of a bone and all below it; `names` (B,) are those of the joints."""
    rotations = " ".join(f"{axis}rotation" for axis in ORDER)
    yield f"{indent}{'JOINT' if bone else 'ROOT'} {names[bone]}"
    yield f"{indent}{{"
    yield f"{indent}\t{_offset(rest[bone])}"
    yield f"{indent}\tCHANNELS {f'6 Xposition Yposition Zposition {rotations}' if moving[bone] else f'3 {rotations}'}"
    children = np.flatnonzero(skeleton.parents == bone)
    for child in children:
        yield from _joint(skeleton, names, rest, moving, child, f"{indent}\t")
    if not len(children):
        end = _offset(skeleton.tails[bone] - skeleton.heads[bone])
        yield from (f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\t{end}", f"{indent}\t}}")
    yield f"{indent}}}"


def _offset(metres: np.ndarray) -> str:
    return "OFFSET " + " ".join(f"{value:.6f}" for value in Y_UP @ metres)
