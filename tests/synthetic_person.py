"""A synthetic person for tests: canonical joints that walk and turn, seen by a ring of cameras."""

import numpy as np
import pandas as pd

from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX, JOINTS

REST = {
    "nose": (0, -0.12, 1.62), "left_eye": (0.03, -0.1, 1.66), "left_ear": (0.08, 0, 1.64),
    "left_shoulder": (0.19, 0, 1.42), "left_elbow": (0.32, 0.02, 1.18), "left_wrist": (0.36, -0.08, 0.95),
    "left_hip": (0.1, 0, 0.94),
    "left_knee": (0.11, -0.02, 0.5), "left_ankle": (0.12, 0.04, 0.09), "left_foot": (0.13, -0.1, 0.02),
    "pelvis": (0, 0, 1.0), "spine": (0, 0, 1.2), "neck": (0, 0, 1.5), "head_top": (0, 0, 1.78),
}  # fmt: skip


def rest_pose() -> np.ndarray:
    """(23, 3) metres: standing upright on z = 0, facing -Y."""
    right = {name.replace("left_", "right_"): (-x, y, z) for name, (x, y, z) in REST.items() if "left_" in name}
    return np.array([{**REST, **right}[joint] for joint in JOINTS], float)


def walk(frames: int, turns: float = 1.0, seed: int = 0) -> np.ndarray:
    """(frames, 23, 3) world joints of a person who moves every joint, leans, wanders and turns about the vertical."""
    rng = np.random.default_rng(seed)
    phase, amplitude = rng.uniform(0, 2 * np.pi, (2, 1, 23, 3))
    time = np.arange(frames)[:, None, None] / 9
    pose = rest_pose() + 0.02 * amplitude * np.sin(time + phase)
    angle = 2 * np.pi * turns * np.arange(frames) / max(frames, 1)
    zero, one = np.zeros(frames), np.ones(frames)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).reshape(frames, 3, 3)
    return pose @ rotation.transpose(0, 2, 1) + 0.1 * np.sin(time * [0.7, 0.5, 0.9])


def camera(azimuth: float = 0.0, size: int = 400) -> Camera:
    """A camera 4 m from the person at `azimuth` degrees, a little above."""
    angle = np.radians(azimuth)
    return Camera.look_at([4 * np.sin(angle), -4 * np.cos(angle), 1.4], [0, 0, 0.95], 600.0, size, size)


def labels(world, view: Camera, frames=None, visibility=2, person=0) -> pd.DataFrame:
    """The ground truth table of `world` (F, 23, 3) in `view`."""
    frames = np.arange(1, len(world) + 1) if frames is None else np.asarray(frames)
    pixels, depth = view.project(world)
    annotated = np.isfinite(world).all(-1)
    inside = view.inside(pixels)
    table = _long(frames, world, pixels)
    seen = np.where(annotated & inside, np.broadcast_to(visibility, annotated.shape), 0)
    table.insert(1, "person", np.int32(person))
    return table.assign(
        time=table.frame / 30.0, depth=depth.ravel(), inside=inside.ravel(), visibility=seen.ravel().astype("int8")
    )


def boxes(world, view: Camera, frames=None, person=0) -> pd.DataFrame:
    """The boxes table: the joints' own box and 0.4 of its area."""
    frames = np.arange(1, len(world) + 1) if frames is None else np.asarray(frames)
    pixels = view.project(np.where(np.isfinite(world), world, rest_pose()))[0]
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    size = high - low
    columns = {
        "x_min": low[:, 0],
        "y_min": low[:, 1],
        "x_max": high[:, 0],
        "y_max": high[:, 1],
        "area": 0.4 * size.prod(-1),
    }
    return pd.DataFrame({"frame": frames.astype("int32"), "person": np.int32(person), **columns})


def tracks(world, view: Camera, frames=None, track_id=1, confidence=0.9, provenance="detected") -> pd.DataFrame:
    """What a tracker that sees `world` (F, 23, 3) exactly would write; joints that are NaN have no rows."""
    frames = np.arange(1, len(world) + 1) if frames is None else np.asarray(frames)
    pixels = view.project(world)[0]
    root = world[:, [INDEX["left_hip"], INDEX["right_hip"]]].mean(axis=1, keepdims=True)
    local = (world - root) @ view.R.T
    table = _long(frames, local, pixels)
    return table.assign(track_id=np.int32(track_id), confidence=confidence, provenance=provenance).dropna(
        ignore_index=True
    )


def _long(frames, points, pixels) -> pd.DataFrame:
    index = {"frame": np.repeat(frames, len(JOINTS)).astype("int32"), "joint": JOINTS * len(frames)}
    values = np.concatenate([points, pixels], axis=-1).reshape(-1, 5)
    return pd.DataFrame({**index, **dict(zip("xyzuv", values.T, strict=True))})
