"""The contact sheet: every camera angle of a character at a glance, with what the tracker scored in each."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from pose_factory import files, frames
from pose_factory.errors import PoseFactoryError
from pose_factory.review import text
from pose_factory.review.overlay import COLOURS, TRUTH, Overlay, overlays, skeletons, swatch

BACKGROUND, GREY = (30, 25, 22), (165, 158, 150)  # BGR
TILE = 340  # pixels, the width of a view in the sheet
GAP = 16
TITLE_SIZE, NAME_SIZE, VALUE_SIZE, LABEL_SIZE = 30, 19, 21, 14
HEADLINE = {  # the summary's column: its label, and how its value reads
    "coverage": ("coverage", lambda value: f"{100 * value:.3g} %"),
    "mpjpe_mm": ("MPJPE", lambda value: f"{value:.0f} mm"),
    "pck_10": ("PCK@0.1", lambda value: f"{value:.2f}"),
}


class View(NamedTuple):
    """One tile: a camera angle's name, a frame's number, image (H, W, 3) uint8 BGR and overlay, and the view's metrics.

    metrics has the summary table's names: coverage (0..1), mpjpe_mm, pck_10 (0..1), NaN or None where not measured.
    """

    name: str
    frame: int
    image: np.ndarray
    overlay: Overlay
    metrics: Mapping[str, float]


def middle_view(
    name: str,
    frames_dir: str | Path,
    frame_numbers: Sequence[int],
    ground_truth: pd.DataFrame,
    tracks: pd.DataFrame,
    metrics: Mapping[str, float],
) -> View:
    """The middle frame of a camera angle, from its folder of frames and its tables.

    Raises PoseFactoryError when there is no frame, or the middle one is missing or has no ground truth.
    """
    if not len(frame_numbers):
        raise PoseFactoryError(f"There is no frame in {frames_dir} for the contact sheet; render its view again.")
    number = frame_numbers[len(frame_numbers) // 2]
    overlay = overlays(ground_truth, tracks)(number)
    return View(name, number, frames.read_image(frames.image(frames_dir, number)), overlay, metrics)


def contact_sheet(title: str, views: Sequence[View]) -> np.ndarray:
    """The views in their order as a labelled grid about twice as wide as high (8: four by two), (H, W, 3) uint8 BGR.

    Raises PoseFactoryError when there are no views.
    """
    if not views:
        raise PoseFactoryError(f"There is no camera angle to put on the contact sheet of {title}; render one first.")
    columns, rows = grid(len(views))
    tile_height = max(round(TILE * view.image.shape[0] / view.image.shape[1]) for view in views)
    tile_height = min(tile_height, 2 * TILE)
    label_height = sum(text.line_height(size) for size in (NAME_SIZE, VALUE_SIZE, LABEL_SIZE)) + GAP
    legend = [("ground truth", TRUTH), ("occluded", TRUTH), *COLOURS.items()]
    header, footer = text.line_height(TITLE_SIZE) + 2 * GAP, _legend_height(columns, legend)

    width = GAP + columns * (TILE + GAP)
    sheet = np.empty((header + rows * (tile_height + label_height + GAP) + footer, width, 3), np.uint8)
    sheet[:] = BACKGROUND
    text.write(sheet, text.fit(title, TITLE_SIZE, width - 2 * GAP), (GAP, GAP), TITLE_SIZE, TRUTH)
    for index, view in enumerate(views):
        x = GAP + index % columns * (TILE + GAP)
        y = header + index // columns * (tile_height + label_height + GAP)
        _tile(sheet[y : y + tile_height, x : x + TILE], view)
        _labels(sheet, x, y + tile_height + GAP // 2, view)
    _legend(sheet, sheet.shape[0] - footer, legend)
    return sheet


def grid(count: int) -> tuple[int, int]:
    """Columns and rows for `count` tiles: about two columns a row."""
    rows = max(1, round(sqrt(count / 2)))
    return ceil(count / rows), rows


def write_sheet(path: str | Path, sheet: np.ndarray) -> None:
    """Write the sheet as PNG."""
    with files.atomic(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())


def _tile(tile: np.ndarray, view: View) -> None:
    """Fill the tile with the whole of the view's image, centred, its skeletons drawn at the size shown."""
    height, width = view.image.shape[:2]
    factor = min(tile.shape[0] / height, tile.shape[1] / width)
    size = (round(width * factor), round(height * factor))
    shown = cv2.resize(view.image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    x, y = (tile.shape[1] - size[0]) // 2, (tile.shape[0] - size[1]) // 2
    tile[y : y + size[1], x : x + size[0]] = skeletons(shown, view.overlay.scaled(factor))


def _labels(sheet: np.ndarray, x: int, y: int, view: View) -> None:
    frame = f"frame {view.frame}"
    frame_width = text.width(frame, LABEL_SIZE)
    text.write(sheet, text.fit(view.name, NAME_SIZE, TILE - frame_width - GAP), (x, y), NAME_SIZE, TRUTH)
    baseline = text.line_height(NAME_SIZE) - text.line_height(LABEL_SIZE)
    text.write(sheet, frame, (x + TILE - frame_width, y + baseline), LABEL_SIZE, GREY)
    y += text.line_height(NAME_SIZE) + GAP // 4
    for column, (key, (label, wording)) in enumerate(HEADLINE.items()):
        left = x + column * TILE // len(HEADLINE)
        value = view.metrics[key]
        text.write(sheet, "n/a" if pd.isna(value) else wording(value), (left, y), VALUE_SIZE, TRUTH)
        text.write(sheet, label, (left, y + text.line_height(VALUE_SIZE)), LABEL_SIZE, GREY)


def _legend_width(name: str) -> int:
    return text.width(name, LABEL_SIZE) + LABEL_SIZE + 2 * GAP


def _legend_lines(columns: int, legend: Iterable[tuple]) -> list[list[tuple]]:
    """The legend's entries, broken into lines that fit the sheet."""
    lines, used = [[]], 0
    for entry in legend:
        used += _legend_width(entry[0])
        if lines[-1] and used > columns * (TILE + GAP):
            lines.append([])
            used = _legend_width(entry[0])
        lines[-1].append(entry)
    return lines


def _legend_height(columns: int, legend: Iterable[tuple]) -> int:
    return len(_legend_lines(columns, legend)) * text.line_height(LABEL_SIZE) + GAP


def _legend(sheet: np.ndarray, y: int, legend: Iterable[tuple]) -> None:
    line_height = text.line_height(LABEL_SIZE)
    for line in _legend_lines(sheet.shape[1] // (TILE + GAP), legend):
        x = GAP
        for name, colour in line:
            swatch(sheet, (x, y + line_height / 2), LABEL_SIZE, name, colour)
            text.write(sheet, name, (x + LABEL_SIZE + GAP // 2, y), LABEL_SIZE, colour)
            x += _legend_width(name)
        y += line_height
