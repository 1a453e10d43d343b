"""The camera that trackers assume: nobody tells them the true one.

As HMR2 does (Goel et al. 2023, "Humans in 4D"): a focal length of 5000 for its crop of 256 pixels, scaled to the
image's longer side, and the principal point in the image's middle. It is so long that depth is relative only.
"""

import numpy as np

CROP_FOCAL_LENGTH, CROP_SIZE = 5000.0, 256


def focal_length(width: int, height: int) -> float:
    """The assumed focal length in pixels of an image of that size."""
    return CROP_FOCAL_LENGTH / CROP_SIZE * max(width, height)


def project(joints: np.ndarray, translation: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixels (..., J, 2) of `joints` (..., J, 3), metres in camera axes, of a body at `translation` (..., 3)."""
    points = joints + translation[..., None, :]
    return focal_length(width, height) * points[..., :2] / points[..., 2:] + np.array([width / 2, height / 2])


def translation(joints: np.ndarray, pixels: np.ndarray, weights: np.ndarray, width: int, height: int) -> np.ndarray:
    """Where a body is, (3,) metres, so that its `joints` (J, 3), metres in camera axes, best fall on `pixels` (J, 2).

    Weighted least squares, weights (J,), of f * (X + t_x) - (u - c_u) * (Z + t_z) = 0 and likewise for v, which are
    linear in t.
    """
    focal = focal_length(width, height)
    offsets = pixels - np.array([width / 2, height / 2])
    rows = np.zeros((*offsets.shape, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = focal
    rows[:, :, 2] = -offsets
    right = offsets * joints[:, 2:] - focal * joints[:, :2]
    root = np.sqrt(weights)[:, None]
    found, *_ = np.linalg.lstsq((rows * root[..., None]).reshape(-1, 3), (right * root).ravel(), rcond=None)
    return found
