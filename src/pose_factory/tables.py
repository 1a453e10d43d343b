"""What each table says of itself, in its Parquet metadata (docs/tables.md has the columns)."""

from pose_factory.geometry.camera import PIXEL_CONVENTION
from pose_factory.skeleton import JOINTS

_WORLD = "Blender's world: right-handed, Z up, character facing -Y"
GROUND_TRUTH = {
    "schema": "ground_truth/1",
    "units": {"time": "s", "x y z depth": "m", "u v": "px"},
    "frames_of_reference": {"x y z": _WORLD, "u v": PIXEL_CONVENTION, "depth": "camera z"},
    "visibility": "COCO: 0 not labelled (not annotated, or outside the image), 1 occluded, 2 visible",
    "joints": JOINTS,
}
BOXES = {
    "schema": "boxes/1",
    "units": {"x_min y_min x_max y_max": "px", "area": "px^2"},
    "frames_of_reference": {"x_min y_min x_max y_max": PIXEL_CONVENTION},
    "area": "of the silhouette, counted on a grid of rays",
    "joints": [],
}
TRACKS = {
    "schema": "tracks/1",
    "units": {"u v": "px", "x y z": "m", "confidence": "0..1"},
    "frames_of_reference": {
        "x y z": "camera axes (x right, y down, z forward), relative to the midpoint of the tracked hips",
        "u v": PIXEL_CONVENTION,
    },
}
JOINT_SCORES = {"schema": "joint_scores/1", "units": {"*_mm": "mm", "pixel_*": "px"}, "joints": JOINTS}
SUMMARY = {"schema": "summary/1", "units": {"azimuth": "degrees", "*_mm*": "mm"}, "joints": []}
