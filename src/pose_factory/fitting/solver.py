"""The least-squares problem of a body over time, and its solution by Gauss-Newton with everything that it couples.

Unknowns are, for each frame, where the root is and how the bones of the prior and the root turn, D of them, and the
phenotype, which all frames share. Turns are changed by small rotations in the axes of the bone's parent, so there is no
chart to leave. Frames hang together by second differences, so the normal equations are a band three blocks wide, which
Cholesky's method solves, bordered by the phenotype's columns, which Schur's complement takes out; the phenotype's step
is kept within its bounds.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from pose_factory.bodies.anny_body import PHENOTYPES
from pose_factory.fitting.landmarks import Landmarks
from pose_factory.fitting.model import skeleton
from pose_factory.fitting.prior import LARGEST, SMALLEST, pose_prior

S = len(PHENOTYPES) + 1
TOLERANCE = 1e-4
"""Of the cost: a step that gains less is the last."""
DEEPER = 0.3
"""Logarithm of the depth a metre: a person is about three away."""
FARTHEST = 0.8
"""Radians."""
SWEEPS = 100
SMALLEST_GROWTH = 1e-6
"""Of any part of a shape; what is less is nothing, so that a shape that is known stays the same to the last bit."""
NEAREST = 0.2
"""Nothing of a body is nearer to the camera than this fraction of the root's distance: it would be behind it."""


@dataclass(frozen=True)
class Weights:
    """What the terms of the objective weigh: one over these is their standard deviation's."""

    world: tuple[float, float, float] = (0.08, 0.08, 0.15)  # metres across and along the line of sight
    image: tuple[float, float] = (0.015, 0.015)  # metres at the body
    pose: float = 1.0
    limit: float = 3.0  # degrees
    turning: float = 30.0  # radians per second^2
    moving: float = 5.0  # metres per second^2
    robust: float = 3.0  # standard deviations, from where on a joint counts less and less (Geman & McClure 1987)


@dataclass(frozen=True)
class State:
    """A body over N frames: turns (N, B, 3, 3) of Skeleton.bones, each in its parent's axes, the root's in the
    camera's; root (N, 3), metres, the root's head in the camera's frame; shape (7,), the phenotype and the logarithm of
    how much larger than life the tracker's metres show it."""

    turns: np.ndarray
    root: np.ndarray
    shape: np.ndarray

    @property
    def phenotype(self) -> np.ndarray:
        """(6,)."""
        return self.shape[: len(PHENOTYPES)]


@dataclass(frozen=True)
class Seen:
    """What was seen of K joints in N frames.

    world (N, K, 3) metres, relative to the midpoint of the hips, in axes that `view` (N, 3, 3) turns the camera's into,
    z towards the person; pixels (N, K, 2) relative to the principal point; trust (N, K), 1 for a joint that is plainly
    seen; landmarks says what the joints are; focal, in pixels; scale (N,) metres a pixel at the body; linked (N,)
    whether a frame comes evenly after its two predecessors; step, in seconds.
    """

    world: np.ndarray
    view: np.ndarray
    pixels: np.ndarray
    trust: np.ndarray
    landmarks: Landmarks
    focal: float
    scale: np.ndarray
    linked: np.ndarray
    step: float


@dataclass
class Normal:
    """Normal equations about a state: cost; H (N, D, D) and g (N, D), the frames' own; border (N, D, 7) between them
    and the shape; the shape's own corner (7, 7) and side (7,); link (D,), what the unknowns' second differences
    weigh."""

    cost: float
    H: np.ndarray
    g: np.ndarray
    border: np.ndarray
    corner: np.ndarray
    side: np.ndarray
    link: np.ndarray


@dataclass(frozen=True)
class Belief:
    """What is known of the shape apart from these frames: its mean (7,) and information (7, 7)."""

    mean: np.ndarray
    information: np.ndarray


@dataclass(frozen=True)
class Anchor:
    """Where the body is expected in a single frame, and with which weight (D,) on each unknown, one over its
    variance."""

    state: State
    weight: np.ndarray


def free() -> np.ndarray:
    """(1 + F,) the bones that turn: the root, and those of the prior."""
    return np.concatenate([[0], pose_prior().bones])


def place(state: State, landmarks: Landmarks, derivatives: bool = True):
    """Where the landmarks (N, M, 3) are, relative to the root's head, and their derivatives by the turns
    (N, M, 3, 3 * (1 + F)) and by the phenotype (N, M, 3, 6)."""
    body = skeleton()
    rest, slopes = body.points(state.phenotype)
    rest = np.concatenate([rest[..., None], slopes], axis=-1) if derivatives else rest[..., None]
    turned, points = body.pose(state.turns, rest)
    holders = landmarks.holders
    local = landmarks.rest(rest) - rest[holders]
    found = points[:, holders] + turned[:, holders] @ local
    if not derivatives:
        return found[..., 0]
    bones = free()
    parents = body.parents[bones]
    above = np.where((parents < 0)[:, None, None], np.eye(3), turned[:, parents])
    arm = found[..., 0][:, :, None] - points[..., 0][:, None, bones]
    arm = arm * landmarks.moved[bones].T[:, :, None]
    turning = np.cross(above.swapaxes(-1, -2)[:, None], arm[:, :, :, None, :])  # (N, M, F, 3 axes, 3)
    return found[..., 0], turning.reshape(*turning.shape[:2], -1, 3).swapaxes(-1, -2), found[..., 1:]


def normal(state: State, seen: Seen, belief: Belief, weights: Weights, anchor: Anchor | None = None) -> Normal:
    """The normal equations of all terms."""
    prior = pose_prior()
    N, K = seen.trust.shape
    F = len(prior.bones)
    D = 3 + 3 * (1 + F)
    found, turning, growing = place(state, seen.landmarks)
    by = np.concatenate([np.zeros((N, 2 * K, 3, 3)), turning, growing, np.zeros((N, 2 * K, 3, 1))], axis=-1)
    # landmarks in space
    hips = list(seen.landmarks.hips)
    inner, outer = found[:, :K], found[:, K:]
    gap_by = np.exp(state.shape[-1]) * (by[:, :K] - by[:, hips].mean(1, keepdims=True))
    gap_by[..., -1] = np.exp(state.shape[-1]) * (inner - inner[:, hips].mean(1, keepdims=True))
    gap_by = seen.view[:, None] @ gap_by
    gap = gap_by[..., -1] - seen.world
    # and in the image
    point = outer + state.root[:, None]
    point[..., 2] = np.maximum(point[..., 2], NEAREST * state.root[:, None, 2])
    flat = point[..., :2] / point[..., 2:]
    outer_by = by[:, K:]
    outer_by[..., 0, 0] = outer_by[..., 1, 1] = 1.0
    outer_by[..., :, 2] = state.root[:, None]
    stretch = (seen.scale[:, None] * seen.focal / point[..., 2])[..., None, None]
    miss = (seen.focal * flat - seen.pixels) * seen.scale[:, None, None]
    miss_by = stretch * (outer_by[..., :2, :] - flat[..., None] * outer_by[..., 2:, :])

    cost = 0.0
    rows, values = [], []
    for residual, jacobian, spread in (
        (gap, gap_by, np.array(weights.world)),
        (miss, miss_by, np.array(weights.image)),
    ):
        scaled = residual * np.sqrt(seen.trust)[..., None] / spread
        square = (scaled**2).sum(-1) / weights.robust**2
        cost += weights.robust**2 * (square / (1 + square)).sum()
        factor = (np.sqrt(seen.trust) / (1 + square))[..., None] / spread
        rows.append((jacobian * factor[..., None]).reshape(N, -1, D + S))
        values.append((residual * factor).reshape(N, -1))
    A, r = np.concatenate(rows, axis=1), np.concatenate(values, axis=1)
    both = A.swapaxes(-1, -2) @ A
    pull = (A * r[..., None]).sum(1)
    H, g = both[:, :D, :D].copy(), pull[:, :D].copy()
    border, corner, side = both[:, :D, D:].copy(), both[:, D:, D:].sum(0), pull[:, D:].sum(0)

    # pose: the prior and its limits
    vectors = log(state.turns[:, prior.bones])
    parts = np.einsum("fij,nfj->nfi", prior.axes, vectors)
    parts_by = prior.axes @ _inverse_jacobian(vectors)
    off = (parts - prior.mean) / prior.spread * weights.pose
    beyond = (np.clip(parts - prior.high, 0, None) + np.clip(parts - prior.low, None, 0)) / np.radians(weights.limit)
    cost += (off**2).sum() + (beyond**2).sum()
    stiff = (weights.pose / prior.spread) ** 2 + (beyond != 0) / np.radians(weights.limit) ** 2
    force = off * weights.pose / prior.spread + beyond / np.radians(weights.limit)
    own = np.einsum("nfai,nfa,nfaj->nfij", parts_by, stiff, parts_by)
    for index in range(F):
        at = slice(6 + 3 * index, 9 + 3 * index)
        H[:, at, at] += own[:, index]
    g[:, 6:] += np.einsum("nfai,nfa->nfi", parts_by, force).reshape(N, -1)

    # motion
    link = stiffness(weights, seen.step)
    if N > 2:
        bend = _bend(state)
        bend[~seen.linked[2:]] = 0.0
        cost += (link * bend**2).sum()
        for shift, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
            g[2 - shift : N - shift] += factor * link * bend

    # shape
    from_mean = state.shape - belief.mean
    cost += from_mean @ belief.information @ from_mean
    corner = corner + belief.information
    side = side + belief.information @ from_mean

    if anchor is not None:
        from_anchor = between(anchor.state, state)[0]
        cost += anchor.weight @ from_anchor**2
        H[0] += np.diag(anchor.weight)
        g[0] += anchor.weight * from_anchor
    return Normal(float(cost), H, g, border, corner, side, link)


def stiffness(weights: Weights, step: float) -> np.ndarray:
    """(D,) the weight of the unknowns' second differences between frames `step` seconds apart."""
    moving, turning = (1 / (acceleration * step**2) ** 2 for acceleration in (weights.moving, weights.turning))
    return np.concatenate([[moving] * 2, [moving / DEEPER**2], np.full(3 * len(free()), turning)])


def eliminated(normal: Normal, linked: np.ndarray, damping: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The poses' steps (N, D, 8), the first as it is and the others by each of the shape's, to be subtracted; and what
    the frames and the belief say of the shape whatever the poses are: its information (7, 7) and gradient (7,)."""
    H = normal.H + damping * np.einsum("nii->n", normal.H)[:, None, None] / len(normal.link) * np.eye(len(normal.link))
    solved = _solve(H, np.concatenate([normal.g[..., None], normal.border], axis=-1), normal.link, linked)
    information = normal.corner - np.einsum("ndi,ndj->ij", normal.border, solved[..., 1:])
    return solved, information, normal.side - np.einsum("ndi,nd->i", normal.border, solved[..., 0])


def growth(information: np.ndarray, gradient: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(7,) the step of `shape` to where the gradient vanishes or the shape's bounds are, by coordinate descent."""
    low, high = SMALLEST - shape, LARGEST - shape
    found = np.zeros(S)
    for _ in range(SWEEPS):
        before = found.copy()
        for i in range(S):
            wanted = found[i] - (information[i] @ found + gradient[i]) / information[i, i]
            found[i] = min(max(wanted, low[i]), high[i])
        if abs(found - before).max() < SMALLEST_GROWTH:
            break
    return np.where(abs(found) < SMALLEST_GROWTH, 0.0, found)


def _step(normal: Normal, state: State, linked: np.ndarray, damping: float) -> State:
    solved, information, gradient = eliminated(normal, linked, damping)
    grown = growth(information + damping * np.diag(np.diag(information)), gradient, state.shape)
    return moved(state, -solved[..., 0] - solved[..., 1:] @ grown, grown)


def moved(state: State, change: np.ndarray, grown: np.ndarray) -> State:
    """`state` changed by (N, D) and its shape by (7,); no bone turns by more than FARTHEST at once."""
    bones = free()
    vectors = change[:, 3:].reshape(len(change), -1, 3)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors = vectors * np.minimum(1.0, FARTHEST / np.maximum(length, 1e-12))
    turns = state.turns.copy()
    turns[:, bones] = exp(vectors) @ turns[:, bones]
    grow = np.clip(change[:, 2:3], -0.5, 0.5)
    root = state.root * np.exp(grow)
    root[:, :2] += change[:, :2] * np.exp(grow)
    return State(turns, root, np.clip(state.shape + grown, SMALLEST, LARGEST))


def minimise(
    state: State, seen: Seen, belief: Belief, weights: Weights, iterations: int, anchor: Anchor | None = None
) -> tuple[State, Normal]:
    """The state of least cost near `state`, and the normal equations there."""
    here, damping = normal(state, seen, belief, weights, anchor), 1e-4
    for _ in range(iterations):
        there = _step(here, state, seen.linked, damping)
        new = normal(there, seen, belief, weights, anchor)
        if new.cost < here.cost:
            gain = here.cost - new.cost
            state, here, damping = there, new, max(damping / 10, 1e-7)
            if gain < TOLERANCE * new.cost:
                break
        else:
            damping = damping * 100
            if damping > 1e3:
                break
    return state, here


def _bend(state: State) -> np.ndarray:
    """(N - 2, D) second differences of the unknowns."""
    return np.diff(between(rows(state, slice(None, -1)), rows(state, slice(1, None))), axis=0)


def between(before: State, after: State) -> np.ndarray:
    """(N, D) by how much the unknowns change from one state to another."""
    depth = before.root[:, 2:].mean()
    across = after.root[:, :2] / after.root[:, 2:] - before.root[:, :2] / before.root[:, 2:]
    deeper = np.log(after.root[:, 2:] / before.root[:, 2:])
    turn = log(after.turns[:, free()] @ before.turns[:, free()].swapaxes(-1, -2))
    return np.concatenate([depth * across, deeper, turn.reshape(len(turn), -1)], axis=1)


def rows(state: State, chosen) -> State:
    """The frames that a slice or an index array selects."""
    return State(state.turns[chosen], state.root[chosen], state.shape)


def _solve(H: np.ndarray, right: np.ndarray, link: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """x (N, D, C) of (H + links) x = right."""
    N, D = H.shape[:2]
    if N < 3 or not linked.any():
        return np.linalg.solve(H, right)
    band = np.zeros((2 * D + 1, N, D))
    for k in range(D):
        band[k, :, : D - k] = np.diagonal(H, -k, 1, 2)
    on = linked[2:].astype(float)
    for one, other, factor in ((0, 0, 1.0), (1, 1, 4.0), (2, 2, 1.0), (0, 1, -2.0), (1, 2, -2.0), (0, 2, 1.0)):
        band[(other - one) * D, one : N - 2 + one] += factor * on[:, None] * link
    return solveh_banded(band.reshape(2 * D + 1, N * D), right.reshape(N * D, -1), lower=True).reshape(right.shape)


def log(matrices: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) of matrices (..., 3, 3)."""
    return Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec().reshape(matrices.shape[:-1])


def exp(vectors: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)


def _skew(vectors: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vectors.shape, 3)


def _inverse_jacobian(vectors: np.ndarray) -> np.ndarray:
    """(..., 3, 3) J with log(exp(d) exp(v)) = v + J d for small d (Sola et al. 2018, 'A micro Lie theory', eq. 146)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    small = angle < 1e-3
    safe = np.where(small, 1.0, angle)
    factor = np.where(small, 1 / 12, 1 / safe**2 - 1 / (2 * safe * np.tan(safe / 2)))
    across = _skew(vectors)
    return np.eye(3) - across / 2 + factor * across @ across
