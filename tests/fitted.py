"""Fitted bodies that are known: Anny bodies in the motions that rendered ones make."""

import bpy
import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.blender import anny_character, evaluate
from pose_factory.bodies.anny_body import PHENOTYPES, build_body
from pose_factory.bodies.motion import animate
from pose_factory.fitting.fitted import FittedBody, joint_bones
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX
from pose_factory.tracking import camera
from pose_factory.tracking.people import Track

AVERAGE = (0.5,) * len(PHENOTYPES)
CAMERA = Camera.look_at([1.5, -4.0, 1.2], [0.0, 0.0, 0.9], 500.0, 384, 384)


def dancer(phenotype=AVERAGE, motion="dance", frames=6, fps=24.0, first=1) -> FittedBody:
    """A body of that phenotype (6,) in a motion, as CAMERA sees it, all detected."""
    still = FittedBody(np.arange(0), np.array([]), np.empty((0, 52, 3, 3)), np.empty((0, 3)), np.asarray(phenotype))
    body = still.body
    dressed = build_body(dict(zip(PHENOTYPES, still.phenotype.tolist(), strict=True)))  # its arms hang further out
    made = animate(motion, dressed, frames, fps)
    local = Rotation.from_quat(made.rotations[..., [1, 2, 3, 0]].reshape(-1, 4)).as_matrix().reshape(frames, -1, 3, 3)
    rotations = body.orientations @ local @ body.orientations.transpose(0, 2, 1)
    rotations[:, 0] = CAMERA.R @ rotations[:, 0]
    return FittedBody(
        np.arange(first, first + frames),
        np.full(frames, "detected"),
        rotations,
        CAMERA.to_camera(made.root),
        still.phenotype,
    )


def seen(body: FittedBody, size=(384, 384)) -> Track:
    """The track of a tracker without error that gives all canonical joints of the body."""
    joints = body.joints()
    hips = joints[:, [INDEX["left_hip"], INDEX["right_hip"]]].mean(axis=1)
    rng = np.random.default_rng(1)
    return Track(
        frames=body.frames,
        provenance=body.provenance.astype(object),
        box=rng.random((len(body), 4)),
        score=rng.random(len(body)),
        pixels=camera.project(joints, np.zeros((len(body), 3)), *size),
        joints=joints - hips[:, None],
        confidence=rng.random(joints.shape[:2]),
        translation=hips,
        rotations=Rotation.random(3 * len(body), random_state=1).as_matrix().reshape(-1, 3, 3, 3),
        shape=rng.random((len(body), 5)),
        appearance=np.empty((len(body), 0)),
    )


def shown(motion="dance", phenotype=AVERAGE, frames=6, fps=24) -> np.ndarray:
    """(N, J, 3) the joints of the dressed body in the same motion as Blender has them, world, metres."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    spec = dict(zip(PHENOTYPES, np.asarray(phenotype).tolist(), strict=True))
    anny_character.build({"phenotype": spec, "motion": motion, "frames": frames, "fps": fps})
    joints = {joint: {"bone": bone, "end": "head"} for joint, bone in joint_bones().items()}
    read = evaluate.JointReader(bpy.data.objects["Armature"], joints | evaluate.landmarks(bpy.data.objects["Body"]))
    return np.array([read() for _ in evaluate.each_frame(range(1, frames + 1))])
