"""Where a tracker's joints are on the body is measured exactly where a tracker errs in nothing else."""

import sys
from pathlib import Path

import numpy as np
import pytest
from fitted import CAMERA, dancer
from scipy.spatial.transform import Rotation

from pose_factory.fitting.landmarks import size
from pose_factory.fitting.model import skeleton
from pose_factory.skeleton import INDEX
from pose_factory.tracking.mediapipe_pose import Backend
from pose_factory.tracking.people import Track

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import body_calibration

JOINTS = Backend.joints
MEASURED = [joint for joint in JOINTS if joint not in body_calibration.DERIVED]
HIPS = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]


@pytest.fixture(scope="module")
def offsets() -> dict[str, dict[str, np.ndarray]]:
    """By joint, in the image and in space, which differ for the wrists alone; the right mirrors the left."""
    rng = np.random.default_rng(0)
    found = {}
    for joint in MEASURED:
        if not joint.startswith("right_"):
            image = rng.normal(0, 0.02, 3) * ([1, 1, 1] if "_" in joint else [0, 1, 1])
            found[joint] = {"image": image, "world": image + (0.03 if joint == "left_wrist" else 0.0)}
    mirrored = {
        joint.replace("left_", "right_"): {where: offset * [-1, 1, 1] for where, offset in of.items()}
        for joint, of in found.items()
        if "_" in joint
    }
    return found | mirrored


def film(offsets, phenotype, motion: str, larger: float):
    """A dancer's track, whose tracker has its joints at `offsets`, takes the body to be so many times `larger` and to
    be turned by up to some degrees, another way in each frame; their true body, and the camera."""
    body = dancer(phenotype, motion, frames=12)
    bones = skeleton()
    turned, _ = body.bones()
    tall = size(bones.points(body.phenotype)[0][..., None])[0]
    placed = {}
    for where in ("image", "world"):
        points = body.joints()[:, [INDEX[joint] for joint in JOINTS]]
        for joint, of in offsets.items():
            carrier = bones.rows[max(bones.holders[bones.joints[INDEX[joint]]], 0)]
            points[:, JOINTS.index(joint)] += tall * turned[:, carrier] @ of[where]
        placed[where] = points
    pixels = placed["image"] @ CAMERA.K.T
    world = placed["world"] - placed["world"][:, HIPS].mean(axis=1, keepdims=True)
    wrong = Rotation.from_rotvec(np.random.default_rng(1).normal(0, 0.1, (len(body), 3))).as_matrix()
    count = len(body)
    unused = ("box", "score", "translation", "rotations", "shape", "appearance")
    track = Track(
        frames=body.frames,
        provenance=body.provenance,
        pixels=pixels[..., :2] / pixels[..., 2:],
        joints=larger * world @ wrong.swapaxes(-1, -2),
        confidence=np.ones((count, len(JOINTS))),
        **dict.fromkeys(unused, np.zeros((count, 1))),
    )
    return track, body, CAMERA


def test_offsets_are_found_whatever_the_tracker_makes_of_size_and_direction(offsets):
    films = [
        film(offsets, (0.5, 0.7, 0.5, 0.5, 0.4, 0.5), "dance", 1.1),
        film(offsets, (1.0, 0.6, 0.3, 0.3, 0.3, 0.5), "squat", 0.8),
    ]
    found = body_calibration.calibrate(films, JOINTS)
    assert list(found) == MEASURED
    for joint, of in offsets.items():
        np.testing.assert_allclose(found[joint]["image"], of["image"], atol=2e-4, err_msg=joint)
        np.testing.assert_allclose(found[joint]["world"], of["world"], atol=4e-3, err_msg=joint)
