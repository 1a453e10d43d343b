"""Walk, wave, squat, dance: motions of a body on its feet that say where pelvis, chest and feet go and which way the
arms point; two-bone inverse kinematics does the rest, so feet stay planted on any body.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.bodies.anny_body import SIDES, Body
from pose_factory.bodies.kinematics import Motion, axes, between, continuous, cycles, euler, leg_length, length, unit

FORWARD = np.array([0.0, -1.0, 0.0])
LONGEST = 0.995  # of the leg: a straighter knee would snap
CLEARANCE = 0.012  # metres that a swinging sole keeps from the floor


def walk(body: Body, frames: int, fps: float) -> Motion:
    """A relaxed walk along -Y, centred on the origin, about 1.15 m/s for an adult; stride and cadence scale with the
    leg as in dynamically similar gaits (Alexander 1989, 'Optimization and gaits in the locomotion of vertebrates')."""
    leg = leg_length(body)
    phase = cycles(frames, fps, natural=1.1 * np.sqrt(leg / 0.85))
    stride = 1.4 * leg
    travel = stride * (phase - phase[-1] / 2)
    feet = {}
    for side, lead in {"left": 0.0, "right": 0.5}.items():
        feet[side] = _step(body, side, phase + lead, stride)
        feet[side].ankle[:, 1] += stride * (lead + phase[-1] / 2)

    turn = 2 * np.pi * phase  # 0 as the left heel lands
    pelvis = euler(pitch=3.0, roll=-3.5 * np.sin(turn), yaw=-5.0 * np.cos(turn))
    chest = euler(pitch=4.0, roll=1.5 * np.sin(turn), yaw=5.0 * np.cos(turn))
    head = euler(pitch=1.0, yaw=1.5 * np.cos(turn))
    pose = _Pose(body, frames)
    pose.stand(
        pelvis, feet, sideways=0.022 * leg * np.sin(turn - 0.3), back=-travel, up=-0.026 * leg * np.cos(2 * turn - 0.3)
    )
    pose.trunk(chest, head)
    for side, sign in SIDES.items():
        swing = -sign * np.cos(turn - 0.25)
        pose.hang_arm(side, shoulder=1.0 + 19.0 * swing, elbow=21.0 + 9.0 * swing, outward=2.0)
    return pose.motion()


def wave(body: Body, frames: int, fps: float) -> Motion:
    """Standing at ease with the weight on the left leg, the right hand waving overhead."""
    slow = np.sin(2 * np.pi * cycles(frames, fps, natural=0.8))
    leg = leg_length(body)
    pose = _Pose(body, frames)
    pose.stand(
        euler(pitch=1.0, roll=-3.5 - 0.5 * slow, yaw=-2.0),
        _standing(body, frames, apart=0.62, toe_out=12.0),
        sideways=0.045 * leg + 0.005 * leg * slow,
    )
    chest = euler(pitch=1.0, roll=3.0 - 1.5 * slow, yaw=4.0)
    pose.trunk(chest, euler(pitch=2.0, roll=-3.0 + 1.5 * slow, yaw=-5.0))
    pose.hang_arm("left", shoulder=3.0 + 1.5 * slow, elbow=20.0 + 2.0 * slow)
    pose.raise_shoulder("right", 16.0 + 2.0 * slow)
    sweep = np.radians(12.0 + 24.0 * slow)
    upper = np.stack([-0.80 + 0.04 * slow, np.full(frames, -0.22), 0.50 + 0.06 * slow], axis=1)
    fore = np.stack([-np.sin(sweep), np.full(frames, -0.12), np.cos(sweep)], axis=1)
    pose.point_arm("right", upper, fore)
    return pose.motion()


def squat(body: Body, frames: int, fps: float) -> Motion:
    """Squats to about a horizontal thigh, feet planted, arms forward for balance."""
    depth = 0.5 - 0.5 * np.cos(2 * np.pi * cycles(frames, fps, natural=2.0))
    thigh = length(body, "LeftUpLeg", "LeftLeg")
    pose = _Pose(body, frames)
    pose.stand(
        euler(pitch=2.0 + 28.0 * depth),
        _standing(body, frames, apart=0.95, toe_out=18.0),
        back=0.42 * thigh * depth,
        up=-0.86 * thigh * depth,
    )
    pose.trunk(euler(pitch=2.0 + 34.0 * depth), euler(pitch=2.0 + 8.0 * depth))
    for side in SIDES:
        pose.hang_arm(side, shoulder=2.0 + 82.0 * depth, elbow=18.0 - 4.0 * depth)
    return pose.motion()


def dance(body: Body, frames: int, fps: float) -> Motion:
    """Step-touches to a beat: the right foot steps out, the left closes up, the left steps back, the right closes up;
    a bounce on each beat, hips and chest in opposition, bent arms swinging."""
    phase = cycles(frames, fps, natural=2.0)
    turn = 2 * np.pi * phase
    leg = leg_length(body)
    step = 0.24 * leg
    feet = _standing(body, frames, apart=0.75, toe_out=10.0)
    for side, (out, back) in {"right": (0.0, 0.75), "left": (0.25, 0.5)}.items():
        (moved_out, lift_out), (moved_back, lift_back) = (_hop(phase, start) for start in (out, back))
        feet[side].ankle[:, 0] += step * (0.5 - moved_out + moved_back)
        feet[side].pitch = -14.0 * (lift_out + lift_back)
        feet[side].planted = lift_out + lift_back == 0
        _clear_floor(body, side, feet[side], 0.05 * leg * (lift_out + lift_back))
    bounce = 0.5 - 0.5 * np.cos(4 * turn)
    pose = _Pose(body, frames)
    pose.stand(
        euler(pitch=4.0, roll=5.0 * np.sin(2 * turn), yaw=9.0 * np.sin(turn)),
        feet,
        sideways=0.55 * step * np.cos(turn),
        up=-0.045 * leg * (1 - bounce),
    )
    chest = euler(pitch=3.0 + 4.0 * bounce, roll=-4.0 * np.sin(2 * turn), yaw=-14.0 * np.sin(turn))
    pose.trunk(chest, euler(pitch=1.0 + 5.0 * bounce, roll=5.0 * np.sin(turn)))
    for side, sign in SIDES.items():
        swing = 26.0 * sign * np.sin(turn)
        pose.hang_arm(side, shoulder=24.0 + swing, elbow=78.0 + 22.0 * np.cos(2 * turn), outward=14.0)
    return pose.motion()


STANDING: dict[str, Callable[[Body, int, float], Motion]] = {
    "walk": walk,
    "wave": wave,
    "squat": squat,
    "dance": dance,
}


def _hop(phase: np.ndarray, start: float) -> tuple[np.ndarray, np.ndarray]:
    """How much (0..1) of a step that begins at `start` of each cycle is done, and how high (0..1) the foot is."""
    done = np.clip((phase % 1 - start) / 0.22, 0, 1)
    lift = np.where((done > 0) & (done < 1), np.sin(np.pi * done) ** 2, 0.0)
    return _ease(done), lift


# ---- feet ----------------------------------------------------------------------------------------------------------


@dataclass
class _Foot:
    """One foot over N frames: its ankle (N, 3) metres, world; in degrees its pitch (N,), toes up positive, how far its
    toes are bent up from it (N,) and its yaw, positive towards +X; and whether it carries weight (N,)."""

    ankle: np.ndarray
    pitch: np.ndarray
    bend: np.ndarray
    yaw: float
    planted: np.ndarray

    def rotation(self) -> np.ndarray:
        """(N, 3, 3) from rest, where the foot is flat and points forward."""
        return euler(yaw=self.yaw) @ euler(pitch=-self.pitch)

    def toes(self) -> np.ndarray:
        """(N, 3, 3) the toes' rotation from rest."""
        return euler(yaw=self.yaw) @ euler(pitch=-(self.pitch + self.bend))


@dataclass(frozen=True)
class _Sole:
    """A flat foot relative to its ankle, metres: the points (K, 3) of the foot and (L, 3) of the toes that can touch
    the floor, the joint (3,) at the base of the toes, and the point (3,) that the foot rolls over as the heel lands."""

    foot: np.ndarray
    toes: np.ndarray
    ball: np.ndarray
    heel: np.ndarray

    def lowest(self, rotation: np.ndarray, toes: np.ndarray) -> np.ndarray:
        """(N,) the height of the lowest point above the ankle for rotations (N, 3, 3) of foot and toes."""
        foot = self.foot @ rotation.transpose(0, 2, 1)
        front = (self.toes - self.ball) @ toes.transpose(0, 2, 1) + (rotation @ self.ball)[:, None]
        return np.minimum(foot[..., 2].min(axis=1), front[..., 2].min(axis=1))


def _sole(body: Body, side: str) -> _Sole:
    ankle, ball = _joint(body, side, "Foot"), _joint(body, side, "ToeBase")
    low = body.vertices[:, 2] < ankle[2]
    foot, toes = (
        body.vertices[low & (body.weights[:, body.bone(f"{side.title()}{part}")] > 0.95)] - ankle
        for part in ("Foot", "ToeBase")
    )
    heel = foot[np.argmin((foot @ euler(pitch=-STRIKE / 2).T)[:, 2])]
    return _Sole(foot, toes, ball - ankle, heel * [0.0, 1.0, 1.0])


def _standing(body: Body, frames: int, apart: float, toe_out: float) -> dict[str, _Foot]:
    """Both feet flat, each `apart` hip widths from the middle and turned out by `toe_out` degrees."""
    feet = {}
    for side, sign in SIDES.items():
        ankle = np.array([sign * apart * _hip_width(body), 0.0, _joint(body, side, "Foot")[2]])
        zeros = np.zeros(frames)
        feet[side] = _Foot(np.tile(ankle, (frames, 1)), zeros, zeros, sign * toe_out, np.ones(frames, bool))
    return feet


STANCE = 0.62  # the share of the cycle that a foot is on the floor
FLAT, HEEL_OFF = 0.09, 0.34  # when the sole has come down, and when the heel leaves
STRIKE, PUSH = 18.0, -44.0  # degrees, the foot's pitch as the heel lands and as the toes leave


def _step(body: Body, side: str, phase: np.ndarray, stride: float) -> _Foot:
    """One foot of a walk that is at the origin and lands its heel at phase 0: it rolls over the heel, lies flat, rolls
    over the base of the toes and swings to where it lands again, a stride further."""
    cycle, phase = np.floor(phase), phase % 1
    swing = np.clip((phase - STANCE) / (1 - STANCE), 0, 1)
    on_floor = phase < STANCE
    sign = SIDES[side]
    yaw = 6.0 * sign

    pitch = np.where(on_floor, _roll_over(phase), _swing_pitch(swing))
    bend = np.where(on_floor, np.clip(-pitch, 0, None), -PUSH * _ease(1 - np.clip(swing / 0.45, 0, 1)))
    landed = np.array([sign * 0.42 * _hip_width(body), -0.25 * stride, _joint(body, side, "Foot")[2]])

    def planted(at):
        return landed + _over_pivot(_sole(body, side), np.asarray(at), yaw)

    ahead, small = stride * FORWARD, 1e-4
    start, end = planted([STANCE])[0], planted([0.0])[0] + ahead
    leaving = (start - planted([STANCE - small])[0]) / small * (1 - STANCE)
    landing = (planted([small])[0] + ahead - end) / small * (1 - STANCE)
    path = np.where(on_floor[:, None], planted(phase), _hermite(swing, start, leaving, end, landing))
    foot = _Foot(path + cycle[:, None] * ahead, pitch, bend, yaw, on_floor)
    _clear_floor(body, side, foot, CLEARANCE * np.sin(np.pi * swing))
    return foot


def _roll_over(phase: np.ndarray) -> np.ndarray:
    """The pitch of a foot on the floor, degrees."""
    return (
        STRIKE * _ease(1 - np.clip(phase / FLAT, 0, 1))
        + PUSH * np.clip((phase - HEEL_OFF) / (STANCE - HEEL_OFF), 0, 1) ** 2
    )


def _swing_pitch(swing: np.ndarray) -> np.ndarray:
    """The pitch of a swinging foot, degrees: it leaves at PUSH, still turning, and lands at STRIKE."""
    turning = 2 * PUSH / (STANCE - HEEL_OFF) * (1 - STANCE)
    return _hermite(swing, np.array([PUSH]), np.array([0.25 * turning]), np.array([STRIKE]), np.array([0.0]))[:, 0]


def _over_pivot(sole: _Sole, phase: np.ndarray, yaw: float) -> np.ndarray:
    """(N, 3) how far the ankle of a planted foot is from where it is when the foot lies flat."""
    pitch = _roll_over(phase)
    landing = pitch > 0
    pivot = np.where(landing[:, None], sole.heel, sole.ball)
    turned = euler(pitch=-pitch)
    shift = pivot - np.einsum("nij,nj->ni", turned, pivot)
    flat = sole.lowest(np.eye(3)[None], np.eye(3)[None])
    shift[:, 2] = np.where(landing, flat - sole.lowest(turned, turned), shift[:, 2])  # heels are round
    return shift @ euler(yaw=yaw).T


def _clear_floor(body: Body, side: str, foot: _Foot, clearance: np.ndarray) -> None:
    """Lift a foot in the air until all of it is `clearance` (N,) metres above the floor."""
    lowest = _sole(body, side).lowest(foot.rotation(), foot.toes()) + foot.ankle[:, 2]
    foot.ankle[:, 2] += np.where(foot.planted, 0.0, np.clip(clearance - lowest, 0, None))


# ---- posing --------------------------------------------------------------------------------------------------------


class _Pose:
    """Bone rotations of one body over N frames, filled in from the pelvis outwards; bones left alone follow their
    parent. Rotations are (N, 3, 3), from rest, in world axes."""

    def __init__(self, body: Body, frames: int):
        self.body, self.frames = body, frames
        self.turned: dict[int, np.ndarray] = {}  # bone: its rotation in the world
        self.bent: dict[int, np.ndarray] = {}  # bone: its rotation on top of its parent's
        for side in SIDES:
            self._curl_fingers(side)

    def stand(self, pelvis, feet: dict[str, _Foot], sideways=0.0, back=0.0, up=0.0) -> None:
        """Put the pelvis, turned by (N, 3, 3), as high as the feet allow, `up` metres (N,) above its mean height,
        `sideways` (to +X) and `back` (to +Y) of its rest position, and reach the feet with the legs."""
        body = self.body
        pelvis = self._every(pelvis)
        self.feet = feet
        root = np.zeros((self.frames, 3)) + body.heads[0] * [1, 1, 0]
        root[:, 0] += sideways
        root[:, 1] += back
        reach = np.full(self.frames, np.inf)
        for side, foot in feet.items():
            hip = root + pelvis @ (_joint(body, side, "UpLeg") - body.heads[0])
            away = np.sum((foot.ankle - hip)[:, :2] ** 2, axis=1)
            reach = np.minimum(reach, foot.ankle[:, 2] - hip[:, 2] + np.sqrt((LONGEST * leg_length(body)) ** 2 - away))
        root[:, 2] = (reach - up).min() + up
        self.root = root
        self.turned[0] = pelvis
        for side, foot in feet.items():
            names = [f"{side.title()}{part}" for part in ("UpLeg", "Leg", "Foot", "ToeBase")]
            thigh, shin, sole, toes = (body.bone(name) for name in names)
            hip = root + pelvis @ (body.heads[thigh] - body.heads[0])
            pole = euler(yaw=foot.yaw) @ FORWARD
            upper, lower = _two_bones(hip, foot.ankle, pole, length(body, *names[:2]), length(body, *names[1:3]))
            hinge = np.cross(foot.ankle - hip, pole)
            rest_hinge = np.cross(body.heads[sole] - body.heads[thigh], FORWARD)
            self._point(thigh, shin, upper, hinge, rest_hinge)
            self._point(shin, sole, lower, hinge, rest_hinge)
            self.turned[sole], self.turned[toes] = self._every(foot.rotation()), self._every(foot.toes())

    def trunk(self, chest, head) -> None:
        """Bend the spine evenly from the pelvis to the chest, and the neck half way from there to the head."""
        chest, head = self._every(chest), self._every(head)
        for share, name in ((1 / 3, "Spine"), (2 / 3, "Spine1"), (1.0, "Spine2")):
            self.turned[self.body.bone(name)] = between(self.turned[0], chest, share)
        self.turned[self.body.bone("Neck")] = between(chest, head, 0.5)
        self.turned[self.body.bone("Head")] = head

    def raise_shoulder(self, side: str, angle) -> None:
        """Lift the collar bone by `angle` degrees (N,)."""
        self.bent[self.body.bone(f"{side.title()}Shoulder")] = self._every(euler(roll=-SIDES[side] * angle))

    def hang_arm(self, side: str, shoulder, elbow, outward: float = 0.0) -> None:
        """Let an arm hang beside the body, clear of it, towards where the chest faces: `shoulder` (N,) degrees forward
        of straight down, `elbow` (N,) degrees bent, and the upper arm `outward` degrees further than needed."""
        upper, fore = _clear_angles(self.body, side)
        chest = self.turned[self.body.bone("Spine2")]
        facing = euler(yaw=np.degrees(np.arctan2(-chest[:, 0, 1], chest[:, 1, 1])))
        self.point_arm(
            side,
            np.einsum("nij,nj->ni", facing, _hanging(side, shoulder, upper + outward, self.frames)),
            np.einsum("nij,nj->ni", facing, _hanging(side, shoulder + elbow, fore, self.frames)),
        )

    def point_arm(self, side: str, upper: np.ndarray, fore: np.ndarray) -> None:
        """Point the upper arm and the forearm along (N, 3) world directions that are not parallel."""
        arm, elbow, hand = (self.body.bone(f"{side.title()}{part}") for part in ("Arm", "ForeArm", "Hand"))
        heads = self.body.heads
        hinge, rest_hinge = np.cross(upper, fore), np.cross(heads[elbow] - heads[arm], heads[hand] - heads[elbow])
        self._point(arm, elbow, upper, hinge, rest_hinge)
        self._point(elbow, hand, fore, hinge, rest_hinge)

    def motion(self) -> Motion:
        """What was posed, as rotations of each bone in its own axes."""
        body = self.body
        world = np.empty((self.frames, len(body.bones), 3, 3))
        local = np.empty_like(world)
        for bone, parent in enumerate(body.parents):
            above = world[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (self.frames, 3, 3))
            bent = self.bent.get(bone, np.eye(3))
            world[:, bone] = self.turned.get(bone, above @ bent)
            local[:, bone] = (
                body.orientations[bone].T @ above.transpose(0, 2, 1) @ world[:, bone] @ body.orientations[bone]
            )
        quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat().reshape(*local.shape[:2], 4)
        planted = {side: foot.planted for side, foot in self.feet.items()}
        return Motion(continuous(quaternions[..., [3, 0, 1, 2]]), self.root, planted)

    def _point(self, bone: int, child: int, direction, hinge, rest_hinge) -> None:
        """Turn a bone so that its child lies along `direction` and its hinge axis comes to `hinge` (N, 3)."""
        rest = axes((self.body.heads[child] - self.body.heads[bone])[None], rest_hinge[None])[0]
        self.turned[bone] = axes(direction, hinge) @ rest.T

    def _curl_fingers(self, side: str, angle: float = 17.0) -> None:
        """Relax a hand: bring the fingers half way to the middle one and bend each joint, about the axis that the
        fingers of the rest pose bend about."""
        heads, tails = self.body.heads, self.body.tails
        fingers = [[self.body.bone(f"{side.title()}Hand{name}{joint}") for joint in (1, 2, 3)] for name in FINGERS]
        along = [unit(tails[first] - heads[first]) for first, _, _ in fingers]
        tips = [unit(tails[last] - heads[last]) for _, _, last in fingers]
        axis = unit(np.cross(along, tips).sum(axis=0))
        curl = Rotation.from_rotvec(np.radians(angle) * axis).as_matrix()
        for direction, finger in zip(along, fingers, strict=True):
            gather = Rotation.from_rotvec(0.5 * np.cross(direction, along[1])).as_matrix()
            for joint, bone in enumerate(finger):
                self.bent[bone] = curl @ gather if joint == 0 else curl

    def _every(self, rotation: np.ndarray) -> np.ndarray:
        return np.broadcast_to(rotation, (self.frames, 3, 3))


FINGERS = ("Index", "Middle", "Ring", "Pinky")


def _hanging(side: str, forward, outward: float, frames: int) -> np.ndarray:
    """(N, 3) the direction of a limb that hangs `forward` (N,) degrees forward and `outward` degrees to its side."""
    forward, outward = np.radians(forward) + np.zeros(frames), np.radians(outward)
    sideways = np.full(frames, SIDES[side] * np.sin(outward))
    return np.stack([sideways, -np.cos(outward) * np.sin(forward), -np.cos(outward) * np.cos(forward)], axis=1)


def _clear_angles(body: Body, side: str) -> tuple[float, float]:
    """How far out (degrees) the upper arm and the forearm must hang so that elbow and hand clear waist and hips."""
    sign = SIDES[side]
    shoulder = _joint(body, side, "Arm")
    upper, fore = (
        length(body, f"{side.title()}{first}", f"{side.title()}{second}")
        for first, second in (("Arm", "ForeArm"), ("ForeArm", "Hand"))
    )
    arms = [index for index, name in enumerate(body.bones) if "Arm" in name or "Hand" in name]
    trunk = body.vertices[body.weights[:, arms].sum(axis=1) < 0.3]

    def half_width(low, high):
        return np.abs(trunk[(trunk[:, 2] > low) & (trunk[:, 2] < high), 0]).max()

    elbow_height, wrist_height = shoulder[2] - upper, shoulder[2] - upper - fore
    elbow = max(half_width(elbow_height - 0.2 * upper, elbow_height + 0.4 * upper) + 0.20 * upper, sign * shoulder[0])
    wrist = half_width(wrist_height - 0.8 * fore, elbow_height) + 0.28 * fore
    outward = np.arcsin(np.clip((elbow - sign * shoulder[0]) / upper, np.sin(np.radians(6.0)), 0.7))
    beyond = wrist - (sign * shoulder[0] + upper * np.sin(outward))
    return np.degrees(outward), np.degrees(np.arcsin(np.clip(beyond / fore, -0.03, 0.7)))


def _two_bones(root, target, pole, upper: float, lower: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions (N, 3) of two bones of given lengths from `root` to `target` (N, 3), bending towards `pole`: the
    triangle's angle at the root by the law of cosines."""
    reach = np.linalg.norm(target - root, axis=1, keepdims=True)
    along = (target - root) / reach
    across = unit(pole - np.sum(pole * along, axis=1, keepdims=True) * along)
    cosine = np.clip((upper**2 + reach**2 - lower**2) / (2 * upper * reach), -1, 1)
    first = along * cosine + across * np.sqrt(1 - cosine**2)
    return first, unit(target - root - upper * first)


# ---- small mathematics ---------------------------------------------------------------------------------------------


def _joint(body: Body, side: str, part: str) -> np.ndarray:
    return body.heads[body.bone(f"{side.title()}{part}")]


def _hip_width(body: Body) -> float:
    return length(body, "LeftUpLeg", "RightUpLeg")


def _ease(share: np.ndarray) -> np.ndarray:
    """0..1 to 0..1, starting and ending at rest."""
    return share**2 * (3 - 2 * share)


def _hermite(share, start, start_speed, end, end_speed) -> np.ndarray:
    """(N, D) the cubic from `start` to `end` (D,) with these speeds per unit of `share` (N,)."""
    s = share[:, None]
    return (
        (2 * s**3 - 3 * s**2 + 1) * start
        + (s**3 - 2 * s**2 + s) * start_speed
        + (3 * s**2 - 2 * s**3) * end
        + (s**3 - s**2) * end_speed
    )
