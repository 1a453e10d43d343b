"""A posed body meets the world: what touches the floor stays where it is, nothing goes through the floor or through the
body itself, and the centre of mass stays above what carries it.

Where a pose is wanted that these forbid, `settle` finds the one nearest to it in each frame: damped least squares over
the joints (Levenberg and Marquardt), in which each joint resists according to STIFFNESS and contacts weigh so much that
they hold to a fraction of a millimetre.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.bodies.anatomy import FLAT, Ball, curled, hinge, palm
from pose_factory.bodies.anny_body import SIDES, Body
from pose_factory.bodies.kinematics import axes, leg_length, length

PRINTS = ("foot", "toes", "heel", "hand")
PARTS = (
    *(f"{side}_{part}" for side in SIDES for part in PRINTS),
    *(
        f"{side}_{part}"
        for side in SIDES
        for part in ("ball", "outside", "knee", "shin", "instep", "elbow", "forearm", "fingertips")
    ),
    *(f"{side}_{part}" for side in SIDES for part in ("hip", "shoulder")),
    *("seat", "back", "chest", "belly", "head"),
)
"""What can touch the floor. A foot, the front of it (toes), its heel and a hand lie flat and leave a print that neither
moves nor turns; of the others, the lowest point lies on the floor."""

TOUCHABLE = (
    *(
        f"{side}_{part}"
        for side in SIDES
        for part in ("palm", "fingers", "ear", "brow", "waist", "thigh", "knee", "toe", "shoulder")
    ),
    *("mouth", "chin", "chest", "belly", "nape"),
)
"""Points of the body that a hand can be brought to."""

STIFFNESS = {  # per radian (the root's place: per metre); what is stiff keeps closest to the pose that is wanted
    "Hips": 2.5,
    "Spine": 2.5,
    "Spine1": 2.5,
    "Spine2": 2.5,
    "Neck": 2.5,
    "Shoulder": 2.5,
    "Arm": 1.0,
    "ForeArm": 0.7,
    "Hand": 0.4,
    "UpLeg": 1.0,
    "Leg": 0.7,
    "Foot": 0.25,
    "ToeBase": 0.25,
}
ROOT = 1.0
STEADY, STEADY_LEAST = 6.0, 0.5  # how much stiffer joints are against changing their speed, and against long steps
FINER = 4.0  # times as stiff against changing their speed where motions that fly have twice as many poses
CONTACT, FLOOR, GRIP, APART, BALANCE, TOUCHING = 300.0, 200.0, 80.0, 60.0, 25.0, 15.0  # per metre
ROUNDS, LAST_ROUNDS = 14, 2  # and without what may give way a little: distance, balance, touches
SOLVING = 40  # steps of conjugate gradients
LONGEST_STEP, RELAXED = 0.25, 0.6  # radians or metres a round; of a step, later, where contacts contend
LIMIT = 40.0  # per radian
FLYING = 1e4  # per square metre
HINGES = {"Leg": (3.0, 152.0), "ForeArm": (2.0, 148.0), "ToeBase": (-35.0, 62.0)}
"""Degrees that hinges are kept within."""
MASSES = {  # of the body's mass: de Leva (1996), means of women and men
    "Head": 0.068,
    "Spine2": 0.157,
    "Spine1": 0.078,
    "Spine": 0.078,
    "Hips": 0.118,
    "Arm": 0.026,
    "ForeArm": 0.015,
    "Hand": 0.006,
    "UpLeg": 0.145,
    "Leg": 0.0455,
    "Foot": 0.0133,
}
DIRECTIONS = 120  # that the outermost points of each part of the body are looked for in
SLICES = 8  # of the trunk, each a lying capsule
LOWEST = 5  # of them are kept off the floor at once, for a limb that lies on it touches it in several places


@dataclass(frozen=True)
class Hold:
    """A contact over N frames. strength (N,) 0..1; target (N, P, 3) where its points are wanted, metres."""

    part: str
    strength: np.ndarray
    target: np.ndarray


class Touch:
    """What of a body can touch the floor, or the body itself."""

    def __init__(self, body: Body):
        self.body = body
        self.scale = leg_length(body)
        strongest = body.weights.argmax(axis=1)
        self.below = _below(body)
        names = [name.partition(":")[2] for name in body.bones]
        limb = {
            bone: next(
                (index for index, key in enumerate(names) if name.startswith(key) and key.endswith("Hand")), bone
            )
            for bone, name in enumerate(names)
        }
        of_limb = np.array([limb[bone] for bone in strongest])
        bends = body.weights.max(axis=1) < 0.8  # where skin bulges at a joint, what is outermost changes with the pose
        self.groups = [
            np.union1d(
                _outermost(body, np.flatnonzero(of_limb == bone)), np.flatnonzero((of_limb == bone) & bends)[::3]
            )
            for bone in sorted(set(of_limb.tolist()))
        ]
        self.prints, self.regions = {}, {}
        for side in SIDES:
            self._prints_of(side, strongest)
            self._regions_of(side)
        self._regions_of_trunk()
        used = np.unique(np.concatenate([*self.groups, *self.regions.values()]))
        self.vertices = used
        place = {vertex: index for index, vertex in enumerate(used)}
        self.groups = [np.array([place[vertex] for vertex in group]) for group in self.groups]
        self.regions = {part: np.array([place[v] for v in region]) for part, region in self.regions.items()}
        self.points = _landmarks(body)
        self.movers, self.capsules, self.pairs = _solids(body)
        self.segments = [
            (bone, mass, _centre(body, strongest, bone))
            for name, mass in MASSES.items()
            for bone in ([names.index(name)] if name in names else [names.index(f"{s.title()}{name}") for s in SIDES])
        ]

    def _prints_of(self, side: str, strongest: np.ndarray) -> None:
        body, name, sign = self.body, side.title(), SIDES[side]
        foot, toes, hand = (body.bone(f"{name}{part}") for part in ("Foot", "ToeBase", "Hand"))
        low = body.vertices[:, 2] < 0.25 * body.heads[foot][2]
        origin = body.heads[foot] * [1, 1, 0]
        sole = np.flatnonzero(low & (body.weights[:, foot] > 0.9))
        front = np.flatnonzero(low & (body.weights[:, toes] > 0.9))
        across = np.array([sign, 0.0, 0.0])
        ball = sole[body.vertices[sole, 1] < np.quantile(body.vertices[sole, 1], 0.2)]
        heel = _extreme(body, sole, [0, 1, 0])
        balls = [_extreme(body, ball, across), _extreme(body, ball, -across)]
        base = front[body.vertices[front, 1] > np.quantile(body.vertices[front, 1], 0.6)]
        tips = [_extreme(body, front, [0, -1, 0]), _extreme(body, base, across), _extreme(body, base, -across)]
        for part, points in (("foot", [heel, *balls, *tips]), ("toes", tips), ("heel", [heel])):
            self.prints[f"{side}_{part}"] = (foot, np.eye(3), np.array(points), body.vertices[points] - origin)

        flat = (
            axes(np.array([0.0, -1.0, 0.0]), np.array([-sign, 0.0, 0.0]))
            @ axes(np.array([0.0, 0.0, -1.0]), np.array([0.0, -1.0, 0.0])).T
        )
        turn = flat @ palm(body, side)  # from rest: fingers to the front, palm down
        local = np.tile(np.eye(3), (1, len(body.bones), 1, 1))
        for bone, curl in curled(body, side, np.array([FLAT])).items():
            local[:, body.bone(bone)] = curl
        flattened = _moved(body, np.arange(len(body.vertices)), *posed(body, local, body.heads[:1]))[0]
        fingers = [i for i, bone in enumerate(body.bones) if f"{name}Hand" in bone]
        shape = (flattened - body.heads[hand]) @ turn.T
        floor = shape[body.weights[:, fingers].sum(axis=1) > 0.5, 2].min()
        skin = np.flatnonzero(body.weights[:, hand] > 0.6)
        reach = length(body, f"{name}Hand", f"{name}HandMiddle1")
        corners = np.array([[-0.5, 0.9], [0.5, 0.8], [0.0, 0.1]]) * reach  # of the palm: sideways, forwards
        under = skin[shape[skin, 2] < np.quantile(shape[skin, 2], 0.35)]
        points = [under[np.argmin(np.linalg.norm(shape[under, :2] * [1, -1] - corner, axis=1))] for corner in corners]
        self.prints[f"{side}_hand"] = (hand, turn, np.array(points), shape[points] - [0, 0, floor])

    def _regions_of(self, side: str) -> None:
        body, name, sign = self.body, side.title(), SIDES[side]
        hip, knee, ankle, shoulder, elbow, wrist = (
            body.heads[body.bone(f"{name}{part}")] for part in ("UpLeg", "Leg", "Foot", "Arm", "ForeArm", "Hand")
        )
        weight = {part: body.weights[:, body.bone(f"{name}{part}")] for part in ("UpLeg", "Leg", "Foot", "ToeBase")}
        weight |= {part: body.weights[:, body.bone(f"{name}{part}")] for part in ("Arm", "ForeArm")}
        points = body.vertices
        near_knee = np.linalg.norm(points - knee, axis=1) < 0.13 * self.scale
        arm = np.linalg.norm(elbow - shoulder)
        fingers = [i for i, bone in enumerate(body.bones) if f"{name}Hand" in bone and bone[-1] in "23"]
        # Where skin bulges as a joint bends, what is outermost changes.
        front = near_knee & (weight["UpLeg"] + weight["Leg"] > 0.9) & (points[:, 1] < knee[1])
        self.regions[f"{side}_knee"] = np.flatnonzero(front)[::2]
        self._region(f"{side}_ball", (weight["ToeBase"] > 0.9) & (points[:, 2] < 0.3 * ankle[2]))
        of_foot = weight["Foot"] + weight["ToeBase"] > 0.9
        self._region(f"{side}_outside", of_foot & ((points[:, 0] - ankle[0]) * sign > 0))
        self._region(f"{side}_shin", (weight["Leg"] > 0.9) & (points[:, 1] < knee[1]))
        self._region(f"{side}_instep", of_foot & (points[:, 2] > 0.3 * ankle[2]))
        self._region(f"{side}_elbow", (weight["ForeArm"] > 0.5) & (np.linalg.norm(points - elbow, axis=1) < 0.35 * arm))
        self._region(f"{side}_forearm", weight["ForeArm"] > 0.8)
        self._region(f"{side}_fingertips", body.weights[:, fingers].sum(axis=1) > 0.8)
        outer = points[:, 0] * sign > 0.8 * np.abs(hip[0])
        near_hip = (np.linalg.norm(points - hip, axis=1) < 0.45 * self.scale) & (points[:, 2] > knee[2])
        legs = [body.bone(f"{other}{part}") for other in ("Left", "Right") for part in ("UpLeg",)]
        lower = body.weights[:, [body.bone("Hips"), *legs]].sum(axis=1) > 0.8
        self._region(f"{side}_hip", outer & near_hip & lower)
        self._region(
            f"{side}_shoulder", (weight["Arm"] > 0.4) & (np.linalg.norm(points - shoulder, axis=1) < 0.6 * arm)
        )

    def _regions_of_trunk(self) -> None:
        body, points = self.body, self.body.vertices

        def share(*parts: str) -> np.ndarray:
            return body.weights[:, [body.bone(part) for part in parts]].sum(axis=1)

        hips, chest = body.heads[body.bone("LeftUpLeg")], body.heads[body.bone("Spine2")]
        lower = share("Hips", "LeftUpLeg", "RightUpLeg") > 0.8
        self._region("seat", lower & (points[:, 1] > hips[1]) & (points[:, 2] > hips[2] - 0.25 * self.scale))
        self._region("back", (share("Spine", "Spine1", "Spine2") > 0.8) & (points[:, 1] > chest[1]))
        self._region("chest", (share("Spine1", "Spine2") > 0.8) & (points[:, 1] < chest[1]))
        self._region("belly", (share("Hips", "Spine", "Spine1") > 0.8) & (points[:, 1] < hips[1]))
        self._region("head", share("Head") > 0.9)

    def _region(self, part: str, chosen: np.ndarray) -> None:
        self.regions[part] = _outermost(self.body, np.flatnonzero(chosen))

    def offsets(self, part: str) -> np.ndarray:
        """(P, 3) where the points of `places` lie for a part of a flat hand or foot, as the prints have them."""
        if part in self.prints:
            return self.prints[part][3]
        foot = self.body.bone(f"{part.partition('_')[0].title()}Foot")
        middle = self.body.vertices[self.vertices[self.regions[part]]].mean(axis=0, keepdims=True)
        return (middle - self.body.heads[foot]) * [1, 1, 0]

    def places(self, part: str, rotations: np.ndarray, heads: np.ndarray) -> np.ndarray:
        """(N, P, 3) where the points of a part are: those of its print, or the middle of its region."""
        if part in self.prints:
            return _moved(self.body, self.prints[part][2], rotations, heads)
        return _moved(self.body, self.vertices[self.regions[part]], rotations, heads).mean(axis=1, keepdims=True)

    def lowest(self, rotations: np.ndarray, heads: np.ndarray) -> np.ndarray:
        """(N,) the height of the body's lowest point."""
        return _moved(self.body, self.vertices, rotations, heads)[..., 2].min(axis=1)


def posed(body: Body, local: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each bone's rotation from rest (N, B, 3, 3) and head (N, B, 3), world, for `local` (N, B, 3, 3) on top of its
    parent's and `root` (N, 3)."""
    rotations, heads = np.empty_like(local), np.empty(local.shape[:3])
    for bone, parent in enumerate(body.parents):
        if parent < 0:
            rotations[:, bone], heads[:, bone] = local[:, bone], root
        else:
            rotations[:, bone] = rotations[:, parent] @ local[:, bone]
            heads[:, bone] = heads[:, parent] + rotations[:, parent] @ (body.heads[bone] - body.heads[parent])
    return rotations, heads


def settle(
    touch: Touch,
    local: np.ndarray,
    root: np.ndarray,
    bends: dict[str, np.ndarray],
    holds: list[Hold],
    touches: list[tuple[str, str, np.ndarray]],
    seat: float,
    balance: bool,
    loops: bool,
    balls: list[Ball],
    airborne: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The poses nearest to `local` (N, B, 3, 3), each bone's rotation on top of its parent's, with the root at `root`
    (N, 3), in which the contacts hold: new `local` and `root`.

    touches: (hand, place, (N,) strength 0..1), both of TOUCHABLE, that come together.
    bends {bone: (N,) degrees} says how far those of HINGES are bent; `seat` is the height, metres,
    of what a contact "seat" rests on. With `loops`, the first pose follows the last one. `balls` are kept within their
    ranges. What is changed of the root's way goes straight where nothing touches, `airborne` (N,): it falls as it did.
    """
    body = touch.body
    joints = _joints(body)
    local, root = local.copy(), root.copy()
    columns = 3 + sum(len(axis) for _, axis, _ in joints)
    stiff = np.concatenate([np.full(3, ROOT), *(np.full(len(axis), value) for _, axis, value in joints)]) ** 2
    damping = STEADY * stiff + STEADY_LEAST
    inertia = damping * (FINER if loops and airborne.any() else 1)
    bend = _bending(len(root), loops)
    low, high = _bounds(joints, bends, body, len(root), columns)
    moved, wanted = np.zeros((2, len(root), columns))
    for done in range(ROUNDS + LAST_ROUNDS):
        rotations, heads = posed(body, local, root)
        system = _System(touch, joints, rotations, heads, columns)
        for hold in holds:
            system.hold(hold, seat)
        system.floor()
        for ball in balls:
            system.limit(ball, local)
        if done < ROUNDS:
            system.apart()
            for hand, place, strength in touches:
                system.bring(touch.points[hand], touch.points[place], strength)
            if balance:
                system.balance(holds)
        if done == ROUNDS:
            wanted = moved.copy()
        system.follow(moved - wanted, stiff)
        if airborne.any():
            system.follow(_straight(moved[:, :3], airborne, loops), FLYING * airborne[:, None])
        step = np.clip(system.step(moved, low, high, bend, inertia, damping), -LONGEST_STEP, LONGEST_STEP)
        step *= RELAXED if done > ROUNDS / 2 else 1.0
        step = np.clip(moved + step, low, high) - moved
        moved += step
        root += step[:, :3]
        column = 3
        for bone, axis, _ in joints:
            turn = step[:, column : column + len(axis)] @ axis
            local[:, bone] = local[:, bone] @ Rotation.from_rotvec(turn).as_matrix()
            column += len(axis)
        if np.abs(step).max() < 3e-4:
            break
    return local, root


class _System:
    """The equations of one round: rows that say how the joints' steps move what must be moved."""

    def __init__(self, touch: Touch, joints, rotations, heads, columns: int):
        self.touch, self.rotations, self.heads = touch, rotations, heads
        self.owner = np.concatenate([np.full(len(axis), bone) for bone, axis, _ in joints])
        self.rest = np.concatenate([axis for _, axis, _ in joints])
        self.axes = np.einsum("ndij,dj->ndi", rotations[:, self.owner], self.rest)
        self.under = touch.below[self.owner]  # (D, B) whether a joint moves a bone
        self.pivots = heads[:, self.owner]
        frames = len(heads)
        self.square, self.pull = np.zeros((frames, columns, columns)), np.zeros((frames, columns))
        self.skin = _moved(touch.body, touch.vertices, rotations, heads)

    def hold(self, hold: Hold, seat: float) -> None:
        weight = CONTACT * hold.strength**2
        if hold.part in self.touch.prints:
            vertices = self.touch.prints[hold.part][2]
            place, jacobian = self._skin(np.broadcast_to(vertices, (len(self.heads), len(vertices))))
            self._add(jacobian, place - hold.target, weight[:, None, None])
            return
        region = self.touch.regions[hold.part]
        low = region[self.skin[:, region, 2].argmin(axis=1)]
        place, jacobian = self._skin(self.touch.vertices[low][:, None])
        height = seat if hold.part == "seat" else 0.0
        self._add(jacobian[:, :, 2:], place[..., 2:] - height, weight[:, None, None])
        bones = np.bincount(self.touch.body.weights[self.touch.vertices[region]].argmax(axis=1)).argmax()
        middle = self.skin[:, region].mean(axis=1)
        self._add(
            self._rigid(middle, bones)[:, None, :2],
            (middle - hold.target[:, 0])[:, None, :2],
            GRIP * hold.strength[:, None, None] ** 2,
        )

    def floor(self) -> None:
        lows = []
        for group in self.touch.groups:
            order = np.argpartition(self.skin[:, group, 2], LOWEST, axis=1)[:, :LOWEST]
            below = np.take_along_axis(self.skin[:, group, 2], order, axis=1).min(axis=1) < 0
            if below.any():
                lows.append(group[order])
        if lows:
            place, jacobian = self._skin(self.touch.vertices[np.concatenate(lows, axis=1)])
            self._add(jacobian[:, :, 2:], place[..., 2:], FLOOR / LOWEST**0.5 * (place[..., 2:] < 0))

    def apart(self) -> None:
        touch = self.touch
        points = np.stack([_at(self, bone, rest) for bone, rest, _ in touch.movers], axis=1)
        starts = np.stack([_at(self, bone, start) for bone, start, _, _ in touch.capsules], axis=1)
        ends = np.stack([_at(self, bone, end) for bone, _, end, _ in touch.capsules], axis=1)
        movers, capsules = touch.pairs.T
        along = (ends - starts)[:, capsules]
        from_start = points[:, movers] - starts[:, capsules]
        share = np.sum(from_start * along, -1) / np.maximum(np.sum(along * along, -1), 1e-9)
        away = from_start - np.clip(share, 0, 1)[..., None] * along
        distance = np.linalg.norm(away, axis=-1)
        room = np.array([touch.movers[m][2] + touch.capsules[c][3] for m, c in touch.pairs])
        deep = room - distance
        close = np.flatnonzero((deep > 0).any(axis=0))
        if not len(close):
            return
        normal = away[:, close] / np.maximum(distance[:, close], 1e-9)[..., None]
        bones, others = (np.array([solid[0] for solid in solids]) for solids in (touch.movers, touch.capsules))
        apart = self._between(points[:, movers[close]], bones[movers[close]], others[capsules[close]])
        rows = normal[:, :, None] @ apart
        self._add(rows, -deep[:, close, None], APART * (deep[:, close, None] > 0))

    def bring(self, hand: tuple, place: tuple, strength: np.ndarray) -> None:
        """Bring a point (bone, rest) of the body to another one."""
        here, there = _at(self, *hand), _at(self, *place)
        jacobian = self._rigid(here, hand[0]) - self._rigid(there, place[0])
        self._add(jacobian[:, None], (here - there)[:, None], TOUCHING * strength[:, None, None])

    def limit(self, ball: Ball, local: np.ndarray) -> None:
        """Bring a joint back into its ranges."""
        excess = ball.excess(local)
        size = np.linalg.norm(excess, axis=1)
        if size.max() > 1e-6:
            columns = self.owner == ball.chain[-1]
            jacobian = np.zeros((len(size), 1, 1, self.square.shape[1]))
            jacobian[:, 0, 0, 3:][:, columns] = excess / np.maximum(size, 1e-9)[:, None] @ self.rest[columns].T
            self._add(jacobian, -size[:, None, None], LIMIT)

    def balance(self, holds: list[Hold]) -> None:
        masses = np.array([mass for _, mass, _ in self.touch.segments])
        points = np.stack([_at(self, bone, rest) for bone, _, rest in self.touch.segments], axis=1)
        centre = np.einsum("s,nsi->ni", masses / masses.sum(), points)[:, :2]
        jacobian = sum(
            mass / masses.sum() * self._rigid(point, bone)
            for (bone, mass, _), point in zip(self.touch.segments, points.swapaxes(0, 1), strict=True)
        )
        feet = np.concatenate([hold.target[..., :2] for hold in holds], axis=1)
        on = np.concatenate([np.tile(hold.strength[:, None] > 0.5, hold.target.shape[1]) for hold in holds], axis=1)
        middle = np.sum(feet * on[..., None], axis=1) / np.maximum(on.sum(axis=1), 1)[:, None]
        directions = 2 * np.pi * np.arange(24) / 24
        directions = np.stack([np.cos(directions), np.sin(directions)])
        reach = np.where(on[..., None], (feet - middle[:, None]) @ directions, -np.inf).max(axis=1)
        outside = (centre - middle) @ directions - 0.6 * reach
        worst = outside.argmax(axis=1)
        error = np.clip(np.take_along_axis(outside, worst[:, None], axis=1), 0, None) * directions.T[worst]
        error = np.where(on.any(axis=1)[:, None], error, 0.0)
        weight = BALANCE * np.where(np.abs(error).sum(axis=1) > 0, 1.0, 0.0)
        self._add(jacobian[:, None, :2], error[:, None], weight[:, None, None])

    def follow(self, away: np.ndarray, stiff: np.ndarray) -> None:
        """Draw the first K joints back by `away` (N, K), each as `stiff` (K,) or (N, 1) as it is."""
        first = np.arange(away.shape[1])
        self.square[:, first, first] += stiff
        self.pull[:, first] += stiff * away

    def step(self, moved, low, high, bend, inertia, damping) -> np.ndarray:
        """(N, D) what all rows together want, where `moved` (N, D) is to go smoothly over time: `bend` (N, N) squares
        how it changes its speed, which weighs `inertia` (D,), and `damping` (D,) the step."""
        pull = self.pull + inertia * (bend @ moved)
        self.square += np.diag(damping)
        step = _solved(self.square, bend, inertia, pull)
        stuck = (moved <= low + 1e-9) & (step < 0) | (moved >= high - 1e-9) & (step > 0)
        if stuck.any():
            step = _solved(self.square + np.eye(len(inertia)) * np.where(stuck, 1e9, 0.0)[:, None], bend, inertia, pull)
        return step

    def _add(self, jacobian: np.ndarray, error: np.ndarray, weight: np.ndarray) -> None:
        """Rows (N, P, K, D) with their errors (N, P, K) and weights that broadcast to those."""
        frames, _, _, columns = jacobian.shape
        weighted = (jacobian * np.broadcast_to(weight, error.shape)[..., None] ** 2).reshape(frames, -1, columns)
        self.square += weighted.transpose(0, 2, 1) @ jacobian.reshape(frames, -1, columns)
        self.pull += np.einsum("nrd,nr->nd", weighted, error.reshape(frames, -1))

    def _rigid(self, points: np.ndarray, bone: int) -> np.ndarray:
        """(N, 3, D) how points (N, 3) that move with a bone move."""
        turned = np.cross(self.axes, points[:, None] - self.pivots) * self.under[:, bone, None]
        return self._columns(turned)

    def _between(self, points: np.ndarray, bones: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(N, M, 3, D) how points (N, M, 3) that move with `bones` (M,) move as seen from `others` (M,)."""
        under = self.under.astype(float)
        share = (under[:, bones] - under[:, others]).T[..., None]
        turned = np.cross(self.axes[:, None], points[:, :, None] - self.pivots[:, None]) * share
        moved = self._columns(turned)
        moved[..., :3] = 0.0
        return moved

    def _skin(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where vertices (N, P) are, (N, P, 3), and how they move, (N, P, 3, D)."""
        body = self.touch.body
        weights = body.weights[vertices]  # (N, P, B)
        bones = np.flatnonzero(weights.any(axis=(0, 1)))
        weights = weights[..., bones]
        rest = body.vertices[vertices][:, :, None] - body.heads[bones]
        parts = np.einsum("nbij,npbj->npbi", self.rotations[:, bones], rest) + self.heads[:, None, bones]
        parts *= weights[..., None]
        under = self.under[:, bones].astype(float)
        carried = under @ parts  # (N, P, D, 3)
        share = weights @ under.T
        turned = np.cross(self.axes[:, None], carried - share[..., None] * self.pivots[:, None])
        return parts.sum(axis=2), self._columns(turned)

    def _columns(self, turned: np.ndarray) -> np.ndarray:
        """(..., D, 3) of the joints as (..., 3, 3 + D), with the root's place first."""
        still = np.broadcast_to(np.eye(3), (*turned.shape[:-2], 3, 3))
        return np.concatenate([still, turned.swapaxes(-1, -2)], axis=-1)


def _straight(moved: np.ndarray, airborne: np.ndarray, loops: bool) -> np.ndarray:
    """(N, K) how far `moved` (N, K) is from straight lines over the frames that are `airborne` (N,)."""
    ground, period = np.flatnonzero(~airborne), {"period": len(moved)} if loops else {}
    return np.stack([one - np.interp(np.arange(len(one)), ground, one[ground], **period) for one in moved.T], axis=1)


def _bending(frames: int, loops: bool) -> np.ndarray:
    """(N, N) the matrix of the sum of squared second differences of a series: of one that loops, or holds its ends."""
    each = np.eye(frames)
    before, after = np.roll(each, 1, axis=0), np.roll(each, -1, axis=0)
    if not loops:
        before[0], after[-1] = each[0], each[-1]
    second = before - 2 * each + after
    return second.T @ second


def _solved(square: np.ndarray, bend: np.ndarray, inertia: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """(N, D) the x with square_n x_n + inertia (bend x)_n = -pull_n, by conjugate gradients, each frame's own equations
    (N, D, D) as preconditioner."""
    own = np.linalg.inv(square + np.diag(inertia) * np.diag(bend)[:, None, None])

    def times(x):
        return np.einsum("nij,nj->ni", square, x) + inertia * (bend @ x)

    x = np.zeros_like(pull)
    left = -pull
    ahead = along = np.einsum("nij,nj->ni", own, left)
    size = first = np.sum(left * along)
    for _ in range(SOLVING):
        if size <= 1e-6 * first:
            break
        turned = times(along)
        share = size / np.sum(along * turned)
        x = x + share * along
        left = left - share * turned
        ahead = np.einsum("nij,nj->ni", own, left)
        size, before = np.sum(left * ahead), size
        along = ahead + size / before * along
    return x


def _at(system: _System, bone: int, rest: np.ndarray) -> np.ndarray:
    return system.heads[:, bone] + system.rotations[:, bone] @ (rest - system.touch.body.heads[bone])


def _joints(body: Body) -> list[tuple[int, np.ndarray, float]]:
    """The bones that may turn: index, the axes (K, 3) they turn about, at rest, and how stiff they are."""
    joints = []
    for name, value in STIFFNESS.items():
        sides = ("",) if name in ("Hips", "Spine", "Spine1", "Spine2", "Neck") else ("Left", "Right")
        for side in sides:
            about = np.diag([-1.0, 1.0, 1.0])  # bending an ankle or lifting the toes is about -X
            if name in ("Leg", "ForeArm", "ToeBase"):
                about = hinge(body, side + name)[None]
            joints.append((body.bone(side + name), about, value))
    return joints


def _bounds(joints, bends, body: Body, frames: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full((frames, columns), -np.inf), np.full((frames, columns), np.inf)
    column = 3
    for bone, axis, _ in joints:
        name = body.bones[bone].partition(":")[2]
        if name in bends:
            least, most = HINGES[name.removeprefix("Left").removeprefix("Right")]
            low[:, column] = np.radians(np.minimum(least - bends[name], 0))
            high[:, column] = np.radians(np.maximum(most - bends[name], 0))
        column += len(axis)
    return low, high


def _below(body: Body) -> np.ndarray:
    """(B, B) whether a bone moves with another: itself, and all that hang on it."""
    below = np.eye(len(body.bones), dtype=bool)
    for bone, parent in enumerate(body.parents):
        if parent >= 0:
            below[:, bone] |= below[:, parent]
    return below


def _moved(body: Body, vertices: np.ndarray, rotations: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """(N, P, 3) where vertices (P,) are."""
    shift = heads - np.einsum("nbij,bj->nbi", rotations, body.heads)
    transforms = np.concatenate([rotations, shift[..., None]], axis=-1).reshape(*rotations.shape[:2], 12)
    blended = (body.weights[vertices] @ transforms).reshape(len(heads), len(vertices), 3, 4)
    return (blended[..., :3] @ body.vertices[vertices][:, :, None])[..., 0] + blended[..., 3]


def _outermost(body: Body, vertices: np.ndarray) -> np.ndarray:
    """Those of `vertices` that lie furthest in one of many directions, evenly spread (a Fibonacci lattice)."""
    index = np.arange(DIRECTIONS) + 0.5
    height, turn = 1 - 2 * index / DIRECTIONS, np.pi * (1 + 5**0.5) * index
    around = np.sqrt(1 - height**2)
    directions = np.stack([around * np.cos(turn), around * np.sin(turn), height])
    return vertices[np.unique((body.vertices[vertices] @ directions).argmax(axis=0))]


def _extreme(body: Body, vertices: np.ndarray, direction) -> int:
    return int(vertices[np.argmax(body.vertices[vertices] @ np.asarray(direction, float))])


def _centre(body: Body, strongest: np.ndarray, bone: int) -> np.ndarray:
    points = body.vertices[strongest == bone]
    return (points.min(axis=0) + points.max(axis=0)) / 2


def _solids(body: Body):
    """The body as capsules (bone, start, end, radius), points on its limbs (bone, point, radius) that must stay outside
    of them, all in the rest pose, and the pairs (M, 2) of point and capsule that are not neighbours."""
    strongest = body.weights.argmax(axis=1)
    capsules, movers, pairs = [], [], []
    of = {}

    def capsule(key, bone, start, end, radius):
        of.setdefault(key, []).append(len(capsules))
        capsules.append((bone, start, end, radius))

    legs, chest = body.heads[body.bone("LeftUpLeg")], body.heads[body.bone("LeftArm")]
    heights = np.linspace(legs[2] - 0.06 * leg_length(body), chest[2] - 0.03 * leg_length(body), SLICES)
    bones = [body.bone(name) for name in ("Hips", "Spine", "Spine1", "Spine2")]
    arms = [index for index, name in enumerate(body.bones) if "Arm" in name or "Hand" in name]
    torso = body.vertices[body.weights[:, arms].sum(axis=1) < 0.3]
    for height in heights:
        points = torso[np.abs(torso[:, 2] - height) < (heights[1] - heights[0]) / 2]
        low, high = np.quantile(points, 0.02, axis=0), np.quantile(points, 0.98, axis=0)
        radius = min(high[1] - low[1], high[0] - low[0]) / 2
        middle, half = (low + high) / 2, (high[0] - low[0]) / 2 - radius
        middle[2] = height
        bone = max((bone for bone in bones if body.heads[bone][2] < height), key=bones.index, default=bones[0])
        capsule("trunk", bone, middle - [half, 0, 0], middle + [half, 0, 0], 0.98 * radius)
    skull = body.vertices[(strongest == body.bone("Head"))]
    low, high = skull.min(axis=0), skull.max(axis=0)
    radius = (high[0] - low[0]) / 2 * 0.88
    middle = (low + high) / 2
    capsule("head", body.bone("Head"), [0, middle[1], low[2] + radius], [0, middle[1], high[2] - radius], radius)
    for side in SIDES:
        name = side.title()
        joints = {"Buttock": body.bone(f"{name}UpLeg")} | {
            part: body.bone(f"{name}{part}") for part in ("UpLeg", "Leg", "Foot", "ToeBase", "Arm", "ForeArm", "Hand")
        }
        at = {part: body.heads[bone] for part, bone in joints.items()}
        tip = body.heads[body.bone(f"{name}HandMiddle1")]
        ends = {
            "UpLeg": (0.55 * at["Leg"] + 0.45 * at["UpLeg"], at["Leg"]),
            "Buttock": (0.15 * at["Leg"] + 0.85 * at["UpLeg"], 0.55 * at["Leg"] + 0.45 * at["UpLeg"]),
            "Leg": (at["Leg"], at["Foot"]),
            "Foot": (at["Foot"], at["ToeBase"]),
            "Arm": (at["Arm"], at["ForeArm"]),
            "ForeArm": (at["ForeArm"], at["Hand"]),
            "Hand": (at["Hand"], tip),
        }
        width = {part: _radius(body, joints[part], *ends[part]) for part in ends}
        for part, (start, end) in ends.items():
            key = "UpLeg" if part == "Buttock" else part
            capsule(f"{side}_{key}", joints[part], start, end, width[part])

        def mover(bone, point, radius, against):
            pairs.extend((len(movers), key) for key in against)
            movers.append((bone, point, radius))

        def along(part, share, radius, against, joints=joints, ends=ends):
            start, end = ends[part]
            mover(joints[part], start + share * (end - start), radius, against)

        other = "right" if side == "left" else "left"

        others = [f"{other}_{part}" for part in ("Arm", "ForeArm", "Hand")]
        legs = [f"{one}_{part}" for one in SIDES for part in ("UpLeg", "Leg")]
        along("Arm", 0.75, 0.9 * width["Arm"], ["trunk"])
        along("ForeArm", 0.0, 0.9 * width["ForeArm"], ["trunk", "head", "left_UpLeg", "right_UpLeg"])
        for share in (0.35, 0.7, 1.0):
            along("ForeArm", share, (1.0 - 0.3 * share) * width["ForeArm"], ["trunk", "head", *others, *legs])
        along("Hand", 1.0, 0.9 * width["Hand"], ["trunk", "head", *others, *legs, f"{side}_Arm"])
        for finger in ("Thumb", "Index", "Middle", "Pinky"):
            for joint in (2, 3):
                bone = body.bone(f"{name}Hand{finger}{joint}")
                mover(bone, body.tails[bone], 0.4 * width["Hand"], ["trunk", "head", *others, *legs, f"{side}_Arm"])
        across = [f"{other}_UpLeg", f"{other}_Leg", f"{other}_Foot"]
        along("UpLeg", 1.0, 0.9 * width["Leg"], across)
        for share in (0.3, 0.65, 1.0):
            along("Leg", share, (1.0 - 0.3 * share) * width["Leg"], across)
        along("Foot", 1.0, 0.9 * width["Foot"], across)
        mover(joints["ToeBase"], body.tails[joints["ToeBase"]], 0.7 * width["Foot"], across)
    return movers, capsules, np.array([(m, index) for m, key in pairs for index in of[key]])


def _landmarks(body: Body) -> dict[str, tuple[int, np.ndarray]]:
    """{point of TOUCHABLE: (bone it moves with, where it is in the rest pose)}."""
    head, top, nose = body.bone("Head"), body.landmark("head_top"), body.landmark("nose")
    face = top[2] - nose[2]

    def surface(bone: str, towards) -> np.ndarray:
        points = body.vertices[body.weights[:, body.bone(bone)] > 0.5]
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        middle = points[np.abs(points[:, 2] - centre[2]) < 0.3 * np.ptp(points[:, 2])]
        return middle[np.argmax(middle @ np.asarray(towards, float))]

    points = {
        "mouth": (head, nose - [0, 0, 0.25 * face]),
        "chin": (head, nose - [0, 0, 0.55 * face]),
        "nape": (body.bone("Neck"), surface("Neck", [0, 1, 0])),
        "chest": (body.bone("Spine2"), surface("Spine2", [0, -1, 0]) * [0, 1, 1]),
        "belly": (body.bone("Spine"), surface("Spine", [0, -1, 0]) * [0, 1, 1]),
    }
    for side, sign in SIDES.items():
        name = side.title()
        hand, middle, tip, knee, toes, upper = (
            body.bone(f"{name}{part}") for part in ("Hand", "HandMiddle1", "HandMiddle3", "Leg", "ToeBase", "Arm")
        )
        inner = palm(body, side).T @ [-sign, 0, 0]  # the palm's side of the hand
        thick = 0.22 * np.linalg.norm(body.heads[middle] - body.heads[hand])
        eye = body.landmark(f"{side}_eye")
        points |= {
            f"{side}_palm": (hand, (body.heads[hand] + 2 * body.heads[middle]) / 3 + thick * inner),
            f"{side}_fingers": (hand, body.heads[tip] + thick * inner),
            f"{side}_ear": (head, body.landmark(f"{side}_ear")),
            f"{side}_brow": (head, eye + [0.2 * sign * face, 0.05 * face, 0.3 * face]),
            f"{side}_waist": (body.bone("Hips"), surface("Hips", [sign, 0, 0])),
            f"{side}_knee": (knee, body.heads[knee] + [0, -0.06 * leg_length(body), 0]),
            f"{side}_thigh": (body.bone(f"{name}UpLeg"), _front(body, f"{name}UpLeg", 0.62)),
            f"{side}_toe": (toes, body.tails[toes]),
            f"{side}_shoulder": (upper, body.heads[upper] + [0, -0.05 * leg_length(body), 0]),
        }
    return points


def _front(body: Body, bone: str, share: float) -> np.ndarray:
    """(3,) on the front of a limb, so far down it."""
    points = body.vertices[body.weights[:, body.bone(bone)] > 0.8]
    at = points[:, 2].max() - share * np.ptp(points[:, 2])
    near = points[np.abs(points[:, 2] - at) < 0.1 * np.ptp(points[:, 2])]
    return near[np.argmin(near[:, 1])]


def _radius(body: Body, bone: int, start: np.ndarray, end: np.ndarray) -> float:
    points = body.vertices[body.weights[:, bone] > 0.7]
    along = np.clip((points - start) @ (end - start) / np.sum((end - start) ** 2), 0, 1)
    inside = (along > 0.1) & (along < 0.9)
    away = np.linalg.norm(points - start - along[:, None] * (end - start), axis=1)
    return float(np.median(away[inside]))
