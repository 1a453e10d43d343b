"""What is answered: the envelope of `/pose/hybrid` and its kin, from what the tracker says of one person."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import orjson

from pose_factory.geometry.joint_angles import joint_angles
from pose_factory.skeleton import JOINTS
from pose_factory.tracking import camera

if TYPE_CHECKING:  # which the process that speaks HTTP does without
    from pose_factory.tracking.session import Sighting

VERSION = version("pose-factory")
_HIPS = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
_DIGITS = {"pixels": 3, "metres": 5, "mesh": 4, "confidence": 4, "degrees": 2}
"""Decimals that are sent; a mesh to a tenth of a millimetre, which halves its length."""


@dataclass(frozen=True)
class Body3D:
    """One person's whole body: metres, camera axes, relative to the midpoint of the hips."""

    joints: np.ndarray
    """(23, 3) the canonical joints."""
    vertices: np.ndarray
    """(V, 3)."""
    translation: np.ndarray
    """(3,) the midpoint of the hips in the camera's frame, metres."""

    @classmethod
    def about_hips(cls, joints: np.ndarray, vertices: np.ndarray) -> "Body3D":
        """From joints (23, 3) and vertices (V, 3) in the camera's frame."""
        hips = joints[_HIPS].mean(axis=0)
        return cls(joints - hips, vertices - hips, hips)


@dataclass(frozen=True)
class Person:
    """What is told of the one person who is answered."""

    sighting: "Sighting"
    names: list[str]
    """The joints of the sighting's pose."""
    body: Body3D | None = None
    """None where it is not wanted."""


def faces(triangles: np.ndarray) -> orjson.Fragment:
    """The (F, 3) triangles of a mesh, written once for all answers."""
    return orjson.Fragment(orjson.dumps(np.ascontiguousarray(triangles, np.int32), option=orjson.OPT_SERIALIZE_NUMPY))


def envelope(
    frame_number: int,
    session_id: str,
    size: tuple[int, int],
    person: Person | None,
    triangles: orjson.Fragment,
    model: str,
) -> dict:
    """The answer to a frame of `size` (width, height) but for `processing_time_ms` and `visualization`; docs/service.md
    says what its fields mean. `person` is None where nobody is known; `model` names the backend.

    With a body, joints that the tracker does not give are the body's, projected into the image, as sure as the
    tracker's are on average.
    """
    answer = {
        "frame_number": frame_number,
        "session_id": session_id,
        "frame_width": size[0],
        "frame_height": size[1],
        "track_id": None,
        "source": None,
        "keypoints": [],
        "keypoint_count": 0,
        "has_3d": False,
        "joints_3d_raw": [],
        "joint_angles_3d": {},
        "mesh_vertices": 0,
        "mesh_vertices_data": [],
        "mesh_faces_data": [],
        "camera_translation": [],
        "focal_length": camera.focal_length(*size),
        "tracking_confidence": 0.0,
        "model_version": f"pose-factory {VERSION} {model}",
        "error": None,
    }
    if person is None:
        return answer
    pose, body = person.sighting.pose, person.body
    confidence = float(pose.confidence.mean())
    keypoints = {
        name: (*pose.pixels[row], pose.joints[row, 2], pose.confidence[row]) for row, name in enumerate(person.names)
    }
    if body is not None:
        pixels = camera.project(body.joints, body.translation, *size)
        for row, name in enumerate(JOINTS):
            keypoints.setdefault(name, (*pixels[row], body.joints[row, 2], confidence))
    answer |= {
        "track_id": person.sighting.track_id,
        "source": person.sighting.provenance,
        "keypoints": [_keypoint(name, *keypoints[name]) for name in JOINTS if name in keypoints],
        "keypoint_count": len(keypoints),
        "camera_translation": _rounded(pose.translation, "metres"),
        "tracking_confidence": round(confidence, _DIGITS["confidence"]),
    }
    if body is not None:
        answer |= {
            "has_3d": True,
            "joints_3d_raw": _rounded(body.joints, "metres"),
            "joint_angles_3d": {
                name: round(float(angle), _DIGITS["degrees"])
                for name, angle in joint_angles(body.joints).items()
                if np.isfinite(angle)
            },
            "mesh_vertices": len(body.vertices),
            "mesh_vertices_data": _rounded(body.vertices, "mesh").astype(np.float32),
            "mesh_faces_data": triangles,
            "camera_translation": _rounded(body.translation, "metres"),
        }
    return answer


def failure(frame_number: int | None, sentence: str) -> bytes:
    """The JSON of an answer without a pose, and why."""
    return encode({"frame_number": frame_number, "error": sentence})


def encode(answer: dict) -> bytes:
    """As JSON; NaN, which it does not have, would be null."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _keypoint(name: str, x: float, y: float, z: float, confidence: float) -> dict:
    return {
        "name": name,
        "x": round(float(x), _DIGITS["pixels"]),
        "y": round(float(y), _DIGITS["pixels"]),
        "z": round(float(z), _DIGITS["metres"]),
        "confidence": round(float(confidence), _DIGITS["confidence"]),
    }


def _rounded(values: np.ndarray, kind: str) -> np.ndarray:
    return np.round(np.ascontiguousarray(values, float), _DIGITS[kind])
