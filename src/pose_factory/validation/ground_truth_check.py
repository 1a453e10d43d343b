"""Whether a character's labels are consistent: within each view, between views, and with the rendered image."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.triangulate import triangulate
from pose_factory.skeleton import JOINTS
from pose_factory.validation.view_check import check_view


def check_character(
    views: Mapping[str, tuple[pd.DataFrame, Camera]],
    tolerance_mm: float = 1.0,
    tolerance_px: float = 0.1,
    min_inside_silhouette: float = 0.9,
    measured: Mapping[str, Mapping[str, float]] | None = None,
) -> dict:
    """Check the ground truth of all `views` {camera angle: (ground_truth table, camera)} of one character or scene.

    For each of its people:
    - x, y, z is the same in all views, and u, v of all views triangulate back to it, to `tolerance_mm`;
    - u, v is where the camera projects x, y, z, to `tolerance_px`;
    - `measured` {camera angle: {"reprojection_max_px": ..., "inside_silhouette": ...}}, both optional, are the largest
      distance from the renderer's own projection and the fraction 0..1 of labels inside the silhouette (None where no
      joint could be looked at), per view.

    Returns the figures found, over all people; `triangulation` holds a `note` instead of figures when there is only one
    view. Raises PoseFactoryError, naming the view, when a tolerance is broken or the views have different frames.
    """
    labels = {angle: _labels(angle, table) for angle, (table, _) in views.items()}
    first_angle, (first_frames, first_people, world, _) = next(iter(labels.items()))
    figures = {}
    for angle, (frames, people, points, pixels) in labels.items():
        for what, one, other in (("frames", frames, first_frames), ("people", people, first_people)):
            if not np.array_equal(one, other):
                raise PoseFactoryError(
                    f"Views '{first_angle}' and '{angle}' have labels for different {what}; "
                    "make their ground truth again."
                )
        if not np.array_equal(np.isnan(points), np.isnan(world)):
            raise PoseFactoryError(
                f"Views '{first_angle}' and '{angle}' annotate different joints; make their ground truth again."
            )
        figures[angle] = {
            "world_difference_max_mm": float(_distances(points, world).max(initial=0.0)) * 1000,
            "projection_max_px": float(_distances(views[angle][1].project(points)[0], pixels).max(initial=0.0)),
            **(measured or {}).get(angle, {}),
        }
    result = {"frames": len(first_frames), "people": len(first_people), "views": figures}
    if len(views) < 2:
        result["triangulation"] = {"note": "one view only: its labels cannot be triangulated"}
    else:
        points, _ = triangulate([pixels for *_, pixels in labels.values()], [camera for _, camera in views.values()])
        errors = _distances(points, world) * 1000
        result["triangulation"] = {
            "max_mm": float(errors.max(initial=0.0)),
            "mean_mm": float(errors.sum() / max(errors.size, 1)),
        }
    _judge(result, tolerance_mm, tolerance_px, min_inside_silhouette)
    return result


def _labels(angle: str, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames (F,), people (P,), world points (F, P * J, 3) and pixels (F, P * J, 2) of a complete table."""
    frames, people = np.unique(table.frame), np.unique(table.person)
    ordered = table.sort_values(["frame", "person"], kind="stable")
    complete = (
        np.array_equal(ordered.frame, np.repeat(frames, len(people) * len(JOINTS)))
        and np.array_equal(ordered.person, np.tile(np.repeat(people, len(JOINTS)), len(frames)))
        and ordered.joint.tolist() == JOINTS * (len(frames) * len(people))
    )
    if not complete:
        raise PoseFactoryError(f"The ground truth of view '{angle}' lacks joints, people or frames; make it again.")
    values = ordered[["x", "y", "z", "u", "v"]].to_numpy(float).reshape(len(frames), len(people) * len(JOINTS), 5)
    return frames, people, values[..., :3], values[..., 3:]


def _judge(result: dict, tolerance_mm: float, tolerance_px: float, min_inside_silhouette: float) -> None:
    for angle, figures in result["views"].items():
        limits = [
            ("world_difference_max_mm", tolerance_mm, "mm between its joints and the other views'"),
            ("projection_max_px", tolerance_px, "px between u, v and the projected x, y, z"),
        ]
        for name, limit, what in limits:
            if not figures.get(name, 0.0) <= limit:  # catches NaN too
                raise PoseFactoryError(
                    f"The ground truth of view '{angle}' has {figures[name]:.3g} {what} (limit {limit:g}); "
                    "make its frames, camera and ground truth again together."
                )
        check_view(angle, figures, tolerance_px, min_inside_silhouette)
    if not result["triangulation"].get("max_mm", 0.0) <= tolerance_mm:
        raise PoseFactoryError(
            f"The labels of all views triangulate to {result['triangulation']['max_mm']:.3g} mm from the true joints "
            f"(limit {tolerance_mm:g}); a camera.json does not match its ground truth."
        )


def _distances(found, expected) -> np.ndarray:
    """Distances of the points that either side has; infinite where the other lacks one."""
    present = np.isfinite(found).all(-1) | np.isfinite(expected).all(-1)
    return np.nan_to_num(np.linalg.norm(found[present] - expected[present], axis=-1), nan=np.inf)
