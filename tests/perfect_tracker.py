"""What a tracker without error sees of a fitted body, by the landmarks and the camera that fits assume."""

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.fitting.fit import FOCAL_LENGTH
from pose_factory.fitting.fitted import FittedBody
from pose_factory.fitting.landmarks import landmarks
from pose_factory.fitting.model import skeleton
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.tracking.people import Track

NAMES = [name for name in JOINTS if name not in ("pelvis", "spine", "neck", "head_top")]
HIPS = [NAMES.index("left_hip"), NAMES.index("right_hip")]
SIZE = (640, 480)


def perfect(body: FittedBody, size=SIZE, names=NAMES, larger=1.0, metres=0.0, pixels=0.0, seed=0) -> Track:
    """The track of `body` in images of `size`, with joints in space that are so much `larger` than life; with normal
    noise of so many `metres` and `pixels`."""
    marks, bones = landmarks(names), skeleton()
    turned, heads = body.bones()
    rest = body.body
    tall = rest.landmark("nose")[2] * 0 + _tall(body)
    joints = body.joints()[:, [INDEX[name] for name in names]]
    carriers = bones.rows[marks.holders]
    offsets = tall * np.einsum("nkij,kj->nki", turned[:, carriers], marks.offset)
    world, image = joints + offsets[:, : len(names)], joints + offsets[:, len(names) :]
    focal = FOCAL_LENGTH * max(size)
    flat = focal * image[..., :2] / image[..., 2:]
    # a tracker looks at a person's crop: its joints in space are as a camera that is turned to the person has them
    line = np.insert((flat.min(axis=1) + flat.max(axis=1)) / 2 / focal, 2, 1.0, axis=1)
    line /= np.linalg.norm(line, axis=1, keepdims=True)
    axis = np.cross(line, [0.0, 0.0, 1.0])
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    view = Rotation.from_rotvec(axis / sine * np.arctan2(sine, line[:, 2:])).as_matrix()
    world = larger * np.einsum("nij,nkj->nki", view, world)
    rng = np.random.default_rng(seed)
    world = world + metres * rng.normal(size=world.shape)
    flat = flat + np.array(size) / 2 + pixels * rng.normal(size=flat.shape)
    hips = [names.index("left_hip"), names.index("right_hip")]
    count = len(body)
    return Track(
        frames=body.frames,
        provenance=body.provenance.astype(object),
        box=np.concatenate([flat.min(axis=1), flat.max(axis=1)], axis=1),
        score=np.full(count, 0.9),
        pixels=flat,
        joints=world - world[:, hips].mean(axis=1, keepdims=True),
        confidence=np.ones((count, len(names))),
        translation=np.zeros((count, 3)),
        rotations=np.tile(np.eye(3), (count, 1, 1, 1)),
        shape=np.zeros((count, 0)),
        appearance=np.zeros((count, 0)),
    )


def _tall(body):
    points = FittedBody(np.zeros(1), np.zeros(1), np.tile(np.eye(3), (1, 52, 1, 1)), np.zeros((1, 3)), body.phenotype)
    points = points.joints()[0]
    return points[INDEX["head_top"], 2] - points[[INDEX["left_ankle"], INDEX["right_ankle"]], 2].mean()
