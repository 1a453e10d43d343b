"""From what a camera saw of a person to a motion that stands on a floor."""

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from pose_factory.bodies.anny_body import Body, skin
from pose_factory.bodies.motion import Motion, continuous, forward_kinematics
from pose_factory.errors import PoseFactoryError
from pose_factory.fitting.fit import FOCAL_LENGTH
from pose_factory.fitting.fitted import FittedBody
from pose_factory.tracking.camera import focal_length

UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From camera axes into Blender's world as if the camera stood level: right is X, forward is Y, up is Z."""


def choose(bodies: Mapping[int, FittedBody], wanted: int | None) -> int:
    """The track to export of the bodies {track_id: body}: the `wanted` one, or that of whoever is there longest, and of
    several the first. Raises PoseFactoryError if it is not there."""
    if not bodies:
        raise PoseFactoryError("The tracker found nobody, so there is no motion to export; look at the overlay.")
    if wanted is None:
        return max(bodies, key=lambda track_id: len(bodies[track_id]))
    if wanted not in bodies:
        raise PoseFactoryError(f"There is no track {wanted}; ask for one of {', '.join(map(str, bodies))}.")
    return wanted


def even(fitted: FittedBody) -> tuple[FittedBody, list[int]]:
    """The same body with as many frame numbers between any two frames, as a file with a frame rate needs it, and the
    frames that had to be made for it: every bone turns evenly between the frames around them."""
    step = max(int(np.gcd.reduce(np.diff(fitted.frames))), 1)
    frames = np.arange(fitted.frames[0], fitted.frames[-1] + 1, step)
    missing = np.setdiff1d(frames, fitted.frames)
    if not len(missing):
        return fitted, []
    rotations = [
        Slerp(fitted.frames, Rotation.from_matrix(of_bone))(frames).as_matrix()
        for of_bone in fitted.rotations.swapaxes(0, 1)
    ]
    translation = [np.interp(frames, fitted.frames, along) for along in fitted.translation.T]
    provenance = np.full(len(frames), "interpolated", dtype=object)
    provenance[np.isin(frames, fitted.frames)] = fitted.provenance
    made = FittedBody(frames, provenance, np.stack(rotations, 1), np.stack(translation, 1), fitted.phenotype)
    return made, missing.tolist()


def rate(fitted: FittedBody, fps: float) -> float:
    """How many of its frames, which are even, a second has that has `fps` frame numbers."""
    return fps / (fitted.frames[1] - fitted.frames[0]) if len(fitted) > 1 else fps


def stand(fitted: FittedBody) -> Motion:
    """The motion of a body in Blender's world (metres, Z up).

    A single view does not tell where gravity pulls, so the camera is taken to stand level: its up is Z, and who faces
    it faces -Y. The lowest point of the whole motion is on z = 0, and the root is above the origin in the first frame.
    Depth is for the focal length with which bodies are fitted (fitting.fit), not for the very long one of
    `tracking.camera`; what the true one is nobody knows, so that the way to and from the camera is only about right.
    """
    body = fitted.body
    turns = fitted.rotations.copy()
    turns[:, 0] = UPRIGHT @ turns[:, 0]
    local = body.orientations.swapaxes(1, 2) @ turns @ body.orientations
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat()[:, [3, 0, 1, 2]]
    root = fitted.translation * [1, 1, FOCAL_LENGTH / focal_length(1, 1)] @ UPRIGHT.T
    root[:, :2] -= root[0, :2]
    motion = Motion(continuous(quaternions.reshape(*local.shape[:2], 4)), root, {})
    root[:, 2] -= _lowest(body, motion)
    return motion


def _lowest(body: Body, motion: Motion) -> float:
    """The height of the lowest vertex in any frame, one after another for the memory."""
    return min(
        skin(body, turned, heads)[:, 2].min() for turned, heads in zip(*forward_kinematics(body, motion), strict=True)
    )
