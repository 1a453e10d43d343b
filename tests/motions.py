"""Known motions as tracks: what a backend that sees joints in a camera's picture gives, with or without noise."""

from functools import cache

import numpy as np

from pose_factory.bodies.anny_body import bare_body
from pose_factory.bodies.motion import animate, forward_kinematics
from pose_factory.skeleton import JOINTS
from pose_factory.tracking import camera, people
from pose_factory.tracking.articulation import compose, decompose

NAMES = [name for name in JOINTS if name not in ("spine", "head_top")]
SIZE = (640, 480)
PARTS = {"shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand"}
PARTS |= {"hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase"}
FRONT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from Blender's axes into those of a camera at the front
HIPS, SHOULDERS = ([NAMES.index(f"{side}_{part}") for side in ("left", "right")] for part in ("hip", "shoulder"))


def assemble(rotations, shape):
    return compose(rotations, shape, NAMES)


_body = cache(bare_body)


@cache
def motion(name, frames=140, fps=30):
    """(frames, J, 3) joints of an Anny body, metres, axes of a camera at its front-left."""
    body = _body()
    rotations, heads = forward_kinematics(body, animate(name, body, frames, fps))
    head, joints = body.bone("Head"), np.zeros((frames, len(NAMES), 3))
    for index, joint in enumerate(NAMES):
        if joint in body.landmarks:
            offset = body.landmark(joint) - body.heads[head]
            joints[:, index] = heads[:, head] + rotations[:, head] @ offset
        elif "_" in joint:
            side, part = joint.split("_")
            joints[:, index] = heads[:, body.bone(side.title() + PARTS[part])]
    joints[:, NAMES.index("pelvis")] = joints[:, HIPS].mean(axis=1)
    joints[:, NAMES.index("neck")] = joints[:, SHOULDERS].mean(axis=1)
    turn = np.array([[np.cos(0.6), 0, np.sin(0.6)], [0, 1, 0], [-np.sin(0.6), 0, np.cos(0.6)]])
    return joints @ FRONT.T @ turn.T


def centred(joints):
    """`joints` relative to the midpoint of the hips."""
    return joints - joints[..., HIPS, :].mean(axis=-2, keepdims=True)


def track(joints, noise=0.0, seed=0, first=1):
    """The track of `joints` (N, J, 3), 60 m from the camera, seen with normal noise of so many metres."""
    rng = np.random.default_rng(seed)
    seen = joints + noise * rng.normal(size=joints.shape)
    root = seen[:, HIPS].mean(axis=1) + [0, 0, 60]
    rotations, lengths = decompose(seen, NAMES)
    poses = []
    for i in range(len(joints)):
        body = centred(seen[i])
        pixels = camera.project(body, root[i], *SIZE) + rng.normal(0, 100 * noise, (len(NAMES), 2))
        box = np.concatenate([pixels.min(axis=0) - 5, pixels.max(axis=0) + 9])
        sure = rng.uniform(0.8, 1, len(NAMES))
        poses.append(people.Pose(box, 0.9, pixels, body, sure, root[i], rotations[i], lengths[i], rng.random(8)))
    return people.stack(range(first, first + len(joints)), poses, people.DETECTED)
