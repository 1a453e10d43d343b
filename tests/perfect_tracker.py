"""What a tracker without error sees of a fitted body, by the landmarks and the camera that a fit assumes."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.fitting.fit import FOCAL_LENGTH
from pose_factory.fitting.fitted import FittedBody
from pose_factory.fitting.landmarks import landmarks
from pose_factory.fitting.model import skeleton
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.tracking.people import Track, bounds

NAMES = [name for name in JOINTS if name not in ("pelvis", "spine", "neck", "head_top")]
SIZE = (640, 480)


def perfect(body: FittedBody, size=SIZE, larger=1.0) -> Track:
    """The track of `body` in images of `size`, its joints in space so much `larger` than life."""
    marks = landmarks(NAMES)
    turned, _ = body.bones()
    joints = body.joints()[:, [INDEX[name] for name in NAMES]]
    carriers = skeleton().rows[marks.holders]
    offsets = height(body) * np.einsum("nkij,kj->nki", turned[:, carriers], marks.offset)
    image = joints + offsets[:, len(NAMES) :]
    flat = FOCAL_LENGTH * max(size) * image[..., :2] / image[..., 2:]
    pixels = flat + np.array(size) / 2
    box = bounds(pixels)
    middle = (box[:, :2] + box[:, 2:] - size) / 2
    line = np.insert(middle / FOCAL_LENGTH / max(size), 2, 1.0, axis=1)
    world = larger * (joints + offsets[:, : len(NAMES)]) @ _facing(line).swapaxes(-1, -2)
    count, none = len(body), np.empty((len(body), 0))
    return Track(
        frames=body.frames,
        provenance=body.provenance.astype(object),
        box=box,
        score=np.full(count, 0.9),
        pixels=pixels,
        joints=centred(world),
        confidence=np.ones((count, len(NAMES))),
        translation=np.zeros((count, 3)),
        rotations=np.tile(np.eye(3), (count, 1, 1, 1)),
        shape=none,
        appearance=none,
    )


def noisy(track: Track, metres=0.02, pixels=2.0, seed=0) -> Track:
    """The same with normal noise."""
    rng = np.random.default_rng(seed)
    return replace(
        track,
        joints=track.joints + metres * rng.normal(size=track.joints.shape),
        pixels=track.pixels + pixels * rng.normal(size=track.pixels.shape),
    )


def centred(world: np.ndarray) -> np.ndarray:
    """Joints (N, K, 3) called NAMES relative to the midpoint of the hips."""
    hips = [NAMES.index("left_hip"), NAMES.index("right_hip")]
    return world - world[:, hips].mean(axis=1, keepdims=True)


def height(body: FittedBody) -> float:
    """From the ankles to the top of the head in the rest pose, metres."""
    still = np.tile(np.eye(3), (1, body.rotations.shape[1], 1, 1))
    up = replace(body[:1], rotations=still, translation=np.zeros((1, 3))).joints()[0, :, 2]
    return up[INDEX["head_top"]] - up[[INDEX["left_ankle"], INDEX["right_ankle"]]].mean()


def _facing(line: np.ndarray) -> np.ndarray:
    """(N, 3, 3) the smallest turns of directions (N, 3) into the line of sight: a tracker looks at a person's cut-out,
    and has joints in space as a camera that is turned to the person would."""
    axis = np.cross(line, [0.0, 0.0, 1.0])
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, line[:, 2:])).as_matrix()
