"""Fusion: where several views, some of them wrong, see a person's joints, to where these are in the world.

Every pair of cameras proposes a point; the proposal that most views agree with, weighted by their confidence, is
refined over just those views (RANSAC, Fischler & Bolles 1981, with all pairs in place of random ones and the truncated
squares of MSAC, Torr & Zisserman 2000). So a view that is wrong does not move the point, however wrong it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX, PAIRS

LEAST_ANGLE = 3.0
"""Degrees: where all rays to a point are within this angle of one line, they do not tell how far away it is."""
REFINEMENTS = 10
SWAP_RATIO = 0.7
"""A view has left and right exchanged where exchanging them costs less than this fraction of leaving them: a body seen
edge-on is as near either way and stays as it is."""
MIRROR = np.arange(len(INDEX))
"""For each canonical joint the index of its counterpart on the body's other side; of those in the middle, their own."""
for _left, _right in PAIRS:
    MIRROR[[INDEX[_left], INDEX[_right]]] = INDEX[_right], INDEX[_left]


@dataclass(frozen=True)
class Fused:
    """One person over F frames, fused from V views: `points` (F, J, 3) metres in the world, NaN where too few views
    agree; `residual` (F, J) root-mean-square distance in pixels of the agreeing views' pixels from the reprojected
    point; `confidence` (F, J) the sum of the agreeing views' over the number of views, 0 to 1; `agreed` (V, F, J) bool,
    the views that the point was made of; `swapped` (V, F) bool, where left and right of a view were exchanged first."""

    points: np.ndarray
    residual: np.ndarray
    confidence: np.ndarray
    agreed: np.ndarray
    swapped: np.ndarray


def fuse(pixels, confidence, cameras: Sequence[Camera], limit, min_views: int = 2) -> Fused:
    """The person that most of the views agree on.

    `pixels` (V, F, J, 2), a block per camera, NaN where a view lacks the joint; `confidence` (V, F, J), 0 to 1, is the
    weight of a view's squared distance, NaN counts as none; `limit` (V, F) pixels, beyond which a view does not agree;
    J are the canonical joints. A point needs `min_views` views that agree, and rays that are not parallel.
    """
    pixels, limit = np.asarray(pixels, float), np.broadcast_to(np.asarray(limit, float)[..., None], confidence.shape)
    weights = np.where(np.isfinite(pixels).all(-1) & np.isfinite(limit), np.nan_to_num(confidence), 0.0)
    points = _consensus(pixels, weights, cameras, limit)
    swapped = _exchanged(points, pixels, weights, cameras, limit)
    if swapped.any():
        pixels = np.where(swapped[..., None, None], pixels[:, :, MIRROR], pixels)
        weights = np.where(swapped[..., None], weights[:, :, MIRROR], weights)
        points = _consensus(pixels, weights, cameras, limit)
    for _ in range(REFINEMENTS):
        agreed = (weights > 0) & (_distances(points, pixels, cameras) <= limit)
        points = points + _step(points, pixels, np.where(agreed, weights, 0.0), cameras)
    distances = _distances(points, pixels, cameras)
    agreed = (weights > 0) & (distances <= limit)
    agreed &= (agreed.sum(0) >= max(min_views, 2)) & _wide(points, agreed, cameras)
    views = agreed.sum(0)
    count = np.where(views, views, np.nan)
    return Fused(
        points=np.where((views > 0)[..., None], points, np.nan),
        residual=np.sqrt(np.where(agreed, distances**2, 0.0).sum(0) / count),
        confidence=np.where(agreed, weights, 0.0).sum(0) / len(cameras),
        agreed=agreed,
        swapped=swapped,
    )


def _consensus(pixels, weights, cameras, limit) -> np.ndarray:
    """(F, J, 3) the points, of those that two cameras propose, with the least cost over all views."""
    best = np.full((*pixels.shape[1:3], 3), np.nan)
    least = np.full(pixels.shape[1:3], np.inf)
    usable = np.where(weights[..., None] > 0, pixels, np.nan)
    for a, b in combinations(range(len(cameras)), 2):
        proposed = midway(usable[a], usable[b], cameras[a], cameras[b])
        cost = _costs(proposed, pixels, weights, cameras, limit).sum(0)
        better = np.isfinite(proposed).all(-1) & (cost < least)
        best[better], least[better] = proposed[better], cost[better]
    return best


def midway(pixels_a, pixels_b, a: Camera, b: Camera) -> np.ndarray:
    """Points (..., 3) midway between the rays of two cameras' pixels (..., 2), NaN where these are all but parallel."""
    ray_a, ray_b, apart = _rays(pixels_a, a), _rays(pixels_b, b), b.position - a.position
    along_a, along_b, cosine = ray_a @ apart, ray_b @ apart, (ray_a * ray_b).sum(-1)
    sine2 = 1 - cosine**2
    sine2[sine2 < np.sin(np.radians(LEAST_ANGLE)) ** 2] = np.nan
    on_a = a.position + ray_a * ((along_a - cosine * along_b) / sine2)[..., None]
    on_b = b.position + ray_b * ((cosine * along_a - along_b) / sine2)[..., None]
    return (on_a + on_b) / 2


def _rays(pixels, camera: Camera) -> np.ndarray:
    """Unit vectors (..., 3) in the world, from the camera through its pixels."""
    local = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1) @ np.linalg.inv(camera.K).T
    return local / np.linalg.norm(local, axis=-1, keepdims=True) @ camera.R


def _distances(points, pixels, cameras) -> np.ndarray:
    """(V, F, J) pixels between the points and what each view says; NaN where either is missing."""
    reprojected = np.stack([camera.project(points)[0] for camera in cameras])
    return np.linalg.norm(reprojected - pixels, axis=-1)


def _costs(points, pixels, weights, cameras, limit) -> np.ndarray:
    """(V, F, J) each view's squared distance in limits, truncated at 1, times its weight."""
    relative = _distances(points, pixels, cameras) / limit
    return weights * np.where(relative < 1, relative, 1.0) ** 2


def _exchanged(points, pixels, weights, cameras, limit) -> np.ndarray:
    """(V, F) the views and frames that agree much better with the points once their left and right are exchanged."""
    kept = _costs(points, pixels, weights, cameras, limit).sum(-1)
    crossed = _costs(points, pixels[:, :, MIRROR], weights[:, :, MIRROR], cameras, limit).sum(-1)
    return crossed < SWAP_RATIO * kept


def _step(points, pixels, weights, cameras) -> np.ndarray:
    """(F, J, 3) the Gauss-Newton step of the weighted squared distances; zero where it is not determined."""
    normal, gradient = np.zeros((*points.shape, 3)), np.zeros(points.shape)
    for view, weight, camera in zip(pixels, weights, cameras, strict=True):
        local = camera.to_camera(points)
        reprojected = local @ camera.K.T
        depth = reprojected[..., 2:]
        at = reprojected[..., :2] / depth
        slope = (camera.K[:2] - at[..., None] * camera.K[2]) @ camera.R / depth[..., None]
        used = weight > 0
        slope = np.where(used[..., None, None], slope, 0.0)
        residual = np.where(used[..., None], view - at, 0.0)
        weighted = slope.swapaxes(-1, -2) * weight[..., None, None]
        normal += weighted @ slope
        gradient += (weighted @ residual[..., None])[..., 0]
    determined = np.linalg.det(normal) > 1e-9 * np.trace(normal, axis1=-2, axis2=-1) ** 3
    normal[~determined] = np.eye(3)
    return np.where(determined[..., None], np.linalg.solve(normal, gradient[..., None])[..., 0], 0.0)


def _wide(points, agreed, cameras) -> np.ndarray:
    """(F, J) whether the agreeing views' rays to a point are not all but parallel.

    The sum of I - d d^T over unit rays d has, for two of them, 1 - |cos| of their angle as its least eigenvalue; more
    rays add to it.
    """
    across = np.zeros((*points.shape, 3))
    for used, camera in zip(agreed, cameras, strict=True):
        ray = points - camera.position
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        across += np.where(used[..., None, None], np.eye(3) - ray[..., :, None] * ray[..., None, :], 0.0)
    return np.linalg.eigvalsh(across)[..., 0] >= 1 - np.cos(np.radians(LEAST_ANGLE))
