"""A motion of the library on a body: its angles over time, carried over the floor by what is in contact, settled so
that contacts hold (see `contact`), and sampled at the frames that are wanted.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from pose_factory.bodies import anatomy, contact
from pose_factory.bodies.anny_body import SIDES, Body
from pose_factory.bodies.contact import Hold, Touch
from pose_factory.bodies.kinematics import Motion, continuous, cycles, euler, leg_length
from pose_factory.bodies.library import Score, curves

GRAVITY = 9.81
ADULT_LEG = 0.85  # metres: natural durations are for it, and go with the root of the leg's length (Alexander 1989)
FLYING_RATE, RATE, SLOW_RATE, HELD_RATE, FEWEST = 60.0, 30.0, 15.0, 6.0, 16
"""Poses that are settled: a second of a motion that leaves the floor again and again, of any other, of one slow enough
to be balanced, of a pose that only breathes, and in all; those between are splines."""
RAMP, FLATTEN = 0.12, 0.3  # seconds in which a limb is drawn to its contact, and let go; and in which a hand is opened
BREATH = {"trunk.bend": -0.7, "head.nod": 0.6, "left_arm.shrug": 1.0, "right_arm.shrug": 1.0}
SWAY = {"trunk.lean": 0.4, "pelvis.roll": 0.25, "left_arm.flex": 0.6, "right_arm.flex": -0.6}
"""Degrees that a held pose breathes and sways by."""
CHAINS = {f"{side}_{part}": f"{side}_foot" for side in SIDES for part in ("foot", "toes", "heel", "ball")}
"""Parts that share a footprint, and the first of them."""


@dataclass(frozen=True)
class _Cycle:
    """A motion settled on a body: at `times` (K,), seconds of its own, quaternions (K, B, 4) of each bone on top of its
    parent, in world axes at rest, and the root (K, 3); `ahead` (3,) is how far it gets each time."""

    times: np.ndarray
    seconds: float
    quaternions: np.ndarray
    root: np.ndarray
    ahead: np.ndarray


def perform(score: Score, body: Body, frames: int, fps: float) -> Motion:
    """`frames` frames of a motion at `fps` frames a second, in the middle of its way over the origin."""
    pace = np.sqrt(leg_length(body) / ADULT_LEG)
    if score.loops:
        turns = cycles(frames, fps, score.seconds * pace)
    else:
        turns = np.minimum(np.arange(frames) / fps / (score.seconds * pace), 1.0)
    settled = _settled(score, body, pace)
    around, phase = np.divmod(turns, 1) if score.loops else (np.zeros(frames), turns)
    at = phase * score.seconds
    quaternions = _spline(settled, settled.quaternions, np.zeros(settled.quaternions.shape[1:]), score.loops)(at)
    root = _spline(settled, settled.root, settled.ahead, score.loops)(at) + around[:, None] * settled.ahead
    root[:, :2] += body.heads[0, :2] - (root.min(axis=0) + root.max(axis=0))[:2] / 2
    local = Rotation.from_quat(quaternions.reshape(-1, 4)).as_matrix().reshape(*quaternions.shape[:2], 3, 3)
    own = body.orientations.transpose(0, 2, 1) @ local @ body.orientations
    own = Rotation.from_matrix(own.reshape(-1, 3, 3)).as_quat().reshape(quaternions.shape)
    planted = {side: _active(score, _of_foot(score, side), at) for side in SIDES}
    return Motion(continuous(own[..., [3, 0, 1, 2]]), root, planted)


def _of_foot(score: Score, side: str) -> list[str]:
    return [part for part in score.contacts if CHAINS.get(part) == f"{side}_foot"]


def _settled(score: Score, body: Body, pace: float) -> _Cycle:
    seconds = score.seconds
    rate = HELD_RATE if score.held else SLOW_RATE if score.balance else FLYING_RATE if _flies(score) else RATE
    count = max(round(seconds * pace * rate), FEWEST)
    times = np.arange(count + (not score.loops)) * seconds / count
    score = _rounded(score, seconds / count)
    airborne = ~_active(score, list(score.contacts), times)
    angles = curves(score, times, anatomy.CHANNELS)
    if score.held:
        for wobble, start in ((BREATH, 0.0), (SWAY, 1.0)):
            for channel, size in wobble.items():
                angles[channel] = angles[channel] + size * np.sin(2 * np.pi * times / seconds + start)
    for side in SIDES:  # a flat hand has straight fingers
        if f"{side}_hand" in score.contacts:
            curl = f"{side}_arm.curl"
            flat = _strength(score, score.contacts[f"{side}_hand"], times, pace, FLATTEN)
            angles[curl] = angles[curl] + flat * (anatomy.FLAT - angles[curl])
    touch = Touch(body)
    local = anatomy.rotations(body, angles)
    still = np.tile(body.heads[0] * [1, 1, 0], (len(times), 1))
    rotations, heads = contact.posed(body, local, still)
    root, ahead = _carried(score, touch, rotations, heads, times, airborne, pace)
    heads = heads + (root - still)[:, None]
    holds = _holds(score, touch, rotations, heads, times, ahead, airborne, pace)
    bends = {
        f"{side.title()}{bone}": angles[f"{side}_{angle}"]
        for side in SIDES
        for bone, angle in (
            ("Leg", "leg.knee"),
            ("ForeArm", "arm.elbow"),
            ("ToeBase", "leg.toes"),
        )
    }
    touches = [(hand, place, _strength(score, spans, times, pace)) for hand, place, spans in score.touches]
    seat = score.seat * touch.scale
    balls = anatomy.balls(body, score.extreme)
    local, root = contact.settle(
        touch, local, root, bends, holds, touches, seat, score.balance, score.loops, balls, airborne
    )
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat().reshape(*local.shape[:2], 4)
    return _Cycle(times, seconds, continuous(quaternions), root, ahead)


def _flies(score: Score) -> bool:
    return score.loops and not _active(score, list(score.contacts), np.linspace(0, score.seconds, 1000)).all()


def _rounded(score: Score, grain: float) -> Score:
    """With contacts that begin and end at multiples of `grain` seconds: at a pose that is settled, none shorter."""
    contacts = {
        part: [(np.floor(start / grain + 1e-6) * grain, np.ceil(end / grain - 1e-6) * grain) for start, end in spans]
        for part, spans in score.contacts.items()
    }
    return replace(score, contacts=contacts)


def _carried(
    score: Score,
    touch: Touch,
    rotations: np.ndarray,
    heads: np.ndarray,
    times: np.ndarray,
    airborne: np.ndarray,
    pace: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The root's path (K, 3), and how far one motion gets (3,): what is in contact stays where it is, the lowest point
    is on the floor, and between contacts the body flies as gravity has it. `heads` (K, B, 3) are of a root at z=0."""
    count = len(times)
    active = {part: _active(score, [part], times) for part in score.contacts}
    after = np.roll(np.arange(count), -1)
    moved, shared = np.zeros((count, 2)), np.zeros(count)
    for part, on in active.items():
        places = touch.places(part, rotations, heads)[..., :2].mean(axis=1)
        both = on & on[after]
        moved -= np.where(both[:, None], places[after] - places, 0.0)
        shared += both
    if not score.loops:
        shared[-1] = 0
    known = shared > 0
    step = np.zeros((count, 2))
    if known.any():  # in flight, as fast as it took off and lands
        period = {"period": count} if score.loops else {}
        for axis in (0, 1):
            speed = moved[known, axis] / shared[known]
            step[:, axis] = np.interp(np.arange(count), np.flatnonzero(known), speed, **period)
    if score.loops and any(on.all() for on in active.values()):
        step -= step.mean(axis=0)  # what never leaves the floor cannot get ahead
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(step, axis=0)])
    ahead = np.array([*path[-1], 0.0]) if score.loops else np.zeros(3)
    root = np.column_stack([path[:-1] + heads[:, 0, :2], -touch.lowest(rotations, heads)])
    if score.seat:
        return root, ahead
    for start, end in _runs(airborne, score.loops):
        span = np.arange(start - 1, end + 1)  # from the last frame on the floor to the first one after
        share = (span - span[0]) / (span[-1] - span[0])
        height, landed = root[span[0] % count, 2], root[span[-1] % count, 2]
        flight = (span[-1] - span[0]) * (times[1] - times[0]) * pace
        inside = slice(1, -1)
        root[span[inside] % count, 2] = (
            height + share * (landed - height) + 0.5 * GRAVITY * flight**2 * share * (1 - share)
        )[inside]
    return root, ahead


def _holds(score: Score, touch: Touch, rotations, heads, times, ahead, airborne, pace: float) -> list[Hold]:
    """Each contact with its place on the floor, or above it while the body flies. Of a motion that loops, one may go on
    from one time to the next."""
    count = len(times)
    turns = (-1, 0, 1) if score.loops else (0,)
    own = slice(count, 2 * count) if score.loops else slice(0, count)

    def unrolled(places):  # (K, ...) as (K times so many turns, ...)
        return np.concatenate([places + turn * ahead for turn in turns])

    leaving = _leaving(airborne, round(RAMP / pace / (times[1] - times[0])))
    holds = []
    for chain in dict.fromkeys(CHAINS.get(part, part) for part in score.contacts):
        parts = [part for part in score.contacts if CHAINS.get(part, part) == chain]
        active = {part: np.tile(_active(score, [part], times), len(turns)) for part in parts}
        strengths = {part: _strength(score, score.contacts[part], times, pace) for part in parts}
        places = {part: touch.places(part, rotations, heads) for part in parts}
        targets = {part: unrolled(places[part]) for part in parts}
        aims = {part: targets[part].copy() for part in parts}
        on = np.any(list(active.values()), axis=0)
        for start, end in _runs(on, False):
            wide = _around(start, end, on)
            if chain not in touch.prints:
                middle = targets[chain][start:end].mean(axis=0) * [1, 1, 0]
                aims[chain][wide] = middle
                continue
            bone, turn, _, _ = touch.prints[chain]
            heading = np.tile(rotations[:, bone] @ turn.T @ [0.0, -1.0, 0.0], (len(turns), 1))[start:end].mean(axis=0)
            yaw = euler(yaw=np.degrees(np.arctan2(heading[0], -heading[1])))
            offsets = [
                (targets[part][start:end] - touch.offsets(part) @ yaw.T).mean(axis=1)[active[part][start:end]]
                for part in parts
            ]
            origin = np.concatenate(offsets).mean(axis=0) * [1, 1, 0]
            for part in parts:
                aims[part][wide] = touch.offsets(part) @ yaw.T + origin
        aims = {part: aim[own] for part, aim in aims.items()}
        for part in parts:
            share = strengths[part][:, None, None]
            lift = leaving * (1 - strengths[part] ** 3) * np.maximum(places[part][..., 2].min(axis=1), 0)
            target = (aims[part] + lift[:, None, None] * [0, 0, 1]) * share
            target += (places[part] + _drawn(part, aims, places, strengths)[:, None]) * (1 - share)
            holds.append(Hold(part, strengths[part], target))
    return holds


def _leaving(airborne: np.ndarray, steps: int) -> np.ndarray:
    """(K,) 1 in flight, and from 0 to 1 in so many steps before."""
    shares = _eased(1 - np.arange(steps) / steps)
    return np.max([share * np.roll(airborne, -step) for step, share in enumerate(shares)], axis=0)


def _drawn(part: str, aims: dict, places: dict, strengths: dict) -> np.ndarray:
    """(K, 3) how far the other parts of its chain have been drawn along the floor, by which a part goes along with them
    before and after its own contact."""
    drawn, strength = np.zeros((len(places[part]), 3)), np.zeros((len(places[part]), 1))
    for other in set(aims) - {part}:
        drawn += strengths[other][:, None] * (aims[other] - places[other]).mean(axis=1) * [1, 1, 0]
        strength += strengths[other][:, None]
    return drawn / np.maximum(strength, 1)


def _around(start: int, end: int, on: np.ndarray) -> slice:
    """From half way since the last contact before to half way to the next one after."""
    before, after = np.flatnonzero(on[:start]), np.flatnonzero(on[end:])
    return slice(
        (before[-1] + 1 + start) // 2 if len(before) else 0, end + (after[0] + 1) // 2 if len(after) else len(on)
    )


def _active(score: Score, parts: list[str], times: np.ndarray) -> np.ndarray:
    """(K,) whether one of the parts carries weight."""
    spans = np.array([span for part in parts for span in score.contacts[part]]).reshape(-1, 2)
    return (_distance(score, spans, times) <= 1e-9).any(axis=1)


def _strength(score: Score, spans: list, times: np.ndarray, pace: float, ramp: float = RAMP) -> np.ndarray:
    """(K,) 1 in contact, and from 0 to 1 in the `ramp` seconds before and after."""
    away = _distance(score, np.array(spans), times).min(axis=1) * pace
    return _eased(np.clip(1 - away / ramp, 0, 1))


def _eased(share: np.ndarray) -> np.ndarray:
    return share**2 * (3 - 2 * share)


def _distance(score: Score, spans: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(K, S) seconds from each span (S, 2), 0 within."""
    times = times[:, None]
    if not score.loops:
        return np.maximum(np.maximum(spans[:, 0] - times, times - spans[:, 1]), 0)
    length = spans[:, 1] - spans[:, 0]
    since = (times - spans[:, 0]) % score.seconds
    return np.where(since <= length, 0, np.minimum(since - length, score.seconds - since))


def _runs(on: np.ndarray, around: bool) -> list[tuple[int, int]]:
    """(start, end) of each run of true values; with `around`, the one over the end goes on beyond it. A motion has no
    flight before its first or after its last contact unless it goes around."""
    count = len(on)
    if on.all() or not on.any():
        return [(0, count)] if on.all() and not around else []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(int)))
    runs = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    if around and runs[0][0] == 0 and runs[-1][1] == count:
        runs = [*runs[1:-1], (runs[-1][0], count + runs[0][1])]
    return runs


def _spline(settled: _Cycle, values: np.ndarray, ahead: np.ndarray, loops: bool) -> CubicSpline:
    """Through the settled poses; of a motion that loops, on to the next time."""
    times = settled.times
    if not loops:
        return CubicSpline(times, values)
    several = [values - ahead, values, values + ahead]
    if values.ndim == 3:  # of quaternions, the nearer sign
        several = continuous(np.concatenate(several))
        several *= np.sign(np.sum(several[len(values)] * values[0], axis=-1))[None, :, None] + 0.0
    else:
        several = np.concatenate(several)
    return CubicSpline(np.concatenate([times - settled.seconds, times, times + settled.seconds]), several)
