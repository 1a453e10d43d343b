"""The pinhole camera, in OpenCV's convention, and where it stands around a person."""

from dataclasses import dataclass

import numpy as np

PIXEL_CONVENTION = (
    "OpenCV camera axes (x right, y down, z forward, metres); pixel (0, 0) is the top-left corner of the top-left "
    "pixel, so the image spans [0, width] x [0, height] and the principal point is (width / 2, height / 2)"
)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion: x_camera = R @ x_world + t, pixel = K @ x_camera / depth.

    K, R: (3, 3); t: (3,) metres; world is Blender's (right-handed, Z up).
    """

    K: np.ndarray
    R: np.ndarray
    t: np.ndarray
    width: int
    height: int

    @classmethod
    def look_at(cls, position, target, focal_px: float, width: int, height: int, roll: float = 0.0) -> "Camera":
        """A camera at `position` (3,) looking at `target` (3,), metres in the world, with its top towards +Z, or turned
        from there by `roll` degrees clockwise as it sees it, so that the world leans to the left.

        Raises ValueError when the view is straight up or down: the roll is then undefined.
        """
        position, target = np.asarray(position, float), np.asarray(target, float)
        forward = (target - position) / np.linalg.norm(target - position)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        if np.linalg.norm(right) < 1e-9:
            raise ValueError("a camera looking straight up or down has no defined roll")
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        if roll:
            cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
            right, down = cos * right + sin * down, cos * down - sin * right
        rotation = np.stack([right, down, forward])
        intrinsics = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])
        return cls(intrinsics, rotation, -rotation @ position, width, height)

    @classmethod
    def from_json(cls, data: dict) -> "Camera":
        """The camera that `camera.json` describes."""
        return cls(*(np.array(data[key], float) for key in ("K", "R", "t")), data["width"], data["height"])

    @property
    def position(self) -> np.ndarray:
        """(3,) the optical centre in the world, metres."""
        return -self.R.T @ self.t

    def to_camera(self, points) -> np.ndarray:
        """World points (..., 3) in camera axes, metres."""
        return np.asarray(points) @ self.R.T + self.t

    def project(self, points) -> tuple[np.ndarray, np.ndarray]:
        """World points (..., 3) to pixels (..., 2) and depths (...) in metres; pixels are NaN at or behind the
        camera."""
        local = self.to_camera(points)
        depth = local[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = (local @ self.K.T)[..., :2] / np.where(depth > 0, depth, np.nan)[..., None]
        return pixels, depth

    def unproject(self, pixels, depth) -> np.ndarray:
        """The world points (..., 3), metres, at pixels (..., 2) and depths (...), z in camera axes."""
        pixels = np.asarray(pixels, float)
        rays = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1) @ np.linalg.inv(self.K).T
        return (rays * np.asarray(depth)[..., None] - self.t) @ self.R

    def inside(self, pixels) -> np.ndarray:
        """Whether pixels (..., 2) fall inside the image; NaN does not."""
        pixels = np.asarray(pixels)
        return ((pixels >= 0) & (pixels <= [self.width, self.height])).all(axis=-1)
