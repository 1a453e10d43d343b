"""BVH as programs write it: any order of joints and channels, any names, units and axes up; and what is damaged."""

import re

import bpy
import numpy as np
import pytest

from pose_factory.blender import actions, evaluate, motion_files
from pose_factory.errors import PoseFactoryError
from pose_factory.retargeting import bvh
from pose_factory.retargeting.recording import leg_length

# Parts of a person 1.7 m high that faces +Z, Y up: joint, the one above it, offset in metres.
BODY = [
    ("pelvis", None, (0, 0, 0)),
    ("spine", "pelvis", (0, 0.2, 0)),
    ("neck", "spine", (0, 0.3, 0)),
    ("head", "neck", (0, 0.1, 0)),
]
for _side, _sign in (("left", 1), ("right", -1)):
    BODY += [
        (f"{_side}_collar", "spine", (0.05 * _sign, 0.25, 0)),
        (f"{_side}_shoulder", f"{_side}_collar", (0.13 * _sign, 0, 0)),
    ]
    BODY += [
        (f"{_side}_elbow", f"{_side}_shoulder", (0.28 * _sign, 0, 0)),
        (f"{_side}_wrist", f"{_side}_elbow", (0.25 * _sign, 0, 0)),
    ]
    BODY += [(f"{_side}_hip", "pelvis", (0.09 * _sign, -0.08, 0)), (f"{_side}_knee", f"{_side}_hip", (0, -0.42, 0.01))]
    BODY += [
        (f"{_side}_ankle", f"{_side}_knee", (0, -0.40, -0.02)),
        (f"{_side}_foot", f"{_side}_ankle", (0, -0.06, 0.13)),
    ]
Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def named(pattern: dict[str, str]) -> dict[str, str]:
    """{joint: name}, of both sides, {S} for Left or Right, {s} for l or r."""
    names = {}
    for joint, _, _ in BODY:
        side, _, part = joint.partition("_")
        given = pattern.get(part or joint)
        if given:
            names[joint] = given.format(S=side.title(), s=side[0])
    return names


BIOVISION = {"pelvis": "Hips", "spine": "Chest", "neck": "Neck", "head": "Head", "collar": "{S}Collar"}
BIOVISION |= {"shoulder": "{S}Shoulder", "elbow": "{S}Elbow", "wrist": "{S}Wrist"}
BIOVISION |= {"hip": "{S}Hip", "knee": "{S}Knee", "ankle": "{S}Ankle", "foot": "{S}Toe"}
MIXAMO = {
    "pelvis": "Hips",
    "spine": "Spine",
    "neck": "Neck",
    "head": "Head",
    "collar": "{S}Shoulder",
    "shoulder": "{S}Arm",
}
MIXAMO |= {
    "elbow": "{S}ForeArm",
    "wrist": "{S}Hand",
    "hip": "{S}UpLeg",
    "knee": "{S}Leg",
    "ankle": "{S}Foot",
    "foot": "{S}ToeBase",
}
NAMES = {
    "mixamo": MIXAMO,
    "biovision": BIOVISION,
    "biovision, upper arms": {
        **BIOVISION,
        **{"shoulder": "{S}UpArm", "elbow": "{S}LowArm", "wrist": "{S}Hand"},
        **{"hip": "{S}UpLeg", "knee": "{S}LowLeg", "ankle": "{S}Foot"},
    },
    "rokoko": {**MIXAMO, "spine": "Spine1", "hip": "{S}Thigh", "knee": "{S}Shin", "foot": "{S}Toe"},
    "poser": {
        **{"pelvis": "hip", "spine": "abdomen", "neck": "neck", "head": "head", "collar": "{s}Collar"},
        **{"shoulder": "{s}Shldr", "elbow": "{s}ForeArm", "wrist": "{s}Hand"},
        **{"hip": "{s}Thigh", "knee": "{s}Shin", "ankle": "{s}Foot"},
    },
}


def write(
    path,
    pattern=MIXAMO,
    *,
    unit=1.0,
    order="ZXY",
    orders=None,
    positions=False,
    ends=True,
    z_up=False,
    backwards=False,
    frames=7,
    fps=30,
    seed=1,
):
    """A BVH file of the BODY in a motion of turns of up to 40 degrees about all axes, and its angles (N, J, 3), in each
    joint's order. `unit` of the file in metres^-1, `orders` {joint: order}, `positions` on all joints, `backwards` with
    each joint's children in reverse."""
    names = named(pattern)
    rng = np.random.default_rng(seed)
    rows = {joint: rng.uniform(-40, 40, (frames, 3)) for joint in names}
    travel = np.cumsum(rng.uniform(-0.05, 0.05, (frames, 3)), axis=0) + [0, 0.95, 0]
    turn = Y_UP_TO_Z_UP if z_up else np.eye(3)
    lines, columns = ["HIERARCHY"], []

    def joint_of(joint, indent):
        above, offset = next((above, offset) for name, above, offset in BODY if name == joint)
        lines.append(f"{indent}{'JOINT' if above else 'ROOT'} {names[joint]}")
        lines.append(f"{indent}{{")
        place = turn @ offset * unit
        lines.append(f"{indent}\tOFFSET {place[0]:.6f} {place[1]:.6f} {place[2]:.6f}")
        axes = (orders or {}).get(joint, order)
        moves = positions or not above
        words = ["Xposition", "Yposition", "Zposition"] * moves + [f"{axis}rotation" for axis in axes]
        lines.append(f"{indent}\tCHANNELS {len(words)} {' '.join(words)}")
        if moves:
            columns.append(np.tile(place, (frames, 1)) if above else travel @ turn.T * unit)
        columns.append(rows[joint])
        children = [name for name, parent, _ in BODY if parent == joint and name in names]
        for child in reversed(children) if backwards else children:
            joint_of(child, indent + "\t")
        if not children and ends:
            lines.extend(
                [f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\tOFFSET 0 {0.1 * unit} 0", f"{indent}\t}}"]
            )
        lines.append(f"{indent}}}")

    joint_of("pelvis", "")
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {1 / fps:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in np.hstack(columns)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("pattern", NAMES.values(), ids=NAMES.keys())
def test_names_of_many_programs_are_known(tmp_path, pattern):
    recording = bvh.read(write(tmp_path / "a motion.bvh", pattern))
    assert len(recording) == 7 and recording.fps == 30
    assert recording.rest["left_wrist"][0] > 0.6 and recording.rest["neck"][2] > recording.rest["pelvis"][2] + 0.4
    if "foot" in pattern:
        assert recording.rest["left_foot"][1] < recording.rest["left_ankle"][1] - 0.1  # it faces -Y


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"order": "XYZ"},
        {"order": "YZX", "orders": {"left_shoulder": "ZYX", "right_knee": "XZY", "pelvis": "YXZ"}},
        {"positions": True},
        {"backwards": True, "fps": 120},
        {"unit": 39.37},
    ],
)
def test_a_file_is_read_as_blender_reads_it(tmp_path, settings):
    path = write(tmp_path / "motion.bvh", **settings)
    recording = motion_files.read(path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_anim.bvh(filepath=str(path), update_scene_fps=False, use_fps_scale=False)
    (armature,) = (o for o in bpy.data.objects if o.type == "ARMATURE")
    assert actions.apply(armature, None)[1:] == (1, len(recording))
    for joint, name in named(MIXAMO).items():
        if joint in recording.places:
            seen = [armature.matrix_world @ armature.pose.bones[name].head for _ in evaluate.each_frame(range(1, 8))]
            np.testing.assert_allclose(recording.places[joint], np.array(seen), atol=2e-4 * settings.get("unit", 1))


@pytest.mark.parametrize("settings", [{"z_up": True}, {"unit": 100}, {"ends": False}, {"backwards": True}])
def test_units_axes_and_missing_ends_make_no_difference(tmp_path, settings):
    """Turned about the same axes, which with Z up are others."""
    plain = bvh.read(write(tmp_path / "plain.bvh", frames=1))
    other = bvh.read(write(tmp_path / "other.bvh", frames=1, **settings))
    scale = leg_length(other.rest) / leg_length(plain.rest)
    assert scale == pytest.approx(settings.get("unit", 1))
    for joint, place in plain.rest.items():
        np.testing.assert_allclose(
            other.rest[joint] - other.rest["pelvis"], scale * (place - plain.rest["pelvis"]), atol=1e-4
        )
    if "z_up" not in settings:  # whose angles are about other axes
        np.testing.assert_allclose(other.places["left_hip"], scale * plain.places["left_hip"], rtol=1e-4, atol=1e-4)


def test_braces_and_line_ends_of_any_style_will_do(tmp_path):
    path = write(tmp_path / "motion.bvh")
    text = path.read_text()
    plain = bvh.read(path)
    path.write_text(
        "\ufeff" + re.sub(r"\n\t*\{", " {", text).replace("\n", "\r\n").replace("Frame Time", "Frame\tTime"),
        encoding="utf-8",
    )
    np.testing.assert_array_equal(bvh.read(path).places["left_wrist"], plain.places["left_wrist"])


DAMAGE = {
    "another format": (lambda text: "Kaydara FBX Binary", "is not a BVH file"),
    "no motion": (lambda text: text[: text.index("MOTION")], "has no HIERARCHY followed by MOTION"),
    "cut short": (lambda text: text[: int(0.9 * len(text))], r"has \d+ numbers where 7 frames of 63 channels need 441"),
    "a frame too many": (lambda text: text + text.splitlines()[-1], "has 504 numbers where"),
    "not a number": (lambda text: text.replace("\nFrame Time", " \nFrame Time") + "x", "numbers"),
    "nan": (lambda text: re.sub(r"\S+\s*$", "nan\n", text), "its frame 7 holds a number that is not finite"),
    "a word": (lambda text: re.sub(r"\S+\s*$", "oops\n", text), "something else than numbers"),
    "no frame time": (
        lambda text: text.replace("Frame Time: 0.03333333", "Frame Time: 0"),
        "a Frame Time, both above zero",
    ),
    "far too fast": (
        lambda text: text.replace("0.03333333", "1e-12"),
        r"its Frame Time of 1e-12 s makes 1e\+12 frames a second, and only 1 to 1000 are possible",
    ),
    "far too slow": (lambda text: text.replace("0.03333333", "1e9"), "makes 1e-09 frames a second, and only 1 to 1000"),
    "no frames": (lambda text: text.replace("Frames: 7", "Frames: "), "does not begin with a number of Frames"),
    "an offset of words": (
        lambda text: text.replace("OFFSET 0.000000", "OFFSET zero", 1),
        "the OFFSET of Hips is 'zero'",
    ),
    "no offset": (lambda text: re.sub(r"\tOFFSET.*\n", "", text, count=1), "Hips has no OFFSET"),
    "an unknown channel": (lambda text: text.replace("Zrotation", "Wrotation", 1), "the CHANNELS of Hips"),
    "a wrong count": (lambda text: text.replace("CHANNELS 3", "CHANNELS 4", 1), "the CHANNELS of"),
    "a brace is missing": (lambda text: text.replace("}\nMOTION", "MOTION"), "does not close all its braces"),
    "a brace too many": (lambda text: text.replace("}\nMOTION", "}\n}\nMOTION"), "closes more braces"),
    "two people": (lambda text: text.replace("MOTION", "ROOT Other\n{\nOFFSET 0 0 0\n}\nMOTION"), "several skeletons"),
    "a name twice": (
        lambda text: text.replace("JOINT LeftToeBase", "JOINT LeftFoot"),
        "it has two joints called LeftFoot; rename one",
    ),
    "no channels": (
        lambda text: re.sub(r"\tCHANNELS.*\n", "", text.partition("Frame Time")[0]) + "Frame Time: 0.04\n",
        "none of its joints has CHANNELS, so it holds no motion",
    ),
    "a place beyond all": (
        lambda text: re.sub(r"(Frame Time.*\n)\S+", r"\g<1>1e30", text),
        r"its pelvis is \S+e\+30 leg lengths off in frame 1, where nobody gets to; correct that frame, or cut it out",
    ),
    "all places beyond all": (
        lambda text: text[: text.index("Time: ")] + re.sub(r"\n\S+", r"\n-1e30", text[text.index("Time: ") :].rstrip()),
        "leg lengths off in frame 1",
    ),
    "a glitch in one frame": (
        lambda text: text[: (start := text.rindex("\n", 0, -1) + 1)] + re.sub(r"\S+", "1e6", text[start:], count=1),
        r"its pelvis is 1\.2e\+06 leg lengths off in frame 7",
    ),
    "an unknown rig": (lambda text: text.replace("LeftForeArm", "Bone7"), "the closest, mixamo, lacks left_elbow"),
    "a limb without a length": (
        lambda text: re.sub(r"(JOINT LeftForeArm\n\s*\{\n\s*OFFSET) .*", r"\1 0 0 0", text),
        "its left shoulder and elbow are in one place at rest",
    ),
    "a folded rest pose": (
        lambda text: re.sub(r"OFFSET \S+ (-?0\.4\d+) \S+", r"OFFSET 0.4 0 0", text),
        "its rest pose is not",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), DAMAGE.values(), ids=DAMAGE.keys())
def test_what_is_damaged_is_told_in_one_sentence(tmp_path, change, sentence):
    path = write(tmp_path / "my motion.bvh")
    path.write_text(change(path.read_text()))
    with pytest.raises(PoseFactoryError, match=sentence) as error:
        motion_files.read(path)
    text = str(error.value)
    assert text.startswith(f"The motion file {path}: ") and text.endswith(".") and "\n" not in text


def test_a_long_way_is_no_mistake(tmp_path):
    path = write(tmp_path / "motion.bvh")
    head, times, rows = re.split(r"(Frame Time.*\n)", path.read_text())
    walked = [f"{100 * number} {row.split(maxsplit=1)[1]}" for number, row in enumerate(rows.splitlines())]
    path.write_text(head + times + "\n".join(walked))
    assert np.ptp(bvh.read(path).places["pelvis"], axis=0).max() == pytest.approx(600)


@pytest.mark.parametrize(
    ("seconds", "fps"),
    [
        ("0.03333333", 30),
        ("0.0333", 30),
        (".0333667", 30000 / 1001),
        ("0.0416667", 24),
        ("0.0417083", 24000 / 1001),
        ("0.0083333", 120),
        ("0.00834167", 120000 / 1001),
        ("0.016683", 60000 / 1001),
        ("0.01", 100),
        ("0.0334", 30000 / 1001),
        ("0.0335", 1 / 0.0335),
        ("0.02777778", 1 / 0.02777778),
    ],
)
def test_a_usual_rate_is_known_however_its_frame_time_is_rounded(tmp_path, seconds, fps):
    path = write(tmp_path / "motion.bvh", frames=1)
    path.write_text(path.read_text().replace("0.03333333", seconds))
    assert bvh.read(path).fps == fps


def test_bvh_has_no_actions(tmp_path):
    with pytest.raises(PoseFactoryError, match=r'has no action "walk".*remove `action`'):
        motion_files.read(write(tmp_path / "motion.bvh"), "walk")


def test_a_long_file(tmp_path):
    assert len(bvh.read(write(tmp_path / "long.bvh", frames=3000))) == 3000
