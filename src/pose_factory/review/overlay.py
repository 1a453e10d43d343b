"""Skeletons over the rendered frames: what is true, what the tracker said, and how it came to say it."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pandas as pd
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from pose_factory import files, frames
from pose_factory.errors import PoseFactoryError
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
_SUBPIXEL_BITS = 4


class Track(NamedTuple):
    """One tracked person in one frame: `uv` (23, 2) pixels, NaN where there is no joint, and its provenance."""

    uv: np.ndarray
    provenance: str


class Overlay(NamedTuple):
    """What is drawn over one frame: the true joints (23, 2) in pixels, their COCO visibility (23,), and the tracks."""

    gt_uv: np.ndarray
    gt_visibility: np.ndarray
    tracks: Sequence[Track]

    def scaled(self, factor: float) -> "Overlay":
        """The same over an image resized by `factor`."""
        tracks = [Track(track.uv * factor, track.provenance) for track in self.tracks]
        return Overlay(self.gt_uv * factor, self.gt_visibility, tracks)


def overlays(ground_truth: pd.DataFrame, tracks: pd.DataFrame, frame_numbers: Iterable[int]) -> Iterator[Overlay]:
    """What to draw over each of `frame_numbers`, from the two tables.

    Raises PoseFactoryError when the ground truth lacks one of the frames.
    """
    truth_rows = dict(iter(ground_truth.groupby("frame")))
    track_rows = {frame: list(rows.groupby("track_id")) for frame, rows in tracks.groupby("frame")}
    for number in frame_numbers:
        if number not in truth_rows:
            raise PoseFactoryError(
                f"Frame {number} was rendered but the ground truth has no rows for it; compute the ground truth again."
            )
        visibility = truth_rows[number].set_index("joint")["visibility"].reindex(JOINTS, fill_value=0).to_numpy()
        people = [Track(_pixels(rows), rows["provenance"].iloc[0]) for _, rows in track_rows.get(number, [])]
        yield Overlay(_pixels(truth_rows[number]), visibility, people)


def annotate(image_bgr: np.ndarray, overlay: Overlay, caption: str) -> np.ndarray:
    """A copy of the (H, W, 3) uint8 image with the skeletons, the legend (words in use are bright) and the caption."""
    image = skeletons(image_bgr, overlay)
    height, width = image.shape[:2]
    size = max(10, round(min(height, width) / 34))
    margin = size // 2
    line = text.line_height(size)

    _shade(image, 0, 0, width, line + margin)
    text.write(image, text.fit(caption, size, width - 2 * margin), (margin, margin // 2), size, TRUTH)

    provenances = {track.provenance for track in overlay.tracks}
    rows = [("ground truth", TRUTH), ("occluded", TRUTH)]
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
    return image


def skeletons(image_bgr: np.ndarray, overlay: Overlay) -> np.ndarray:
    """A copy of the (H, W, 3) uint8 image with the skeletons alone: tracks as bands, the truth thin on top of them.

    True joints that are occluded (visibility 1) are hollow, those that are not labelled (0) have no dot.
    """
    image = np.ascontiguousarray(image_bgr).copy()
    scale = min(image.shape[:2])
    band, thin, casing = max(3, round(scale / 140)), max(1, round(scale / 360)), max(1, round(scale / 500))
    labelled = np.where((overlay.gt_visibility > 0)[:, None], overlay.gt_uv, np.nan)
    occluded = np.where((overlay.gt_visibility == 1)[:, None], overlay.gt_uv, np.nan)
    joint, true_joint = band * 1.15, max(1.5, thin * 1.5)

    # All casings first: a casing around the thin lines would otherwise hide the bands that they agree with.
    _bones(image, overlay.gt_uv, CASING, thin + 2 * casing)
    _dots(image, labelled, CASING, true_joint + casing)
    _dots(image, occluded, CASING, true_joint * HOLLOW[0] + casing)
    for uv, _ in overlay.tracks:
        _bones(image, uv, CASING, band + 2 * casing)
        _dots(image, uv, CASING, joint + casing)
    for uv, provenance in overlay.tracks:
        _bones(image, uv, COLOURS[provenance], band)
        _dots(image, uv, COLOURS[provenance], joint)
    _bones(image, overlay.gt_uv, TRUTH, thin)
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
    path: str | Path,
    frames_dir: str | Path,
    frame_numbers: Sequence[int],
    fps: float,
    ground_truth: pd.DataFrame,
    tracks: pd.DataFrame,
    caption: str,
) -> None:
    """Write the annotated frames as an H.264 MP4 that browsers play, a frame at a time; the same input, the same bytes.

    `fps` is frame numbers per second: a film of every n-th frame shows fps / n images a second, at the motion's speed.
    ground_truth and tracks are the view's tables (tracks may be empty); `caption` is shown with the frame's number.
    An odd width or height is padded by one pixel, since 4:2:0 video has no odd ones.
    Raises PoseFactoryError when there is no frame, or one is missing, differs in size or has no ground truth.
    """
    if not len(frame_numbers):
        raise PoseFactoryError(f"There is no frame in {frames_dir} to make {path} from; render its view again.")

    def images() -> Iterator[np.ndarray]:
        shape = None
        for number, overlay in zip(frame_numbers, overlays(ground_truth, tracks, frame_numbers), strict=True):
            image = frames.read_image(frames.image(frames_dir, number))
            shape = shape or image.shape
            if image.shape != shape:
                raise PoseFactoryError(
                    f"{frames.image(frames_dir, number)} is {image.shape[1]} x {image.shape[0]} pixels, the frames "
                    f"before it {shape[1]} x {shape[0]}; render its view again."
                )
            yield annotate(image, overlay, f"{caption} · frame {number}")

    step = np.median(np.diff(frame_numbers)) if len(frame_numbers) > 1 else 1
    with files.atomic(path) as temporary:
        _encode(temporary, images(), fps / step)


def _encode(path: Path, images: Iterator[np.ndarray], fps: float) -> None:
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        # One thread: the bytes would otherwise depend on the number of cores. A key frame a second: quick seeking.
        options = {"crf": "18", "preset": "veryfast", "threads": "1", "g": str(max(1, round(fps)))}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        for index, image in enumerate(images):
            even = np.pad(image, [(0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)], mode="edge")
            if index == 0:
                stream.height, stream.width = even.shape[:2]
            frame = av.VideoFrame.from_ndarray(even, format="bgr24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _pixels(rows: pd.DataFrame) -> np.ndarray:
    """(23, 2) pixels in the canonical order from one person's rows."""
    return rows.set_index("joint")[["u", "v"]].reindex(JOINTS).to_numpy(float)


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
