"""What a fit writes beside the bodies: how near they are to what was tracked, and how far their joints are bent."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pose_factory.bodies.anny_body import PHENOTYPES
from pose_factory.fitting.fitted import FittedBody
from pose_factory.geometry.joint_angles import joint_angles
from pose_factory.skeleton import INDEX
from pose_factory.tracking import camera
from pose_factory.tracking.people import PROVENANCES, Track

ANGLE_COLUMNS = {"frame": "int32", "track_id": "int32", "angle": "str", "degrees": "float64", "provenance": "str"}
HIPS = [INDEX["left_hip"], INDEX["right_hip"]]
MM = 1000.0


def angle_table(bodies: Mapping[int, FittedBody]) -> pd.DataFrame:
    """The content of joint_angles.parquet, sorted by frame, track, then the order of geometry.joint_angles."""
    parts = [pd.DataFrame(columns=list(ANGLE_COLUMNS))]
    for track_id, body in bodies.items():
        angles = joint_angles(body.joints())
        parts.append(
            pd.DataFrame(
                {
                    "frame": np.repeat(body.frames, len(angles)),
                    "track_id": track_id,
                    "angle": list(angles) * len(body),
                    "degrees": np.stack(list(angles.values()), axis=1).ravel(),
                    "provenance": np.repeat(body.provenance, len(angles)),
                }
            )
        )
    table = pd.concat([part.astype(ANGLE_COLUMNS) for part in parts])
    return table.sort_values(["frame", "track_id"], kind="stable", ignore_index=True)


def report(
    bodies: Mapping[int, FittedBody], tracks: Mapping[int, Track], joints: Sequence[str], size: tuple[int, int]
) -> dict:
    """The content of body.json: the bodies {track_id: body} beside the tracks they were fitted to, whose joints are
    called `joints`, in images of that size, width and height in pixels."""
    return {"tracks": [_of_track(track_id, body, tracks[track_id], joints, size) for track_id, body in bodies.items()]}


def _of_track(track_id: int, body: FittedBody, track: Track, joints: Sequence[str], size: tuple[int, int]) -> dict:
    found = body.joints()
    relative = found - found[:, HIPS].mean(axis=1, keepdims=True)
    given = [INDEX[joint] for joint in joints]
    in_space = np.linalg.norm(relative[:, given] - track.joints, axis=-1)
    in_image = np.linalg.norm(camera.project(found[:, given], np.zeros((len(body), 3)), *size) - track.pixels, axis=-1)
    rest = body.body.vertices
    return {
        "track_id": track_id,
        "frames": len(body),
        "by_provenance": {word: int((body.provenance == word).sum()) for word in PROVENANCES},
        "phenotype": dict(zip(PHENOTYPES, body.phenotype.tolist(), strict=True)),
        "height_m": float(np.ptp(rest[:, 2])),
        "from_landmarks_mm": float(in_space.mean() * MM),
        "from_pixels_px": float(in_image.mean()),
        "by_joint": {
            joint: {
                "from_landmarks_mm": float(in_space[:, i].mean() * MM),
                "from_pixels_px": float(in_image[:, i].mean()),
            }
            for i, joint in enumerate(joints)
        },
    }
