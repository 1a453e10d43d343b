"""Triangulation: pixels of several cameras back to points in the world."""

from collections.abc import Sequence

import numpy as np

from pose_factory.geometry.camera import Camera


def triangulate(pixels, cameras: Sequence[Camera]) -> tuple[np.ndarray, np.ndarray]:
    """World points (F, J, 3) in metres, and their root-mean-square reprojection error (F, J) in pixels.

    `pixels` is (N, F, J, 2), one block per camera. Linear triangulation (Hartley & Zisserman, 2004, 12.2) in normalised
    image coordinates. A view whose pixel is NaN is skipped; a point with fewer than two views is NaN.
    """
    pixels = np.asarray(pixels, float)
    seen = np.isfinite(pixels).all(-1)
    equations = []
    for view, camera in zip(pixels, cameras, strict=True):
        rays = (view - camera.K[:2, 2]) @ np.linalg.inv(camera.K[:2, :2]).T
        projection = np.column_stack([camera.R, camera.t])
        equations.append(rays[..., None] * projection[2] - projection[:2])
    stacked = np.where(seen[..., None, None], equations, 0.0)
    homogeneous = np.linalg.svd(np.concatenate(list(stacked), axis=-2))[2][..., -1, :]
    count = np.where(seen.sum(0) >= 2, seen.sum(0), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        points = homogeneous[..., :3] / homogeneous[..., 3:]
    points[np.isnan(count) | ~np.isfinite(points).all(-1)] = np.nan
    reprojected = np.stack([camera.project(points)[0] for camera in cameras])
    squared = np.where(seen, ((reprojected - pixels) ** 2).sum(-1), 0.0)
    return points, np.sqrt(squared.sum(0) / count)
