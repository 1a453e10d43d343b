"""Motions put onto bodies of other proportions: limbs keep their directions, feet stay and touch the floor."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from characters import UNKNOWN_RIG, build_humanoid, write, write_blend
from scipy.spatial.transform import Rotation

from pose_factory.blender import motion_files, scene
from pose_factory.blender.fitted_character import export
from pose_factory.blender.prepare import prepare
from pose_factory.blender.recording import record
from pose_factory.bodies.anny_body import build_body, skin
from pose_factory.bodies.motion import animate, forward_kinematics
from pose_factory.errors import PoseFactoryError
from pose_factory.motion_export.bvh import bvh
from pose_factory.retargeting.contacts import feet, points
from pose_factory.retargeting.recording import LIMBS, SIDES, Recording, leg_length
from pose_factory.retargeting.retarget import retarget
from pose_factory.rigs import detect

SAMBA = Path(__file__).parents[2] / "shared" / "characters" / "Samba Dancing.fbx"
BODIES = {
    "child": {"age": 0.33, "height": 0.4},
    "heavy": {"age": 0.75, "weight": 1.0, "gender": 0.1, "muscle": 0.3},
    "tall and thin": {"height": 1.0, "weight": 0.1, "muscle": 0.4, "gender": 0.6},
}
DEGREES = 2.0
ENDS = {"elbow": "forearm", "wrist": "hand", "knee": "shin", "ankle": "foot"}


@cache
def body_of(name: str):
    return build_body(BODIES[name])


@pytest.fixture(scope="module", params=BODIES)
def body(request):
    return body_of(request.param)


def angle(one, other) -> np.ndarray:
    """Degrees between vectors."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other), axis=-1), np.sum(one * other, axis=-1)))


def worst_limb(recording: Recording, body, heads) -> float:
    """The largest angle between a limb of the recording and that of the body, of all frames, degrees."""
    chains = detect(body.bones).chains
    worst = []
    for side in SIDES:
        for part, (start, end) in LIMBS.items():
            first, second = (body.bones.index(chains[f"{side}_{of}"][0]) for of in (part, ENDS[end]))
            along = recording.places[f"{side}_{end}"] - recording.places[f"{side}_{start}"]
            worst.append(angle(along, heads[:, second] - heads[:, first]).max())
    return max(worst)


def soles(body, rotations, heads) -> dict[str, np.ndarray]:
    """{side: (N, V, 3)} the vertices of the feet."""
    found = {}
    for side in SIDES:
        bones = [body.bone(f"{side.title()}{part}") for part in ("Foot", "ToeBase")]
        chosen = body.weights[:, bones].sum(axis=1) > 0.9
        part = replace(body, vertices=body.vertices[chosen], weights=body.weights[chosen])
        found[side] = skin(part, rotations, heads)
    return found


def slid(recording: Recording, body, rotations, heads) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{side: how far a point of a foot goes in each step in which it carries weight, metres}: the recording's, if its
    legs were as long as the body's, and the same point, in the same steps, of the body's foot."""
    rest = {
        f"{side}_{joint}": bone_head(body, side, joint) for side in SIDES for joint in ("hip", "knee", "ankle", "foot")
    }
    found = {}
    for side, foot in feet(recording).items():
        anchors, steps = foot.anchors()
        (held,) = np.nonzero(anchors >= 0)
        bone, _ = detect(body.bones).joints[f"{side}_ankle"]
        ankle = body.bones.index(bone)
        paths = heads[:, ankle, None] + points(rest, side) @ rotations[:, ankle].transpose(0, 2, 1)
        moved = np.linalg.norm(np.diff(paths[..., :2], axis=0), axis=2)
        theirs = np.linalg.norm(steps[held], axis=1) * leg_length(rest) / leg_length(recording.rest)
        found[side] = theirs, moved[held, anchors[held]]
    return found


def check_slides(recording: Recording, body, rotations, heads) -> None:
    """Feet slide no further than the recording's, on average and in 95 % of the steps, to 0.1 mm a frame."""
    for side, (theirs, ours) in slid(recording, body, rotations, heads).items():
        assert len(ours) > 0.3 * len(recording), side
        for measure in (np.mean, lambda values: np.percentile(values, 95)):
            assert measure(ours) < measure(theirs) + 1e-4, (side, measure(ours), measure(theirs))


def bone_head(body, side, joint):
    bone, _ = detect(body.bones).joints[f"{side}_{joint}"]
    return body.heads[body.bones.index(bone)]


# A doll whose every turn is known


def standing(arms: float = 0.0, knees: float = 0.0) -> dict[str, np.ndarray]:
    """A rest pose, 10 units to the metre: arms `arms` degrees below the horizontal."""
    down, out = np.sin(np.radians(arms)), np.cos(np.radians(arms))
    joints = {"pelvis": [0, 0, 9.6], "spine": [0, 0, 11.5], "neck": [0, 0.2, 14.5]}
    for side, sign in (("left", 1), ("right", -1)):
        shoulder = np.array([1.7 * sign, 0.2, 14.0])
        joints |= {f"{side}_shoulder": shoulder}
        joints |= {f"{side}_elbow": shoulder + 2.8 * np.array([sign * out, 0, -down])}
        joints |= {f"{side}_wrist": shoulder + 5.2 * np.array([sign * out, 0, -down])}
        joints |= {f"{side}_hip": [0.9 * sign, 0, 9.1], f"{side}_knee": [0.9 * sign, -0.1, 5.1]}
        joints |= {f"{side}_ankle": [0.9 * sign, 0.2, 0.9], f"{side}_foot": [0.9 * sign, -1.1, 0.2]}
    return {joint: np.array(place, float) for joint, place in joints.items()}


TREE = {"trunk": ("pelvis", "spine"), "neck": ("trunk", "neck")}
for _side in SIDES:
    TREE |= {
        f"{_side}_upper_arm": ("trunk", f"{_side}_shoulder"),
        f"{_side}_forearm": (f"{_side}_upper_arm", f"{_side}_elbow"),
    }
    TREE |= {f"{_side}_hand": (f"{_side}_forearm", f"{_side}_wrist"), f"{_side}_thigh": ("pelvis", f"{_side}_hip")}
    TREE |= {f"{_side}_shin": (f"{_side}_thigh", f"{_side}_knee"), f"{_side}_foot": (f"{_side}_shin", f"{_side}_ankle")}
    TREE |= {f"{_side}_toes": (f"{_side}_foot", f"{_side}_foot")}


def doll(rest, bends, path, fps=30.0) -> Recording:
    """A recording by forward kinematics: `bends` {part: (N, 3)} rotation vectors in degrees, world axes, on top of the
    part above; `path` (N, 3) of the pelvis."""
    frames = len(path)
    turns, places = {}, {"pelvis": path}
    for part in ("pelvis", *TREE):
        bend = Rotation.from_rotvec(np.radians(np.broadcast_to(bends.get(part, np.zeros(3)), (frames, 3)))).as_matrix()
        if part == "pelvis":
            turns[part] = bend
            continue
        above, joint = TREE[part]
        base = "pelvis" if above == "pelvis" else TREE[above][1]
        places[joint] = places[base] + turns[above] @ (rest[joint] - rest[base])
        turns[part] = turns[above] @ bend
    return Recording(fps, rest, places, turns)


def stepping(frames=90, arms=0.0, fps=30.0) -> Recording:
    """It lifts one knee after the other on the spot, turns its hips, waves, and goes down into its knees."""
    time = np.arange(frames) / fps
    lift = np.clip(np.sin(2 * np.pi * time), 0, 1), np.clip(-np.sin(2 * np.pi * time), 0, 1)
    dip = 12 * (1 - np.cos(4 * np.pi * time)) / 2
    bends = {"pelvis": np.outer(10 * np.sin(2 * np.pi * time), [0, 0, 1]), "trunk": np.outer(-dip, [1, 0, 0])}
    for side, sign, up in (("left", 1, lift[0]), ("right", -1, lift[1])):
        bends[f"{side}_upper_arm"] = np.outer(sign * 60 * np.sin(3 * time), [0, 1, 0])
        bends[f"{side}_forearm"] = np.outer(sign * (30 + 30 * np.cos(5 * time)), [0.3, 0, -1])
        bends[f"{side}_thigh"] = np.outer(-(55 * up + dip), [1, 0, 0])
        bends[f"{side}_shin"] = np.outer(70 * up + 2 * dip, [1, 0, 0])
        bends[f"{side}_foot"] = np.outer(-(15 * up + dip), [1, 0, 0])
    rest = standing(arms)
    free = doll(rest, bends, np.tile(rest["pelvis"], (frames, 1)), fps)
    lower = np.argmin([free.places[f"{side}_foot"][:, 2] for side in SIDES], axis=0)
    ball = np.where(lower[:, None] == 0, free.places["left_foot"], free.places["right_foot"])
    return doll(
        rest, bends, rest["pelvis"] - (ball - np.where(lower[:, None] == 0, rest["left_foot"], rest["right_foot"])), fps
    )


@pytest.mark.parametrize("arms", [0, 45, 80])
def test_limbs_keep_their_directions_whatever_the_rest_pose(body, arms):
    recording = stepping(40, arms)
    rotations, heads = forward_kinematics(body, retarget(recording, body))
    assert worst_limb(recording, body, heads) < DEGREES
    arms_only = {
        side: heads[:, body.bone(f"{side.title()}ForeArm")] - heads[:, body.bone(f"{side.title()}Arm")]
        for side in SIDES
    }
    for side, along in arms_only.items():  # nothing holds an arm
        wanted = recording.places[f"{side}_elbow"] - recording.places[f"{side}_shoulder"]
        np.testing.assert_allclose(angle(wanted, along), 0, atol=1e-4)


def test_a_twist_of_a_limb_is_kept(body):
    """A forearm that turns about itself by a right angle takes the hand with it."""
    rest = standing()
    twists = np.array([0.0, 45, 90])
    recording = doll(rest, {"left_forearm": np.outer(twists, [1, 0, 0])}, np.tile(rest["pelvis"], (3, 1)))
    rotations, _ = forward_kinematics(body, retarget(recording, body))
    for bone in ("LeftForeArm", "LeftHand"):
        turned = rotations[:, body.bone(bone)]
        since = Rotation.from_matrix(turned @ turned[0].T).as_rotvec(degrees=True)
        np.testing.assert_allclose(since, np.outer(twists, [1, 0, 0]), atol=1e-6)


def test_feet_hold_and_touch_the_floor_as_far_as_the_recordings(body):
    recording = stepping()
    motion = retarget(recording, body)
    rotations, heads = forward_kinematics(body, motion)
    check_slides(recording, body, rotations, heads)
    for side, vertices in soles(body, rotations, heads).items():
        lowest = vertices[..., 2].min(axis=1)
        assert motion.planted[side].mean() > 0.3
        assert lowest.min() > -0.004
        assert np.percentile(lowest[motion.planted[side]], 95) < 0.012


def test_the_way_is_as_long_as_the_legs(body):
    rest = standing()
    path = rest["pelvis"] + np.outer(np.linspace(0, 30, 31), [0, -1, 0])
    motion = retarget(doll(rest, {}, path), body)
    hips = [bone_head(body, side, "hip") for side in SIDES]
    joints = {f"{side}_{joint}": bone_head(body, side, joint) for side in SIDES for joint in ("hip", "knee", "ankle")}
    scale = leg_length(joints) / leg_length(rest)
    np.testing.assert_allclose(motion.root[-1] - motion.root[0], [0, -30 * scale, 0], atol=0.02)
    np.testing.assert_allclose((motion.root[0] + np.mean(hips, axis=0) - body.heads[0])[:2], 0, atol=0.01)


def test_a_single_frame_and_a_long_motion(body):
    still = retarget(stepping(1), body)
    assert still.rotations.shape == (1, len(body.bones), 4) and np.isfinite(still.root).all()
    recording = stepping(90).played(1500)
    motion = retarget(recording, body)
    assert np.isfinite(motion.rotations).all() and len(motion.root) == 1500
    assert worst_limb(recording, body, forward_kinematics(body, motion)[1]) < DEGREES


# Other rates and lengths


def test_a_motion_is_resampled_at_its_real_speed():
    recording = stepping(91)
    slower = recording.played(fps=15)
    assert (len(slower), slower.fps) == (46, 15)
    np.testing.assert_allclose(slower.places["left_knee"], recording.places["left_knee"][::2], atol=1e-9)
    np.testing.assert_allclose(slower.turns["left_thigh"], recording.turns["left_thigh"][::2], atol=1e-9)
    between = recording.played(fps=60)
    assert len(between) == 181
    halves = [Rotation.from_matrix(between.turns["left_forearm"][row]) for row in (40, 41, 42)]
    first, second = ((one.inv() * other).as_rotvec() for one, other in zip(halves, halves[1:], strict=False))
    np.testing.assert_allclose(first, second, atol=1e-9)
    assert len(recording.played()) == len(recording) and recording.played().fps == recording.fps


def test_a_motion_is_cut_starts_over_or_is_held():
    recording = stepping(90)
    np.testing.assert_allclose(recording.played(7).places["neck"], recording.places["neck"][:7])
    rest = standing()
    turn = np.outer(np.arange(30) * 12, [0, 1.0, 0])  # 30 frames of 12 degrees come round
    path = rest["pelvis"] + np.outer(np.arange(30) * 0.1, [0, -1, 0])
    cyclic = doll(rest, {"left_upper_arm": turn}, path).played(75)
    np.testing.assert_allclose(cyclic.turns["left_upper_arm"][60:], cyclic.turns["left_upper_arm"][:15], atol=1e-9)
    np.testing.assert_allclose(np.diff(cyclic.places["pelvis"], axis=0), np.tile([0, -0.1, 0], (74, 1)), atol=1e-9)
    held = doll(rest, {"left_upper_arm": turn[:10]}, path[:10]).played(20)
    np.testing.assert_allclose(held.turns["left_upper_arm"][10:], np.tile(held.turns["left_upper_arm"][9], (10, 1, 1)))


# Through files


@pytest.fixture(scope="module")
def walk():
    source = body_of("heavy")
    return source, animate("walk", source, 36, 24)


@pytest.mark.parametrize("suffix", [".bvh", ".fbx", ".glb"])
def test_a_motion_of_ours_comes_back_from_a_file(walk, tmp_path, suffix):
    """On the same body the same, on another with the same limbs."""
    source, motion = walk
    path = tmp_path / f"a walk{suffix}"
    if suffix == ".bvh":
        path.write_text(bvh(source, *forward_kinematics(source, motion), 24))
    else:
        export(source, motion, 24, "walk", path)
    recording = motion_files.read(path)
    assert recording.fps == pytest.approx(24) and len(recording) == 36
    _, expected = forward_kinematics(source, motion)
    assert worst_limb(recording, source, expected) < 0.1
    again_turned, again = forward_kinematics(source, retarget(recording, source))
    assert np.abs(again - again[:1, :1] - (expected - expected[:1, :1])).max() < 0.012
    child = body_of("child")
    rotations, heads = forward_kinematics(child, retarget(recording, child))
    assert worst_limb(recording, child, heads) < DEGREES
    check_slides(recording, child, rotations, heads)


OTHERS = [{"centimetres": True}, {"turn": 90.0}, {"lie": True}, {"bone_map": "unreal"}, {"mirrored": True}]


@pytest.mark.parametrize("settings", OTHERS)
def test_a_doll_of_another_rig_moves_a_body(tmp_path, settings):
    """Whatever its unit, its axis up, the way that it faces, its names and whether its axes are left-handed."""
    plain, other = (
        motion_files.read(write(tmp_path / f"{name}.fbx", frames=9, **options))
        for name, options in (("plain", {}), ("other", settings))
    )
    body = body_of("child")
    expected, got = (forward_kinematics(body, retarget(one, body)) for one in (plain, other))
    np.testing.assert_allclose(got[1], expected[1], atol=0.004)
    assert worst_limb(other, body, got[1]) < DEGREES
    left = got[1][:, body.bone("LeftHand")] - got[1][:, body.bone("LeftArm")]
    assert left[-1, 2] > left[0, 2] + 0.2  # the left arm rises


def test_a_character_of_left_handed_axes_moves_as_any_other(tmp_path):
    motion = {"file": str(write(tmp_path / "walks.blend", frames=9))}
    found = []
    for mirrored in (False, True):
        path = write(tmp_path / "doll.blend", mirrored=mirrored, actions=[])
        facts = prepare({"file": str(path), "motion": motion}, tmp_path / "character.blend")
        scene.open_character(tmp_path / "character.blend")
        (person,) = record(facts)
        found.append(person.joints)
    assert np.nanmax(np.linalg.norm(found[0][-1] - found[0][0], axis=-1)) > 0.2
    np.testing.assert_allclose(*found, atol=1e-4)


@pytest.mark.skipif(not SAMBA.exists(), reason=f"{SAMBA} is not there, so Mixamo's own motion is not put onto a body")
def test_a_samba_looks_right_on_any_body(body):
    recording = samba()
    motion = retarget(recording, body)
    rotations, heads = forward_kinematics(body, motion)
    assert worst_limb(recording, body, heads) < DEGREES
    check_slides(recording, body, rotations, heads)
    for side, vertices in soles(body, rotations, heads).items():
        lowest = vertices[..., 2].min(axis=1)
        assert lowest.min() > -0.006
        assert np.percentile(lowest[motion.planted[side]], 95) < 0.012
    assert (np.sum(motion.rotations[1:] * motion.rotations[:-1], axis=2) > 0.8).all()


@cache
def samba() -> Recording:
    return motion_files.read(SAMBA)


# What cannot be taken


def refusal(path, action=None) -> str:
    with pytest.raises(PoseFactoryError) as error:
        motion_files.read(path, action)
    text = str(error.value)
    assert str(path) in text and "\n" not in text and text.endswith(".")
    return text


def test_a_file_without_a_motion_is_refused(tmp_path):
    assert "has no animation" in refusal(write(tmp_path / "still.fbx", actions=[]))
    assert "it has no animation; remove `action` beside `file` in `motion`." in refusal(tmp_path / "still.fbx", "jump")
    told = refusal(write(tmp_path / "two.blend", actions=["move", "march"]))
    assert told.endswith(': It has 2 actions: choose one of "march", "move" with `action` beside `file` in `motion`.')
    assert len(motion_files.read(tmp_path / "two.blend", "march")) == 5
    assert 'has no action "jump"' in refusal(tmp_path / "two.blend", "jump")


def test_an_unknown_rig_and_a_file_without_any_are_refused(tmp_path):
    assert "No rig map fits" in refusal(write(tmp_path / "unknown.fbx", bone_map=UNKNOWN_RIG))
    assert "no armature" in refusal(write(tmp_path / "none.glb", with_armature=False))


def test_of_several_people_none_is_guessed(tmp_path):
    write(tmp_path / "two.blend")
    for o in build_humanoid("unreal", frames=3).meshes:
        o.location.x = 2
    write_blend(tmp_path / "two.blend")
    assert 'it holds 2 rigged people, "Armature", "Armature.001"; export the one' in refusal(tmp_path / "two.blend")


def test_a_motion_without_skin_will_do(tmp_path):
    """As Mixamo offers them."""
    assert len(motion_files.read(write(tmp_path / "skinless.fbx", with_mesh=False))) == 5
