"""Motions as BVH, the text that most animation programs read.

Metres, Y up, the rest pose facing +Z: what Blender's importer takes by default (it turns Y up to its own Z up), at its
scale of 1. A joint's rotations are relative to the rest pose, which stands as the body itself is at rest, arms half
lowered. There is no frame number in BVH: its first frame is the motion's.
"""

from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.bodies.anny_body import Body
from pose_factory.bodies.motion import Motion

Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From Blender's world into BVH's axes."""
ORDER = "ZXY"
"""Of the turns about a joint's own axes, as its channels name them."""


def bvh(body: Body, motion: Motion, fps: float) -> str:
    """The content of a BVH file: `motion`'s frames of `body`, `fps` a second."""
    local = Rotation.from_quat(motion.rotations[..., [1, 2, 3, 0]].reshape(-1, 4)).as_matrix()
    local = local.reshape(*motion.rotations.shape[:2], 3, 3)
    turns = Y_UP @ body.orientations @ local @ body.orientations.swapaxes(1, 2) @ Y_UP.T
    order = list(_depth_first(body, 0))
    turns = Rotation.from_matrix(turns[:, order].reshape(-1, 3, 3))
    angles = turns.as_euler(ORDER, degrees=True, suppress_warnings=True)  # that of several triples there is one
    rows = np.hstack([motion.root @ Y_UP.T, angles.reshape(len(motion.root), -1)])
    frames = [" ".join(f"{value:.6f}" for value in row) for row in rows]
    header = ["MOTION", f"Frames: {len(frames)}", f"Frame Time: {1 / fps:.8f}"]
    return "\n".join(["HIERARCHY", *_joint(body, 0, ""), *header, *frames, ""])


def _depth_first(body: Body, bone: int) -> Iterator[int]:
    yield bone
    for child in np.flatnonzero(body.parents == bone):
        yield from _depth_first(body, child)


def _joint(body: Body, bone: int, indent: str) -> Iterator[str]:
    """The lines of a bone and all below it. The root stands at the origin: some programs would add its place at rest to
    that in each frame, others not."""
    parent = body.parents[bone]
    rotations = " ".join(f"{axis}rotation" for axis in ORDER)
    yield f"{indent}{'JOINT' if parent >= 0 else 'ROOT'} {body.bones[bone]}"
    yield f"{indent}{{"
    yield f"{indent}\t{_offset(body.heads[bone] - body.heads[parent if parent >= 0 else bone])}"
    yield f"{indent}\tCHANNELS {f'3 {rotations}' if parent >= 0 else f'6 Xposition Yposition Zposition {rotations}'}"
    children = np.flatnonzero(body.parents == bone)
    for child in children:
        yield from _joint(body, child, f"{indent}\t")
    if not len(children):
        end = _offset(body.tails[bone] - body.heads[bone])
        yield from (f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\t{end}", f"{indent}\t}}")
    yield f"{indent}}}"


def _offset(metres: np.ndarray) -> str:
    return "OFFSET " + " ".join(f"{value:.6f}" for value in Y_UP @ metres)
