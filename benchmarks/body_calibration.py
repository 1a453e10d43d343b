"""Where a tracker's joints are on Anny's body, measured on films of known bodies: the content of landmarks.json.

A tracker's hip is not where Anny's thigh begins. Each of its joints is taken to lie at a constant offset from Anny's,
which turns with the bone that carries the joint and grows with the body (fitting.landmarks): one for its joints in the
image, one for those in space. Offsets are those of least absolute residuals, so that lost frames do not move them, and
mirror images of each other on both sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.fitting.fitted import FittedBody
from pose_factory.fitting.landmarks import Landmarks, landmarks, size
from pose_factory.fitting.model import skeleton
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX
from pose_factory.tracking.people import Track

ABOUT = (
    "Where MediaPipe's joints are on Anny's body: offsets from Anny's own in the axes of the rest pose (x left, "
    "y backwards, z up), as fractions of the height from the ankles to the top of the head, turning with the bone that "
    "carries the joint; for its joints in space (world) and in the image (image). Made by benchmarks/body_fit.py "
    "--calibrate."
)
DERIVED = ("pelvis", "neck")
"""MediaPipe's backend makes these of its hips and its shoulders: they tell a fit nothing new."""
ROUNDS = 6
FLOOR = 0.003
"""Metres; below it a residual's weight no longer grows."""


@dataclass(frozen=True)
class Seen:
    """N frames of K joints: Anny's `points` (N, K, 3), camera axes, and the `axes` (N, K, 3, 3) of what carries them,
    times the body's size; the tracker's in space, `world` (N, K, 3), relative to the hips, and in the image, `rays`
    (N, K, 2): x / z and y / z of the true camera. Metres."""

    points: np.ndarray
    axes: np.ndarray
    world: np.ndarray
    rays: np.ndarray


def calibrate(films: Sequence[tuple[Track, FittedBody, Camera]], joints: Sequence[str]) -> dict[str, dict]:
    """{joint: {world, image: [x, y, z]}} as ABOUT has them, of a tracker that gives `joints`, from its track of each
    film, the true body in the same frames and the true camera."""
    names = [joint for joint in joints if joint not in DERIVED]
    nothing = {"world": [0.0] * 3, "image": [0.0] * 3}
    marks = landmarks(names, dict.fromkeys(names, nothing))
    columns = [joints.index(name) for name in names]
    seen = [_seen(*film, marks, columns) for film in films]
    image = _in_image(seen)
    world = _in_space(seen, image, list(marks.hips))
    other = [names.index(_mirror(name)) for name in names]
    image, world = (((offset + offset[other] * [-1, 1, 1]) / 2).round(4) for offset in (image, world))
    return {name: {"world": world[row].tolist(), "image": image[row].tolist()} for row, name in enumerate(names)}


def _seen(track: Track, body: FittedBody, camera: Camera, marks: Landmarks, columns: list[int]) -> Seen:
    body = body[np.searchsorted(body.frames, track.frames)]
    bones = skeleton()
    turned, _ = body.bones()
    carriers = bones.rows[marks.holders[: len(columns)]]
    rest, _ = bones.points(body.phenotype)
    world = track.joints[:, columns]
    return Seen(
        points=body.joints()[:, [INDEX[name] for name in marks.names]],
        axes=turned[:, carriers] * size(rest[..., None])[0],
        world=world - world[:, list(marks.hips)].mean(axis=1, keepdims=True),
        rays=(track.pixels[:, columns] - camera.K[:2, 2]) / np.diag(camera.K)[:2],
    )


def _in_image(seen: Sequence[Seen]) -> np.ndarray:
    """The offsets (K, 3) with which the joints lie on the rays: a ray (a, b, 1) passes through a point p where
    (a, b) * p_z = (p_x, p_y)."""
    rays, axes, points = (np.concatenate([getattr(each, name) for each in seen]) for name in ("rays", "axes", "points"))
    rows = rays[..., None] * axes[:, :, 2:] - axes[:, :, :2]
    values = points[..., :2] - rays * points[..., 2:]
    return np.stack([_least_absolute(rows[:, k], values[:, k]) for k in range(rows.shape[1])])


def _in_space(seen: Sequence[Seen], image: np.ndarray, hips: list[int]) -> np.ndarray:
    """The offsets (K, 3) with which the joints lie where the tracker has them in space.

    How large it takes a body to be and from where it sees it are errors that no offset should take up: each film is
    scaled and each frame turned to fit before offsets are measured, in turns, starting from those of the `image`. As
    positions are relative to the hips, these keep theirs."""
    offset = image.copy()
    for _ in range(ROUNDS):
        turned = [_turned(each, offset, hips) for each in seen]
        for k in set(range(len(offset))) - set(hips):
            rows = np.concatenate([each.axes[:, k] for each in seen])
            values = [
                world[:, k] + _middle(each, offset, hips)[:, 0] - each.points[:, k]
                for each, world in zip(seen, turned, strict=True)
            ]
            offset[k] = _least_absolute(rows, np.concatenate(values))
    return offset


def _placed(seen: Seen, offset: np.ndarray) -> np.ndarray:
    """(N, K, 3) where joints with that offset are, camera axes, metres."""
    return seen.points + np.einsum("nkij,kj->nki", seen.axes, offset)


def _middle(seen: Seen, offset: np.ndarray, hips: list[int]) -> np.ndarray:
    return _placed(seen, offset)[:, hips].mean(axis=1, keepdims=True)


def _turned(seen: Seen, offset: np.ndarray, hips: list[int]) -> np.ndarray:
    """The tracker's joints in space, turned in each frame and scaled in all of them to where they are expected."""
    expected = _placed(seen, offset) - _middle(seen, offset, hips)
    turned = np.stack(
        [
            Rotation.align_vectors(true - true.mean(0), given - given.mean(0))[0].apply(given)
            for true, given in zip(expected, seen.world, strict=True)
        ]
    )
    return (turned * expected).sum() / (turned**2).sum() * turned


def _least_absolute(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(3,) the x of least sum |rows @ x - values|, by iteratively reweighted least squares."""
    rows, values = rows.reshape(-1, 3), values.ravel()
    weight = np.ones(len(values))
    for _ in range(30):
        solution = np.linalg.lstsq(rows * weight[:, None], values * weight, rcond=None)[0]
        weight = 1 / np.sqrt(np.maximum(np.abs(rows @ solution - values), FLOOR))
    return solution


def _mirror(name: str) -> str:
    side, _, part = name.partition("_")
    return f"{'right' if side == 'left' else 'left'}_{part}" if side in ("left", "right") else name
