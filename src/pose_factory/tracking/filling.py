"""Placing a person in the frames in which nobody saw them: between two in which they were seen, and beyond them.

One motion model serves both (see `regression`): it carries on what was seen, damped, and joins what was seen on either
side. It works on rotation vectors, relative to the rotation midway across the gap, on metres for the translation and on
the shape; the body is put together again from these, and projected. Frames count as footage does; a `Track` given here
holds only frames in which the person was seen, except in `missing`.

`assemble` is the backend's, `size` the images' (width, height) in pixels. PoseFactoryError is raised for a track
without a frame or with values that are not finite.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.errors import PoseFactoryError
from pose_factory.tracking import camera
from pose_factory.tracking.people import INTERPOLATED, PREDICTED, Pose, Track, bounds
from pose_factory.tracking.regression import regress

WINDOW = 24
"""So many seen frames on either side of a gap say how the person moves across it; beyond an end, twice as many."""
HALF_LIVES = {INTERPOLATED: 10.0, PREDICTED: 5.0}
"""Confidence halves with every so many frames of distance to the nearest frame in which the person was seen."""
LEAST_TRUST = 0.05
"""A frame is trusted as far as its joints' mean confidence, but not less than this."""

KEPT = 0.5
"""At the ends of a gap the motion model misses what was seen by what it takes for noise. Trackers' errors last for
several frames, so this share of the miss is carried into the gap: better than none or all of it, on MediaPipe's tracks
and with white noise."""

Assemble = Callable[[np.ndarray, np.ndarray], np.ndarray]


def missing(
    track: Track, frames: Sequence[int], interpolated_limit: int | None = None, predicted_limit: int | None = None
) -> np.ndarray:
    """Those of `frames` that `track` lacks and that may be filled, in increasing order.

    Between two of its frames: where no more than `interpolated_limit` frame numbers lie between them. Before the first
    and after the last: up to `predicted_limit` frame numbers away. None is no limit.
    """
    _check(track)
    lacking = np.setdiff1d(np.asarray(frames, dtype=int), track.frames)
    after = np.searchsorted(track.frames, lacking)
    previous, following = track.frames[np.maximum(after - 1, 0)], track.frames[np.minimum(after, len(track) - 1)]
    inside = (after > 0) & (after < len(track))
    limit = np.where(inside, _limit(interpolated_limit), _limit(predicted_limit))
    extent = np.where(inside, following - previous - 1, np.minimum(abs(lacking - previous), abs(lacking - following)))
    return lacking[extent <= limit]


def interpolate(track: Track, frames: Sequence[int], assemble: Assemble, size: tuple[int, int]) -> Track:
    """The person in `frames`, all of them between the first and the last of `track`; provenance "interpolated".

    Pixels are the body's projection, plus how far the pixels seen at both ends of the gap lie from the model's, blended
    linearly; so they join what was seen without a step. The box is carried alike.
    """
    return _place(track, frames, assemble, size, INTERPOLATED)


def predict(track: Track, frames: Sequence[int], assemble: Assemble, size: tuple[int, int]) -> Track:
    """The person in `frames`, all of them before the first or after the last of `track`; provenance "predicted".

    Given a track that ends in the past, what it says of the future is causal. Pixels and box keep their distance to the
    model's at that end.
    """
    return _place(track, frames, assemble, size, PREDICTED)


def interpolate_boxes(track: Track, frames: Sequence[int]) -> np.ndarray:
    """(M, 4) where to look for the person in each of `frames`, between and beyond those of `track`, pixels.

    The boxes' centres and the logarithms of their sides are carried on as the motion model has it.
    """
    _check(track)
    wanted, places = np.unique(np.asarray(frames, dtype=int), return_inverse=True)
    corners = track.box.reshape(-1, 2, 2)
    sides = np.log(np.maximum(corners[:, 1] - corners[:, 0], 1.0))
    values = np.hstack([corners.mean(axis=1), sides])
    boxes = np.empty((len(wanted), 4))
    for rows, at, _ in _gaps(track, wanted):
        found = regress(track.frames[rows], values[rows], _trust(track)[rows], wanted[at])
        half = np.exp(found[:, 2:]) / 2
        boxes[at] = np.hstack([found[:, :2] - half, found[:, :2] + half])
    return boxes[places]


def _place(track: Track, frames: Sequence[int], assemble: Assemble, size: tuple[int, int], provenance: str) -> Track:
    _check(track)
    wanted = np.unique(np.asarray(frames, dtype=int))
    inside = (wanted > track.frames[0]) & (wanted < track.frames[-1])
    if (inside != (provenance == INTERPOLATED)).any() or np.isin(wanted, track.frames).any():
        raise PoseFactoryError(
            f"Frames {wanted[0]} to {wanted[-1]} cannot all be {provenance} from a track seen in frames "
            f"{track.frames[0]} to {track.frames[-1]}; between seen frames interpolate, beyond them predict."
        )
    empty = np.zeros(len(wanted), dtype=int)
    placed = {field.name: getattr(track, field.name)[empty] for field in fields(Pose)}
    for rows, at, ends in _gaps(track, wanted):
        for name, values in _across(track, rows, ends, wanted[at], assemble, size, HALF_LIVES[provenance]).items():
            placed[name][at] = values
    return Track(frames=wanted, provenance=np.full(len(wanted), provenance, dtype=object), **placed)


def _across(
    track: Track, rows: slice, ends: tuple[int, int], at: np.ndarray, assemble: Assemble, size, half_life: float
) -> dict[str, np.ndarray]:
    """The fields of Pose at the frames `at` of one gap between the rows `ends`, from what `rows` saw."""
    times = np.concatenate([at, track.frames[list(ends)]])  # at the ends too, to see what the model leaves of them
    first, last = track.frames[list(ends)]

    def blend(values: np.ndarray, times: np.ndarray) -> np.ndarray:
        """From (2, ...) at the ends to (M, ...) at `times`."""
        late = ((times - first) / max(last - first, 1)).reshape(-1, *[1] * (values.ndim - 1))
        return (1 - late) * values[0] + late * values[1]

    rotations, translation, shape = _model(track[rows], track.rotations[list(ends)], _trust(track)[rows], times)
    miss = Rotation.from_matrix((rotations[-2:].swapaxes(-1, -2) @ track.rotations[list(ends)]).reshape(-1, 3, 3))
    turns = blend(KEPT * miss.as_rotvec().reshape(2, -1, 3), times)
    rotations @= Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(rotations.shape)
    translation += blend(KEPT * (track.translation[list(ends)] - translation[-2:]), times)
    shape += blend(KEPT * (track.shape[list(ends)] - shape[-2:]), times)
    joints = assemble(rotations, shape)
    projected = camera.project(joints, translation, *size)
    pixels = projected[:-2] + blend(track.pixels[list(ends)] - projected[-2:], at)
    box = bounds(pixels) + blend(track.box[list(ends)] - bounds(track.pixels[list(ends)]), at)
    nearer = np.where(abs(at - first) <= abs(at - last), *ends)
    faded = 0.5 ** (abs(at - track.frames[nearer]) / half_life)
    return {
        "box": box,
        "score": blend(track.score[list(ends)], at) * faded,
        "pixels": pixels,
        "joints": joints[:-2],
        "confidence": blend(track.confidence[list(ends)], at) * faded[:, None],
        "translation": translation[:-2],
        "rotations": rotations[:-2],
        "shape": shape[:-2],
        "appearance": track.appearance[nearer],
    }


def _model(seen: Track, ends: np.ndarray, trust: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rotations, translation and shape at `times`, the last two of which are the gap's ends, with rotations `ends`
    (2, K, 3, 3), from the frames `seen` about it."""
    turns = Rotation.from_matrix(ends[0].swapaxes(-1, -2) @ ends[1]).as_rotvec()
    midway = ends[0] @ Rotation.from_rotvec(turns / 2).as_matrix()
    relative = midway.swapaxes(-1, -2) @ seen.rotations
    count, bones = relative.shape[:2]
    vectors = Rotation.from_matrix(relative.reshape(-1, 3, 3)).as_rotvec().reshape(count, bones, 3)
    nearest = int(np.argmin(np.abs(seen.frames - times[:-2].mean())))
    vectors = _unwrapped(vectors, nearest).reshape(count, -1)
    found = regress(seen.frames, np.hstack([vectors, seen.translation, seen.shape]), trust, times)
    vectors, translation, shape = np.split(found, [3 * bones, 3 * bones + 3], axis=1)
    rotations = midway @ Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(-1, bones, 3, 3)
    return rotations, translation, shape


def _unwrapped(vectors: np.ndarray, start: int) -> np.ndarray:
    """Rotation vectors (N, K, 3) with whole turns added, so that from row `start` on, both ways, they do not jump."""
    vectors = vectors.copy()
    for rows, back in ((range(start + 1, len(vectors)), 1), (range(start - 1, -1, -1), -1)):
        for row in rows:
            angle = np.linalg.norm(vectors[row], axis=-1, keepdims=True)
            axis = vectors[row] / np.maximum(angle, 1e-12)
            before = (vectors[row - back] * axis).sum(axis=-1, keepdims=True)
            vectors[row] += 2 * np.pi * np.round((before - angle) / (2 * np.pi)) * axis
    return vectors


def _gaps(track: Track, wanted: np.ndarray) -> Iterator[tuple[slice, np.ndarray, tuple[int, int]]]:
    """For each gap of `track` with some of the sorted frames `wanted`: the rows about it, which of `wanted` lie in it,
    and the rows at its two ends, the same one twice beyond the track's own end."""
    after = np.searchsorted(track.frames, wanted)
    for row in np.unique(after):
        at = np.flatnonzero(after == row)
        if row == 0:
            yield slice(0, 2 * WINDOW), at, (0, 0)
        elif row == len(track):
            yield slice(max(row - 2 * WINDOW, 0), row), at, (row - 1, row - 1)
        else:
            yield slice(max(row - WINDOW, 0), row + WINDOW), at, (row - 1, row)


def _trust(track: Track) -> np.ndarray:
    return np.clip(track.confidence.mean(axis=1), LEAST_TRUST, 1.0)


def _limit(frames: int | None) -> float:
    return np.inf if frames is None else frames


def _check(track: Track) -> None:
    if not len(track):
        raise PoseFactoryError("A track without a frame cannot be filled; leave it out.")
    for field in fields(Pose):
        finite = np.isfinite(getattr(track, field.name)).reshape(len(track), -1).all(axis=1)
        if not finite.all():
            raise PoseFactoryError(
                f"Frame {track.frames[np.argmin(finite)]} of a track has a {field.name} that is not finite; leave the "
                "frame out and let it be filled."
            )
