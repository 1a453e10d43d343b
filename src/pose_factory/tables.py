"""What each table says of itself, in its Parquet metadata (docs/tables.md has the columns)."""

from pose_factory.geometry.camera import PIXEL_CONVENTION
from pose_factory.skeleton import JOINTS

_WORLD = "Blender's world: right-handed, Z up, character facing -Y"
GROUND_TRUTH = {
    "schema": "ground_truth/2",
    "units": {"time": "s", "x y z depth": "m", "u v": "px"},
    "frames_of_reference": {"x y z": _WORLD, "u v": PIXEL_CONVENTION, "depth": "camera z"},
    "person": "index into the people of character.json",
    "visibility": "COCO: 0 not labelled (not annotated, or outside the image), 1 occluded, 2 visible",
    "joints": JOINTS,
}
BOXES = {
    "schema": "boxes/2",
    "units": {"x_min y_min x_max y_max": "px", "area": "px^2"},
    "frames_of_reference": {"x_min y_min x_max y_max": PIXEL_CONVENTION},
    "person": "index into the people of character.json",
    "area": "of the whole silhouette, whoever stands before it, counted on a grid of rays",
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
FUSED = {
    "schema": "fused/1",
    "units": {"x y z": "m", "residual_px": "px", "confidence": "0..1"},
    "frames_of_reference": {"x y z": _WORLD},
    "joints": JOINTS,
}
PEOPLE = {
    "schema": "people/1",
    "units": {"x_min y_min x_max y_max": "px", "translation_*": "m", "rotations": "rad"},
    "frames_of_reference": {
        "x_min y_min x_max y_max": PIXEL_CONVENTION,
        "translation_*": "camera axes (x right, y down, z forward); the midpoint of the hips, for the focal length that"
        " trackers assume (pose_factory.tracking.camera)",
        "rotations": "rotation vectors, one after another; the first into camera axes, the others from the parent's",
    },
}
BODY = {
    "schema": "body/1",
    "body": "Anny (rig mixamo) without clothes, pose_factory.fitting.fitted",
    "units": {"translation": "m", "rotations": "rotation matrices", "phenotype": "0..1"},
    "frames_of_reference": {
        "rotations": "each bone's turn away from the rest pose, in the rest pose's axes (Z up, facing -Y) as its parent"
        " has turned them; the root's turns those axes into the camera's (x right, y down, z forward)",
        "translation": "camera axes: the root bone's head, for the focal length that trackers assume"
        " (pose_factory.tracking.camera)",
    },
}
JOINT_ANGLES = {
    "schema": "joint_angles/1",
    "units": {"degrees": "degrees, 0 to 180"},
    "degrees": "between two segments of the body, 0 when one goes on in the direction of the other"
    " (pose_factory.geometry.joint_angles)",
}
JOINT_SCORES = {"schema": "joint_scores/2", "units": {"*_mm": "mm", "pixel_*": "px"}, "joints": JOINTS}
SUMMARY = {
    "schema": "summary/2",
    "units": {"azimuth": "degrees", "*_mm*": "mm", "*_m_per_s2": "m/s^2", "*_m_per_s3": "m/s^3"},
    "joints": [],
}
RECORDING = {
    "schema": "motion/1",
    "units": {"heads_* tails_* places_* joints_*": "m", "turns_*": "rotation matrices"},
    "frames_of_reference": {
        "places_* joints_*": _WORLD,
        "heads_* tails_*": "the rest pose, which faces -Y",
        "turns_*": "each bone's turn from the rest pose's axes into the world's",
    },
}
BODY_PARAMETERS = {
    "schema": "body_parameters/1",
    "body": 'anny.Anny(rig="mixamo", skinning_method="lbs", local_changes="default"), without clothes',
    "units": {"translation": "m", "rotations": "rotation matrices", "phenotype": "0..1", "local_changes": "-1..1"},
    "frames_of_reference": {
        "rotations": "each bone's turn away from the rest pose, in the rest pose's axes (Z up, facing -Y) as its parent"
        " has turned them; the root's turns those axes into the world's",
        "translation": f"{_WORLD}; the root bone's head",
    },
}
