"""The sheet of all motions: a strip of moments of each, with its name.

Drawn triangle by triangle, furthest first, which takes a second a motion, where a rendering would take half a minute.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pose_factory.bodies import library
from pose_factory.bodies.anny_body import Body, skin
from pose_factory.bodies.kinematics import leg_length
from pose_factory.bodies.motion import animate, forward_kinematics
from pose_factory.bodies.performing import ADULT_LEG
from pose_factory.review import text
from pose_factory.review.overlay import TRUTH
from pose_factory.review.sheet import BACKGROUND, GAP, GREY, LABEL_SIZE, NAME_SIZE

COLUMNS, MOMENTS = 3, 5
TILE = 128  # pixels, width and height of a moment
FINER = 2  # times that it is drawn larger
AZIMUTH, ELEVATION = 40.0, 12.0  # degrees that the camera is to the body's left, and above it
NATURAL = 2.0  # seconds shown of the motions that are not in the library
FLOOR, WALL, SHADOW = (196, 200, 202), (226, 228, 230), 0.78
SKIN = (134, 168, 206)  # BGR, as all
ZONES = {"top": (150, 108, 58), "bottom": (66, 60, 58), "shoes": (214, 220, 224), "hair": (34, 42, 52)}


def motion_sheet(body: Body, names: Sequence[str]) -> np.ndarray:
    """The motions called `names` on a body, in columns, each with what it shows and how long it takes an adult:
    (H, W, 3) uint8 BGR."""
    label = text.line_height(NAME_SIZE)
    rows = -(-len(names) // COLUMNS)
    width = MOMENTS * TILE
    sheet = np.empty((GAP + rows * (TILE + label + GAP), GAP + COLUMNS * (width + GAP), 3), np.uint8)
    sheet[:] = BACKGROUND
    for index, name in enumerate(names):
        x, y = GAP + index // rows * (width + GAP), GAP + index % rows * (TILE + label + GAP)
        sheet[y : y + TILE, x : x + width] = strip(body, moments(body, name))
        text.write(sheet, name, (x, y + TILE), NAME_SIZE, TRUTH)
        left = text.width(name, NAME_SIZE) + GAP
        baseline = text.line_height(NAME_SIZE) - text.line_height(LABEL_SIZE)
        about = text.fit(_about(name), LABEL_SIZE, width - left)
        text.write(sheet, about, (x + left, y + TILE + baseline), LABEL_SIZE, GREY)
    return sheet


def moments(body: Body, name: str) -> np.ndarray:
    """The skin (N, V, 3) at MOMENTS moments of a motion, evenly spread over it; at one of a pose."""
    score = library.scores().get(name)
    if score is not None and score.held:
        motion = animate(name, body, 1, 1.0)
    else:
        seconds = (score.seconds if score else NATURAL) * np.sqrt(leg_length(body) / ADULT_LEG)
        gaps = MOMENTS if score is None or score.loops else MOMENTS - 1
        motion = animate(name, body, MOMENTS, gaps / seconds)
    return skin(body, *forward_kinematics(body, motion))


def strip(body: Body, poses: np.ndarray) -> np.ndarray:
    """Poses (N, V, 3) beside each other, each in the middle of its tile, all at one scale: (TILE, MOMENTS * TILE, 3)
    uint8 BGR. A single one is in the middle."""
    turn, lift = np.radians(AZIMUTH), np.radians(ELEVATION)
    right = np.array([np.cos(turn), np.sin(turn), 0.0])
    ahead = np.array([-np.sin(turn) * np.cos(lift), np.cos(turn) * np.cos(lift), -np.sin(lift)])
    up = np.cross(right, ahead)
    extents = np.ptp(poses @ np.stack([right, up], axis=1), axis=1).max(axis=0)
    scale = 0.84 * FINER * TILE / max(*extents, poses[..., 2].max(), 0.7 * np.ptp(body.vertices[:, 2]))
    size = FINER * TILE
    image = np.empty((size, MOMENTS * size, 3), np.uint8)
    image[:] = WALL
    ground = 0.92 * size
    image[int(ground - 0.18 * size) :] = FLOOR
    for index, pose in enumerate(poses):
        middle = (pose.min(axis=0) + pose.max(axis=0)) / 2 * [1, 1, 0]
        column = size * (index + (MOMENTS - len(poses)) / 2 + 0.5)

        def seen(points, middle=middle, column=column):
            offset = points - middle
            return np.stack([column + scale * (offset @ right), ground - scale * (offset @ up)], axis=-1)

        _shadow(image, seen(pose * [1, 1, 0])[body.faces])
        _paint(image, body, pose, seen(pose), ahead)
    return cv2.resize(image, (MOMENTS * TILE, TILE), interpolation=cv2.INTER_AREA)


def _shadow(image: np.ndarray, triangles: np.ndarray) -> None:
    mask = np.zeros(image.shape[:2], np.uint8)
    for triangle in np.rint(16 * triangles[::2]).astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 1, shift=4)
    image[mask > 0] = np.rint(image[mask > 0] * SHADOW)


def _paint(image: np.ndarray, body: Body, pose: np.ndarray, pixels: np.ndarray, ahead: np.ndarray) -> None:
    """Draw the triangles that face the camera, which looks along `ahead`."""
    corners = pose[body.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    facing = -normals @ ahead
    colours = np.tile(np.array(SKIN, float), (len(body.faces), 1))
    for zone, colour in ZONES.items():
        colours[body.zones[zone][body.faces].mean(axis=1) > 0] = colour
    colours *= np.clip(0.45 + 0.45 * facing + 0.2 * normals[:, 2], 0.25, 1.15)[:, None]
    order = np.argsort(-(corners.mean(axis=1) @ ahead))
    triangles = np.rint(16 * pixels[body.faces]).astype(np.int32)
    for index in order[facing[order] > 0]:
        cv2.fillConvexPoly(image, triangles[index], np.minimum(colours[index], 255).tolist(), shift=4)


def _about(name: str) -> str:
    score = library.scores().get(name)
    if score is None:
        return ""
    return score.about if score.held else f"{score.seconds:g} s. {score.about}"
