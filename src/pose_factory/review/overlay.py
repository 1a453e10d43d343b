"""Skeletons over footage: what is true, what the tracker said of whom, and how it came to say it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pandas as pd
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from pandas.api.typing import DataFrameGroupBy

from pose_factory import files
from pose_factory.errors import PoseFactoryError
from pose_factory.footage import Footage
from pose_factory.review import text
from pose_factory.skeleton import EDGES, INDEX, JOINTS

# BGR, as OpenCV has it.
TRUTH = (255, 255, 255)
COLOURS: dict[str, tuple[int, int, int]] = {
    "detected": (80, 215, 50),
    "redetected": (245, 205, 20),
    "interpolated": (30, 205, 255),
    "predicted": (85, 80, 255),
}
PEOPLE: list[tuple[int, int, int]] = [
    (255, 120, 255),
    (255, 150, 90),
    (0, 150, 255),
    (230, 255, 180),
    (235, 120, 190),
    (150, 195, 240),
]
"""The colours that tell tracks apart, by their ids in turn; none is easily taken for a provenance."""
CASING = (35, 28, 25)  # the dark outline that keeps every line visible on any background
HOLLOW = (1.8, 0.95)  # radii of an occluded joint's ring, in those of a visible joint

# Most trackers do not give all of pelvis, spine and neck: without them the trunk is drawn as COCO's quadrilateral.
_SPINE = [INDEX[name] for name in ("pelvis", "spine", "neck")]
_QUADRILATERAL = [
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
]
_HEAD = [INDEX[name] for name in ("head_top", "nose", "left_eye", "right_eye", "left_ear", "right_ear")]
_SUBPIXEL_BITS = 4
_CLOCK = 90_000  # ticks a second: whole numbers of them at all usual frame rates


class Truth(NamedTuple):
    """One person's true joints in one frame: `uv` (23, 2) pixels, NaN where not annotated, COCO `visibility` (23,)."""

    uv: np.ndarray
    visibility: np.ndarray


class Track(NamedTuple):
    """One tracked person in one frame: `uv` (23, 2) pixels, NaN where there is no joint, and its provenance.

    `track_id` is None where there is nobody to tell the person from.
    """

    uv: np.ndarray
    provenance: str
    track_id: int | None = None


class Overlay(NamedTuple):
    """What is drawn over one frame; footage has no truths."""

    truths: Sequence[Truth]
    tracks: Sequence[Track]

    def scaled(self, factor: float) -> "Overlay":
        """The same over an image resized by `factor`."""
        return Overlay(
            [truth._replace(uv=truth.uv * factor) for truth in self.truths],
            [track._replace(uv=track.uv * factor) for track in self.tracks],
        )


def overlays(ground_truth: pd.DataFrame | None, tracks: pd.DataFrame) -> Callable[[int], Overlay]:
    """What to draw over a frame, by its number, from the two tables; None where there is no ground truth.

    The result raises PoseFactoryError for a frame that the ground truth lacks.
    """
    truths, people = defaultdict(list), defaultdict(list)
    if ground_truth is not None:
        persons, values = _people(ground_truth, "person", ["u", "v", "visibility"])
        for (frame, _), joints in zip(persons.groups, values, strict=True):
            truths[frame].append(Truth(joints[:, :2], np.nan_to_num(joints[:, 2])))
    persons, values = _people(tracks, "track_id", ["u", "v"])
    several = tracks["track_id"].nunique() > 1
    for ((frame, track), provenance), uv in zip(persons["provenance"].first().items(), values, strict=True):
        people[frame].append(Track(uv, provenance, track if several else None))

    def overlay(frame: int) -> Overlay:
        if ground_truth is not None and frame not in truths:
            raise PoseFactoryError(
                f"Frame {frame} was rendered but the ground truth has no rows for it; compute the ground truth again."
            )
        return Overlay(truths[frame], people[frame])

    return overlay


def annotate(image_bgr: np.ndarray, overlay: Overlay, caption: str) -> np.ndarray:
    """A copy of the (H, W, 3) uint8 image with the skeletons, the legend (words in use are bright) and the caption.

    Where there are several tracks, each has its id by the head, and its provenance where it was not detected.
    """
    image = skeletons(image_bgr, overlay)
    height, width = image.shape[:2]
    size = max(10, round(min(height, width) / 34))
    margin = size // 2
    line = text.line_height(size)

    _shade(image, 0, 0, width, line + margin)
    text.write(image, text.fit(caption, size, width - 2 * margin), (margin, margin // 2), size, TRUTH)

    provenances = {track.provenance for track in overlay.tracks}
    rows = [("ground truth", TRUTH), ("occluded", TRUTH)] if overlay.truths else []
    rows += [
        (name, colour if name in provenances else tuple(70 + round(channel * 0.4) for channel in colour))
        for name, colour in COLOURS.items()
    ]
    if not provenances:
        rows.append(("not tracked", TRUTH))
    top = height - margin - line * len(rows)
    _shade(image, 0, top - margin, 3 * margin + size + max(text.width(name, size) for name, _ in rows), height)
    for index, (name, colour) in enumerate(rows):
        y = top + index * line
        swatch(image, (margin, y + line / 2), size, name, colour)
        text.write(image, name, (2 * margin + size, y), size, colour)
    for track in overlay.tracks:
        if track.track_id is not None:
            _name(image, track, size)
    return image


def skeletons(image_bgr: np.ndarray, overlay: Overlay) -> np.ndarray:
    """A copy of the (H, W, 3) uint8 image with the skeletons alone: tracks as bands, the truth thin on top of them.

    True joints that are occluded (visibility 1) are hollow, those that are not labelled (0) have no dot.
    """
    image = np.ascontiguousarray(image_bgr).copy()
    scale = min(image.shape[:2])
    band, thin, casing = max(3, round(scale / 140)), max(1, round(scale / 360)), max(1, round(scale / 500))
    joint, true_joint = band * 1.15, max(1.5, thin * 1.5)
    true_joints = [
        (
            truth.uv,
            np.where((truth.visibility > 0)[:, None], truth.uv, np.nan),
            np.where((truth.visibility == 1)[:, None], truth.uv, np.nan),
        )
        for truth in overlay.truths
    ]

    # All casings first: a casing around the thin lines would otherwise hide the bands that they agree with.
    for uv, labelled, occluded in true_joints:
        _bones(image, uv, CASING, thin + 2 * casing)
        _dots(image, labelled, CASING, true_joint + casing)
        _dots(image, occluded, CASING, true_joint * HOLLOW[0] + casing)
    for track in overlay.tracks:
        _bones(image, track.uv, CASING, band + 2 * casing)
        _dots(image, track.uv, CASING, joint + casing)
    for track in overlay.tracks:
        _bones(image, track.uv, COLOURS[track.provenance], band)
        _dots(image, track.uv, _colour(track), joint)
    for uv, labelled, occluded in true_joints:
        _bones(image, uv, TRUTH, thin)
        _dots(image, labelled, TRUTH, true_joint)
        _dots(image, occluded, TRUTH, true_joint * HOLLOW[0])
        _dots(image, occluded, CASING, true_joint * HOLLOW[1])
    return image


def swatch(
    image: np.ndarray, left_middle: tuple[float, float], size: int, name: str, colour: tuple[int, int, int]
) -> None:
    """A legend's key in place, `size` pixels wide from `left_middle` (x, y): a bone and joint, a ring, or nothing."""
    x, y = left_middle
    ends = np.array([[x, y], [x + size, y]])
    middle, radius = ends.mean(axis=0, keepdims=True), size / 4.5
    if name == "occluded":
        _dots(image, middle, colour, radius * 1.3)
        _dots(image, middle, CASING, radius * 0.8)
    elif name != "not tracked":
        cv2.line(image, *_fixed(ends), colour, max(1, round(size / 7)), cv2.LINE_AA, _SUBPIXEL_BITS)
        _dots(image, middle, colour, radius)


def write_video(
    path: str | Path, footage: Footage, ground_truth: pd.DataFrame | None, tracks: pd.DataFrame, caption: str
) -> None:
    """Write the annotated footage as an H.264 MP4 that browsers play, frame by frame; the same input, the same bytes.

    Each frame is shown when the footage has it, so that a film of every n-th frame plays at the motion's speed, too.
    The tables are the footage's: tracks may be empty, ground_truth is None where there is none; `caption` is shown with
    the frame's number. An odd width or height is padded by one pixel, since 4:2:0 video has no odd ones.
    Raises PoseFactoryError when a frame has no ground truth, and for what the footage raises.
    """
    overlay = overlays(ground_truth, tracks)
    images = (
        (
            footage.times[number],
            annotate(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), overlay(number), f"{caption} · frame {number}"),
        )
        for number, image in footage
    )
    with files.atomic(path) as temporary:
        _encode(temporary, images, footage.fps)


def _encode(path: Path, images: Iterable[tuple[float, np.ndarray]], fps: float) -> None:
    """Write (H, W, 3) uint8 BGR images, each shown from a time in seconds, about `fps` a second."""
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        # One thread: the bytes would otherwise depend on the number of cores. A key frame a second: quick seeking.
        options = {"crf": "18", "preset": "veryfast", "threads": "1", "g": str(max(1, round(fps)))}
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK)
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        shown, lasts = 0, round(_CLOCK / fps)
        for index, (time, image) in enumerate(images):
            even = np.pad(image, [(0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)], mode="edge")
            if index == 0:
                stream.height, stream.width = even.shape[:2]
            else:
                before, shown = shown, max(round(time * _CLOCK), shown + 1)
                lasts = shown - before
            frame = av.VideoFrame.from_ndarray(even, format="bgr24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = shown, Fraction(1, _CLOCK)
            container.mux(stream.encode(frame))
        for packet in stream.encode(None):
            packet.duration = lasts  # the last frame's, which no other follows: as long as the one before it
            container.mux(packet)


def _people(table: pd.DataFrame, key: str, columns: list[str]) -> tuple[DataFrameGroupBy, np.ndarray]:
    """The table by frame and person, sorted, and of each its `columns` by joint, (N, 23, C), NaN where it has none."""
    persons = table.groupby(["frame", key])
    values = np.full((persons.ngroups, len(JOINTS), len(columns)), np.nan)
    values[persons.ngroup(), table["joint"].map(INDEX)] = table[columns]
    return persons, values


def _colour(track: Track) -> tuple[int, int, int]:
    """Of a track's joints: its own, or its provenance's where there is nobody to tell it from."""
    return COLOURS[track.provenance] if track.track_id is None else PEOPLE[track.track_id % len(PEOPLE)]


def _name(image: np.ndarray, track: Track, size: int) -> None:
    """Write the track's id above its head, inside the image; nothing where none of its joints is."""
    height, width = image.shape[:2]
    if not ((track.uv >= 0) & (track.uv < [width, height])).all(axis=1).any():
        return
    head = track.uv[_HEAD] if np.isfinite(track.uv[_HEAD]).any() else track.uv
    name = f"{track.track_id}" if track.provenance == "detected" else f"{track.track_id} {track.provenance}"
    wide, high = text.width(name, size) + size // 2, text.line_height(size)
    x = round(np.clip(np.nanmean(head[:, 0]) - wide / 2, 0, max(width - wide, 0)))
    y = round(np.clip(np.nanmin(head[:, 1]) - size - high, 0, max(height - high, 0)))
    _shade(image, x, y, x + wide, y + high)
    text.write(image, name, (x + size // 4, y), size, _colour(track))


def _bones(image: np.ndarray, uv: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    edges = EDGES + (_QUADRILATERAL if np.isnan(uv[_SPINE]).any() else [])
    drawable = _drawable(image, uv)
    for start, end in ((INDEX[a], INDEX[b]) for a, b in edges):
        if drawable[start] and drawable[end]:
            cv2.line(image, *_fixed(uv[[start, end]]), colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _dots(image: np.ndarray, uv: np.ndarray, colour: tuple[int, int, int], radius: float) -> None:
    for centre in _fixed(uv[_drawable(image, uv)]):
        cv2.circle(image, centre, round(radius * 2**_SUBPIXEL_BITS), colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _drawable(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Which of the joints (n, 2) are known and near enough to the image for OpenCV's fixed point numbers."""
    return (np.abs(uv) < 16 * max(image.shape)).all(axis=1)


def _fixed(uv: np.ndarray) -> list[tuple[int, int]]:
    """Pixels (n, 2) as OpenCV's fixed point numbers; its (0, 0) is the centre of the first pixel, ours the corner."""
    return [tuple(point) for point in np.rint((uv - 0.5) * 2**_SUBPIXEL_BITS).astype(int).tolist()]


def _shade(image: np.ndarray, x_min: int, y_min: int, x_max: int, y_max: int) -> None:
    region = image[max(y_min, 0) : y_max, x_min:x_max]
    region[:] = region * 0.25 + np.array(CASING) * 0.6
