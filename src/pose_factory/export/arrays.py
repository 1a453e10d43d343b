"""A view in three dimensions as NumPy arrays."""

import json

import numpy as np

from pose_factory.export.views import View
from pose_factory.geometry.camera import PIXEL_CONVENTION
from pose_factory.skeleton import JOINTS

ABOUT = {
    "schema": "arrays/1",
    "units": {"joints_world joints_camera t": "m", "pixels boxes": "px", "area": "px^2", "time": "s"},
    "frames_of_reference": {
        "joints_world": "Blender's world: right-handed, Z up, character facing -Y",
        "joints_camera": "x_camera = R @ x_world + t; x right, y down, z forward",
        "pixels boxes": PIXEL_CONVENTION,
    },
    "visibility": "COCO: 0 not labelled (not annotated, or outside the image), 1 occluded, 2 visible",
}


def arrays(view: View, fps: float) -> dict[str, np.ndarray]:
    """What the view's .npz holds (docs/export.md), with F frames, P people and J = 23 joints; `fps` is frame numbers a
    second."""
    camera = view.camera
    return {
        "about": np.array(json.dumps(ABOUT)),
        "joints": np.array(JOINTS),
        "people": np.array(view.people),
        "frames": view.frames.astype(np.int32),
        "time": view.time,
        "fps": np.array(fps),
        "size": np.array([camera.width, camera.height], np.int32),
        "K": camera.K,
        "R": camera.R,
        "t": camera.t,
        "joints_world": view.world.astype(np.float32),
        "joints_camera": camera.to_camera(view.world).astype(np.float32),
        "pixels": view.pixels.astype(np.float32),
        "visibility": view.visibility.astype(np.int8),
        "boxes": view.boxes.astype(np.float32),
        "area": view.area.astype(np.float32),
    }
