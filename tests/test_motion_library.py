"""The motion library: every motion, on bodies from a child to the old, is one that a body can make."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from physical import problems
from scipy.spatial.transform import Rotation

from pose_factory.bodies import anatomy, contact, library, motion, performing
from pose_factory.bodies.anny_body import build_body
from pose_factory.bodies.contact import Touch, posed
from pose_factory.bodies.kinematics import forward_kinematics, leg_length
from pose_factory.config import SCHEMA_PATH
from pose_factory.errors import PoseFactoryError
from pose_factory.review.motion_sheet import MOMENTS, TILE, moments, motion_sheet, strip

ROOT = Path(__file__).parents[1]
PHENOTYPES = {
    "child": {"age": 0.3},
    "heavy": {"age": 0.8, "weight": 1.0, "gender": 0.1, "muscle": 0.2},
    "thin": {"age": 0.67, "weight": 0.0, "height": 1.0},
    "old": {"age": 1.0, "gender": 0.9},
}
SCORES = library.scores()
# Each motion on two bodies, each pose on one, in turn: all on all take many minutes.
PAIRS = [
    (name, who)
    for i, (name, score) in enumerate(SCORES.items())
    for who in np.roll(list(PHENOTYPES), -i)[: 1 if score.held else 2].tolist()
]
POSE = {"about": "A pose.", "keys": [{}], "contacts": {"feet": "all"}}

body = cache(lambda who: build_body(PHENOTYPES[who]))


def played(score, who):
    """A motion of the library, once, at 60 frames a second; a pose at 4."""
    pace = np.sqrt(leg_length(body(who)) / performing.ADULT_LEG)
    fps = 4 if score.held else 60
    frames = max(round(score.seconds * pace * fps), 2)
    return performing.perform(score, body(who), frames, fps), fps


def wrong(score, who, made=None):
    made, fps = made or played(score, who)
    frames = np.linspace(0, len(made.root) - 1, 1 if score.held else 12).astype(int)
    return problems(score, body(who), made, fps, frames, score.seat * leg_length(body(who)))


@pytest.mark.parametrize(("name", "who"), PAIRS)
def test_a_body_can_make_it(name, who):
    assert wrong(SCORES[name], who) == []


def test_there_are_enough_and_all_kinds():
    assert len(motion.names()) >= 50
    assert {score.family for score in SCORES.values()} >= {
        *("gaits", "sport", "dance", "yoga", "sitting", "floor", "reaching", "falling", "extreme")
    }
    assert sum(score.extreme for score in SCORES.values()) >= 4


@pytest.mark.parametrize("name", [name for name, score in SCORES.items() if score.loops and not score.held][::6])
def test_a_motion_that_loops_leads_on_to_itself(name):
    """The step from the last frame to the first is no bigger than those inside, the way it gets apart."""
    made, _ = played(SCORES[name], "heavy")
    angle = 1 - np.abs(np.sum(made.rotations * np.roll(made.rotations, 1, axis=0), axis=2))
    assert (angle[0] <= angle[1:].max(axis=0) * 1.05 + 1e-7).all()
    height = np.abs(np.diff(made.root[:, 2], append=made.root[0, 2]))
    assert height[-1] <= height[:-1].max() * 1.05 + 1e-4


# ---- what is wrong is found -----------------------------------------------------------------------------------------


def test_without_settling_limbs_lie_in_the_body_and_contacts_do_not_hold(monkeypatch):
    monkeypatch.setattr(contact, "settle", lambda touch, local, root, *_: (local, root))
    found = " ".join(fault for name in ("lunge", "run", "sit_chair") for fault in wrong(SCORES[name], "heavy"))
    for fault in ("mm deep", "off what it is said to touch", "slides"):
        assert fault in found


def test_what_sinks_slides_or_jerks_is_found():
    score = SCORES["bow"]
    made, fps = played(score, "heavy")
    assert wrong(score, "heavy", (made, fps)) == []
    down = replace(made, root=made.root - [0, 0, 0.05])
    away = replace(made, root=made.root + np.linspace(0, 0.05, len(made.root))[:, None] * [1, 0, 0])
    jerk = made.rotations.copy()
    elbow = body("heavy").bone("LeftForeArm")
    jerk[30, elbow] = jerk[0, body("heavy").bone("LeftLeg")]
    knee = made.rotations.copy()
    knee[:, body("heavy").bone("LeftLeg")] = [0.9, 0.435, 0.0, 0.0]  # bent backwards

    def turned(bone, axis, degrees):  # in the bone's own axes, of which y is its length; of a foot, z is up
        changed, bone = made.rotations.copy(), body("heavy").bone(bone)
        turn = Rotation.from_euler(axis, degrees, degrees=True)
        changed[:, bone] = (Rotation.from_quat(changed[:, bone, [1, 2, 3, 0]]) * turn).as_quat()[:, [3, 0, 1, 2]]
        return changed

    for broken, fault in (
        (down, "below the floor"),
        (away, "slides"),
        (replace(made, rotations=jerk), "changes its speed"),
        (replace(made, rotations=knee), "leg.knee is"),
        (replace(made, rotations=turned("LeftUpLeg", "z", 90)), "left hip is"),
        (replace(made, rotations=turned("RightFoot", "y", 60)), "right foot is"),
        (replace(made, rotations=turned("RightArm", "z", 170)), "right shoulder is"),
    ):
        assert any(fault in problem for problem in wrong(score, "heavy", (broken, fps))), fault


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": [{"legs": {"knee": -20}}]}, "left_leg.knee at -20; it goes from 0 to 152"),
        ({"keys": [{"legs": {"kneee": 20}}]}, "'left_leg.kneee'"),
        ({"keys": [{"at": 9, "legs": {"knee": 20}}]}, "from 0 to 4"),
        ({"keys": [{"left_leg": {"abduct": 80}}]}, "abduct at 80"),
        ({"contacts": {"foot": "all"}}, "contact 'foot'"),
        ({"touch": {"left_palm": {"nose": "all"}}}, "touches 'nose'"),
        ({"end": "hold"}, "'end'"),
        ({"ends": "lop"}, "at ends: 'lop' is not one of"),
        ({"seconds": 0}, "at seconds: 0 "),
        ({"seconds": -2.0}, "at seconds: -2.0 "),
        ({"seconds": float("nan")}, "to nan"),
        ({"seconds": "2"}, "at seconds: '2' is not of type 'number'"),
        ({"keys": []}, "at keys"),
        ({"keys": [{"legs": {"knee": "20"}}]}, "at keys.0.legs.knee"),
        ({"keys": [{"at": 1, "legs": {"knee": 2}}, {"at": 1, "legs": {"knee": 20}}]}, "must follow each other"),
        ({"contacts": {}}, "at contacts"),
        ({"contacts": {"feet": "always"}}, "at contacts.feet: 'all' was expected"),
        ({"contacts": {"feet": [[1, 2, 3]]}}, "at contacts.feet.0"),
        ({"contacts": {"feet": [[2, 1]]}}, "left_foot from 2 to 1; it must last"),
        ({"contacts": {"feet": [[0, 9]]}}, "left_foot from 0 to 9; it must last"),
        ({"contacts": {"feet": [[2, 1]]}, "ends": "hold"}, "left_foot from 2 to 1; it must go forwards"),
        ({"contacts": {"feet": [[-1, 1]]}, "ends": "hold"}, "left_foot from -1 to 1; it must go forwards"),
        ({"touch": {"left_palm": {"nape": [[3, 2]]}}}, "left_palm from 3 to 2"),
        ({"balance": "yes"}, "at balance"),
        ({"seat": -0.5}, "at seat"),
    ],
)
def test_a_wrong_description_is_refused(change, message):
    with pytest.raises(PoseFactoryError, match=message) as refused:
        library.read("pose", "yoga", POSE | change)
    assert len(str(refused.value).splitlines()) == 1


# ---- time -----------------------------------------------------------------------------------------------------------


def test_a_fall_plays_at_its_own_speed_and_stays_down():
    made = motion.animate("fall_backward", body("heavy"), 200, 30)
    short = motion.animate("fall_backward", body("heavy"), 20, 30)
    lasts = int(SCORES["fall_backward"].seconds * np.sqrt(leg_length(body("heavy")) / performing.ADULT_LEG) * 30)
    assert np.ptp(made.root[lasts + 1 :], axis=0).max() == 0
    np.testing.assert_allclose(made.rotations[:20], short.rotations, atol=1e-9)
    assert made.root[-1, 2] < 0.3 * made.root[0, 2]


@pytest.mark.parametrize(("name", "start", "end"), [("jump", 0.86, 1.32), ("basketball_shot", 0.83, 1.22)])
def test_a_jump_flies_as_gravity_has_it(name, start, end):
    """Between take-off and landing, the root's height falls by 9.81 m/s^2."""
    made, fps = played(SCORES[name], "thin")
    pace = np.sqrt(leg_length(body("thin")) / performing.ADULT_LEG)
    times = np.arange(len(made.root)) / fps / pace
    flying = (times > start + 0.1) & (times < end - 0.1)
    bend = np.diff(made.root[flying, 2], 2) * fps**2
    assert len(bend) > 10
    np.testing.assert_allclose(bend, -9.81, atol=0.5)
    assert np.ptp(made.root[:, 2]) > 0.3


def test_running_gets_ahead_and_leaves_the_floor():
    made, fps = played(SCORES["run"], "thin")
    speed = -np.diff(made.root[:, 1]).mean() * fps
    assert 1.8 < speed < 6  # metres a second
    assert not (made.planted["left"] | made.planted["right"]).all()


def test_a_pose_breathes_and_sways():
    made = motion.animate("stand", body("thin"), 48, 12)
    _, heads = forward_kinematics(body("thin"), made)
    moved = np.ptp(heads[:, body("thin").bone("Head")], axis=0).max()
    assert 0.002 < moved < 0.05


@pytest.mark.parametrize("name", ["run", "stand", "faint"])
def test_one_frame_can_be_posed(name):
    made = motion.animate(name, body("old"), 1, 24)
    assert made.rotations.shape == (1, 52, 4)
    assert np.isfinite(made.rotations).all()


# ---- angles ---------------------------------------------------------------------------------------------------------


def standing(**changed):
    """Rotations and heads of the thin body with all angles zero but those given, as {channel with _ for .: degrees}."""
    angles = {channel: np.zeros(1) for channel in anatomy.CHANNELS}
    for channel, degrees in changed.items():
        side, _, rest = channel.partition("_")
        part, _, angle = rest.partition("_")
        angles[f"{side}_{part}.{angle}"] = np.array([float(degrees)])
    return posed(body("thin"), anatomy.rotations(body("thin"), angles), body("thin").heads[:1])


def direction(heads, start, end):
    line = heads[0, body("thin").bone(end)] - heads[0, body("thin").bone(start)]
    return line / np.linalg.norm(line)


@pytest.mark.parametrize(
    ("changed", "start", "end", "expected"),
    [
        ({}, "LeftUpLeg", "LeftLeg", [0, 0, -1]),
        ({}, "RightArm", "RightForeArm", [0, 0, -1]),
        ({"left_leg_flex": 90}, "LeftUpLeg", "LeftLeg", [0, -1, 0]),
        ({"left_leg_knee": 90}, "LeftLeg", "LeftFoot", [0, 1, 0]),
        ({"left_leg_abduct": 45}, "LeftUpLeg", "LeftLeg", [0.7071, 0, -0.7071]),
        ({"right_leg_flex": 90, "right_leg_abduct": 45}, "RightUpLeg", "RightLeg", [-0.7071, -0.7071, 0]),
        ({"left_arm_flex": 180}, "LeftArm", "LeftForeArm", [0, 0, 1]),
        ({"right_arm_abduct": 90}, "RightArm", "RightForeArm", [-1, 0, 0]),
        ({"left_arm_elbow": 90}, "LeftForeArm", "LeftHand", [0, -1, 0]),
        ({"left_arm_elbow": 90, "left_arm_rotate": 90}, "LeftForeArm", "LeftHand", [1, 0, 0]),
        ({"right_arm_wrist": 90}, "RightHand", "RightHandMiddle1", [1, 0, 0]),
    ],
)
def test_angles_mean_what_anatomy_means(changed, start, end, expected):
    _, heads = standing(**changed)
    np.testing.assert_allclose(direction(heads, start, end), expected, atol=1e-3)


def test_the_nearest_of_the_orientations_that_ranges_allow():
    """Against all that lie on a grid of 4 degrees within the ranges, for rotations that are up to 40 degrees beyond."""
    low, high = np.radians([[-130, -62, -45], [32, 30, 50]])
    grid = np.meshgrid(*[np.linspace(a, b, 2 + int((b - a) / np.radians(4))) for a, b in zip(low, high, strict=True)])
    grid = Rotation.from_euler("XYZ", np.stack(grid, axis=-1).reshape(-1, 3)).as_matrix().reshape(-1, 9)
    rng = np.random.default_rng(1)
    allowed = Rotation.from_euler("XYZ", rng.uniform(low, high, (200, 3)))
    away = Rotation.from_rotvec(rng.uniform(0, np.radians(40), (200, 1)) * Rotation.random(200, rng).apply([1, 0, 0]))
    turned = (allowed * away).as_matrix()
    angles = anatomy.nearest(turned, low, high)
    assert ((low <= angles) & (angles <= high)).all()
    found = np.degrees((Rotation.from_euler("XYZ", angles).inv() * Rotation.from_matrix(turned)).magnitude())
    best = np.degrees(np.arccos(np.clip(((turned.reshape(-1, 9) @ grid.T).max(axis=1) - 1) / 2, -1, 1)))
    assert (found <= best + 0.01).all()
    assert (found > 1).mean() > 0.2
    np.testing.assert_allclose(
        Rotation.from_euler("XYZ", anatomy.nearest(allowed.as_matrix(), low, high)).as_matrix(),
        allowed.as_matrix(),
        atol=1e-6,
    )


# ---- what it touches ------------------------------------------------------------------------------------------------


def test_hands_reach_what_they_are_to_touch():
    made, _ = played(SCORES["phone_call"], "old")
    rotations, heads = forward_kinematics(body("old"), made)
    touch = Touch(body("old"))
    here, there = (
        heads[:, bone] + rotations[:, bone] @ (rest - body("old").heads[bone])
        for bone, rest in (touch.points["right_palm"], touch.points["right_ear"])
    )
    assert np.linalg.norm(here - there, axis=1).max() < 0.08


# ---- names, page and sheet ------------------------------------------------------------------------------------------


def test_the_config_knows_every_motion():
    schema = json.loads(SCHEMA_PATH.read_text())
    validator = jsonschema.Draft202012Validator(
        schema["$defs"]["anny"]["properties"]["motion"] | {"$defs": schema["$defs"]}
    )
    assert all(validator.is_valid(name) for name in motion.names())
    assert not validator.is_valid("wlak")


def test_an_unknown_motion_is_refused_with_the_nearest():
    with pytest.raises(PoseFactoryError, match=r"'handstnad': did you mean 'handstand'\?"):
        motion.animate("handstnad", body("thin"), 10, 24)


def test_the_page_lists_every_motion_with_what_it_shows():
    page = (ROOT / "docs" / "motions.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == motion.names()
    for name, score in SCORES.items():
        lasts = "held" if score.held else f"{score.seconds:g} s" + ("" if score.loops else ", stays")
        assert f"| `{name}` | {lasts} | {score.about} |" in rows


def test_the_sheet_shows_each_motion():
    names = ["walk", "tree", "jump", "faint"]
    sheet = motion_sheet(body("thin"), names)
    assert sheet.shape[1] > 3 * MOMENTS * TILE
    assert len(moments(body("thin"), "tree")) == 1
    standing = strip(body("thin"), moments(body("thin"), "walk")).astype(int)
    colours = np.abs(standing - standing[0, 0]).sum(axis=2) > 60
    columns = colours[: TILE // 2].any(axis=0).reshape(MOMENTS, TILE).any(axis=1)
    assert columns.all()  # somebody in every tile
