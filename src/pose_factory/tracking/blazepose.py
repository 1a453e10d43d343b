"""BlazePose's two networks, from MediaPipe's wheel: a detector that finds people, and one that gives a found person's
landmarks (Bazarevsky et al. 2020, "BlazePose: On-device Real-time Body Pose tracking").

MediaPipe's own solution follows a single person and hides its misses. Run on their own, on a TFLite runtime, the
networks find several people, keep nothing from one image to the next, and can be told where to look.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

LANDMARK_COUNT, AUXILIARY_COUNT = 33, 6
DETECTOR_SIZE, LANDMARK_SIZE = 224, 256
STRIDES = {8: 2, 16: 2, 32: 6}
"""The detector's anchors: for each stride in pixels, how many lie at the middle of every cell."""
OVERLAP = 0.3
"""Detections whose head boxes overlap by more (IoU) are one person."""
REGION_SCALE = 1.25
"""The landmark network's region is so much larger than the circle about the hips that holds the body."""
HEATMAP_REACH = 3
"""Landmarks are refined within so many cells of the heat map."""
FULL_MODEL = "pose_landmark/pose_landmark_full.tflite"
"""The only landmark network in the wheel; the lite and heavy ones would be downloaded."""


@dataclass(frozen=True)
class Region:
    """A square of the image: its middle (2,) and side in pixels, and its angle in radians, clockwise in the image."""

    middle: np.ndarray
    side: float
    angle: float

    @classmethod
    def about(cls, hips: np.ndarray, far: np.ndarray) -> "Region":
        """The region of a body by its middle of the hips (2,) and a point (2,) above them, on the circle that holds
        it: upright in the body's own sense."""
        up = far - hips
        return cls(hips, 2 * REGION_SCALE * float(np.hypot(*up)), float(np.arctan2(up[0], -up[1])))

    @property
    def turn(self) -> np.ndarray:
        """(2, 2) rotation from the region's axes to the image's."""
        return np.array([[np.cos(self.angle), -np.sin(self.angle)], [np.sin(self.angle), np.cos(self.angle)]])

    def to_image(self, size: int) -> np.ndarray:
        """(2, 3) affine map from pixels of a square picture of the region, `size` a side, to the image's."""
        turn = self.turn * self.side / size
        return np.column_stack([turn, self.middle - turn @ np.full(2, size / 2)])


@dataclass(frozen=True)
class Landmarks:
    """What the landmark network says of a region."""

    score: float
    """0 to 1: how sure it is that there is a person."""
    pixels: np.ndarray
    """(33, 2) in the image."""
    world: np.ndarray
    """(33, 3) metres, camera axes, relative to the midpoint of the hips."""
    visibility: np.ndarray
    """(33,) 0 to 1."""
    region: Region
    """Where to look for this person, going by the landmarks."""


class Networks:
    """Both networks, for one thread. Images are (H, W, 3) uint8 RGB."""

    def __init__(self) -> None:
        import mediapipe
        from ai_edge_litert.interpreter import Interpreter

        modules = Path(mediapipe.__file__).with_name("modules")
        self._detector = Interpreter(str(modules / "pose_detection/pose_detection.tflite"), num_threads=1)
        self._landmarker = Interpreter(str(modules / FULL_MODEL), num_threads=1)
        self._anchors = _anchors()
        for network in (self._detector, self._landmarker):
            network.allocate_tensors()

    def detect(self, image: np.ndarray, threshold: float) -> list[tuple[Region, float]]:
        """Everybody in the image that the detector gives at least `threshold`, the surest first."""
        height, width = image.shape[:2]
        side = max(height, width)
        whole = Region(np.array([width / 2, height / 2]), side, 0.0).to_image(DETECTOR_SIZE)
        picture = _crop(image, whole, DETECTOR_SIZE, cv2.BORDER_CONSTANT)
        coordinates, logits = _run(self._detector, picture / 127.5 - 1, (0, 1))
        scores = _sigmoid(logits[0, :, 0])
        likely = np.flatnonzero(scores >= threshold)
        values = coordinates[0, likely].reshape(-1, 6, 2).astype(float) / DETECTOR_SIZE
        values[:, [0, 2, 3, 4, 5]] += self._anchors[likely, None]
        found = []
        for points, score in _distinct(values, scores[likely]):
            hips, far = points[2:4] * DETECTOR_SIZE @ whole[:, :2].T + whole[:, 2]
            found.append((Region.about(hips, far), score))
        return found

    def landmarks(self, image: np.ndarray, region: Region) -> Landmarks:
        """The landmarks of the person that `region` is drawn about."""
        to_image = region.to_image(LANDMARK_SIZE)
        picture = _crop(image, to_image, LANDMARK_SIZE, cv2.BORDER_REPLICATE)
        flat, score, heatmap, world = _run(self._landmarker, picture / 255, (0, 1, 3, 4))
        flat = flat.reshape(-1, 5).astype(float)
        points = _refine(flat[:, :2], heatmap[0]) @ to_image[:, :2].T + to_image[:, 2]
        world = world.reshape(-1, 3)[:LANDMARK_COUNT].astype(float)
        return Landmarks(
            score=float(score[0, 0]),
            pixels=points[:LANDMARK_COUNT],
            world=np.column_stack([world[:, :2] @ region.turn.T, world[:, 2]]),
            visibility=_sigmoid(flat[:LANDMARK_COUNT, 3]),
            region=Region.about(*points[LANDMARK_COUNT : LANDMARK_COUNT + 2]),
        )


def _run(network, picture: np.ndarray, outputs: tuple[int, ...]) -> list[np.ndarray]:
    """What the network says of a picture (S, S, 3), float32: its outputs with these numbers."""
    network.set_tensor(network.get_input_details()[0]["index"], picture[None])
    network.invoke()
    details = network.get_output_details()
    return [network.get_tensor(details[number]["index"]) for number in outputs]


def _crop(image: np.ndarray, to_image: np.ndarray, size: int, border: int) -> np.ndarray:
    """The square picture whose pixels `to_image` maps to the image's. Sampled at pixel centres, which OpenCV has at
    whole numbers."""
    centred = to_image.copy()
    centred[:, 2] += to_image[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(
        image, centred, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border
    ).astype(np.float32)


def _anchors() -> np.ndarray:
    """(2254, 2) where the detector's answers are relative to, 0 to 1."""
    layers = []
    for stride, count in STRIDES.items():
        cells = (np.arange(DETECTOR_SIZE // stride) + 0.5) * stride / DETECTOR_SIZE
        grid = np.stack(np.meshgrid(cells, cells), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, count, axis=0))
    return np.concatenate(layers)


def _distinct(values: np.ndarray, scores: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Weighted non-maximum suppression of detections (N, 6, 2): middle and size of a head box, then four points. One
    of each group that overlaps, its values the mean of the group's by score."""
    found, left = [], np.argsort(-scores, kind="stable")
    low, high = values[:, 0] - values[:, 1] / 2, values[:, 0] + values[:, 1] / 2
    area = values[:, 1].prod(axis=1)
    while len(left):
        best = left[0]
        both = np.clip(np.minimum(high[left], high[best]) - np.maximum(low[left], low[best]), 0, None).prod(axis=1)
        same = both / (area[left] + area[best] - both) > OVERLAP
        same[0] = True
        group = left[same]
        found.append((np.average(values[group], axis=0, weights=scores[group]), float(scores[best])))
        left = left[~same]
    return found


def _refine(points: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Landmarks (39, 2) in the network's pixels, moved to the centre of their heat nearby, where that is sure.

    `heatmap` (S, S, 39) are logits.
    """
    size, reach = heatmap.shape[0], np.arange(-HEATMAP_REACH, HEATMAP_REACH + 1)
    columns, rows = np.floor(points / LANDMARK_SIZE * size).astype(int).T
    near_columns, near_rows = columns[:, None, None] + reach, rows[:, None, None] + reach[:, None]
    inside = (near_columns >= 0) & (near_columns < size) & (near_rows >= 0) & (near_rows < size)
    landmark = np.arange(len(points))[:, None, None]
    logits = heatmap[near_rows.clip(0, size - 1), near_columns.clip(0, size - 1), landmark]
    heat = np.where(inside, _sigmoid(logits), 0.0)
    total = np.maximum(heat.sum(axis=(1, 2)), 1e-12)
    centre = np.stack([(heat * near_columns).sum(axis=(1, 2)), (heat * near_rows).sum(axis=(1, 2))], axis=-1)
    on_map = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    sure = on_map & (heat.max(axis=(1, 2)) >= 0.5)
    return np.where(sure[:, None], centre / total[:, None] / size * LANDMARK_SIZE, points)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values.astype(float), -100, 100)))
