"""What is drawn, as it appears: in pictures of a doll, in its labels, and nowhere where nothing is varied."""

import json
import os
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import bpy
import cv2
import numpy as np
import pytest
from angles import angle
from characters import make
from PIL import Image
from test_variation import variation

from pose_factory import noise
from pose_factory.blender import backgrounds, bounds, evaluate, ground_truth, occluders, render, scene
from pose_factory.blender.prepare import prepare
from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_json
from pose_factory.frames import image
from pose_factory.geometry import sun
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.framing import direction, frame_view
from pose_factory.pictures import cover
from pose_factory.variation import OFF, draw
from workflow import REPOSITORY, Workflow

ANGLE = angle(resolution=[96, 96])
SETTINGS = {"engine": "cycles", "device": "cpu", "samples": 4, "denoise": False, "seed": 0}
STUDIO = Path(__file__).parent / "data" / "studio.json"


def varied(**changes) -> dict:
    """OFF, with these changes of its parts."""
    drawn = deepcopy(OFF)
    for name, change in changes.items():
        drawn[name] = {**drawn[name], **change} if isinstance(change, dict) else change
    return drawn


@pytest.fixture(scope="module")
def doll(tmp_path_factory):
    """A function that films a frame of a doll: (image (H, W, 3) RGB, content of camera.json, of render.json)."""
    folder = tmp_path_factory.mktemp("varied")
    facts = prepare({"file": str(make(folder, "plain.fbx"))}, folder / "character.blend")
    scene.open_character(folder / "character.blend")
    measured = bounds.measure(facts)
    log = folder / "render.log"
    log.write_text("")

    def film(drawn=OFF, frame=facts["first_frame"], background=None, angle=ANGLE, **settings):
        view = frame_view(measured, angle, drawn)
        scene.open_character(folder / "character.blend")
        settings = {**SETTINGS, **settings}
        told = render.render(view, measured, [frame], settings, 2, folder / "frames", log, drawn, background)
        return np.asarray(Image.open(image(folder / "frames", frame))).astype(float), view, told

    bpy.context.scene.frame_set(facts["first_frame"])
    vertices = evaluate.vertices(evaluate.character_meshes())
    film.feet = vertices[vertices[:, 2] < 0.1].mean(axis=0) * [1, 1, 0]
    film.facts, film.bounds, film.blend = facts, measured, folder / "character.blend"
    return film


# Nothing varied


def rounded(value):
    """Numbers to 5 digits, which the last bits of another machine's arithmetic do not change."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, 5) + 0.0 if isinstance(value, float) else value


def describe(tree) -> list:
    """A node tree, whatever its nodes are called and in whichever order they were made."""

    def node(n) -> str:
        values = [
            (
                socket.identifier,
                list(socket.default_value) if socket.type in ("RGBA", "VECTOR") else socket.default_value,
            )
            for socket in n.inputs
            if not socket.is_linked and socket.type in ("RGBA", "VECTOR", "VALUE", "INT")
        ]
        ramp = [(list(e.color), e.position) for e in n.color_ramp.elements] if hasattr(n, "color_ramp") else []
        choices = [getattr(n, name, None) for name in ("operation", "interpolation_type", "blend_type")]
        return json.dumps(rounded([n.bl_idname, values, ramp, choices]))

    links = sorted(
        [node(link.from_node), link.from_socket.identifier, node(link.to_node), link.to_socket.identifier]
        for link in tree.links
    )
    return [sorted(map(node, tree.nodes)), links]


def settings_of(thing, *machine: str) -> dict:
    """All simple settings of a Blender thing, but for those of the machine."""
    return {
        p.identifier: getattr(thing, p.identifier)
        for p in thing.bl_rna.properties
        if p.type in ("BOOLEAN", "INT", "FLOAT", "ENUM") and p.identifier not in machine
        if not getattr(p, "is_array", False) and not p.is_readonly and not getattr(p, "is_enum_flag", False)
    }


def list_studio() -> dict:
    """All that makes the open scene's picture, but for the character."""
    s = bpy.context.scene
    floor, camera = bpy.data.objects["Floor"], s.camera
    lights = [o for o in s.objects if o.type == "LIGHT"]
    listed = {
        "world": describe(s.world.node_tree),
        "sampling": s.world.cycles.sampling_method,
        "lights": [
            [o.name, [list(row) for row in o.matrix_world], o.data.energy, o.data.angle, list(o.data.color)]
            for o in sorted(lights, key=lambda o: o.name)
        ],
        "floor": [list(v.co) for v in floor.data.vertices] + [list(floor.location)],
        "floor's material": describe(floor.data.materials[0].node_tree),
        "camera": [[list(row) for row in camera.matrix_world], settings_of(camera.data)],
        "render": settings_of(s.render, "threads", "motion_blur_shutter"),
        "cycles": settings_of(s.cycles, "device"),
        "view": settings_of(s.view_settings),
        "objects": sorted(o.name for o in s.objects),
    }
    return json.loads(json.dumps(rounded(listed)))


def test_where_nothing_is_varied_the_studio_is_the_one_before_anything_could_be(doll):
    _, view, told = doll(angle={**ANGLE, "azimuth": 30.0, "framing": "ring"}, denoise=True)
    assert list_studio() == json.loads(STUDIO.read_text())
    assert view["variation"]["occluders"] == [] and told["variation"]["background"]["file"] is None


def test_a_config_that_varies_nothing_gives_the_picture_that_no_variation_gives(doll):
    np.testing.assert_array_equal(doll()[0], doll(draw(variation({}), "ada", "front"))[0])


# Light


def floor_beside(picture: np.ndarray, view: dict, feet: np.ndarray, azimuth: float, distance: float) -> float:
    """Mean brightness of the floor at this distance from the doll's feet, and a little less, towards an azimuth."""
    points = [feet + share * distance * direction(azimuth, 0) for share in np.linspace(0.8, 1, 7)]
    pixels, _ = Camera.from_json(view).project(np.array(points))
    assert Camera.from_json(view).inside(pixels).all()
    columns, rows = np.floor(pixels).astype(int).T
    return float(picture[rows, columns].mean())


@pytest.mark.parametrize(("hour", "turn"), [(9.0, 0.0), (15.0, 0.0), (15.0, 100.0)])
def test_the_sun_throws_the_shadow_to_its_other_side(doll, hour, turn):
    light = {"kind": "sun", "hour": hour, "turn": turn}
    above = {**ANGLE, "elevation": 75.0, "margin": 0.4}
    picture, view, told = doll(varied(light=light), angle=above)
    assert told["variation"]["light"] == {**OFF["light"], **light}
    height, azimuth = sun.position(hour)
    far = 1.0 / np.tan(np.radians(height))  # where the shadow of the chest falls
    away, towards = azimuth + turn + 180, azimuth + turn
    shadow, sunny = (floor_beside(picture, view, doll.feet, side, far) for side in (away, towards))
    assert shadow < 0.88 * sunny


def test_lights_are_turned_and_made_stronger(doll):
    picture, turned, stronger = (doll(varied(light=light))[0] for light in ({}, {"turn": 180.0}, {"strength": 1.5}))
    body = np.ptp(picture, axis=2) > 60  # the doll's colours; the studio is grey
    assert (turned != picture)[body].mean() > 0.9
    linear = [((p[body] / 255 + 0.055) / 1.055) ** 2.4 for p in (picture, stronger)]
    unclipped = (stronger[body] < 250) & (picture[body] > 20)
    assert np.median((linear[1] / linear[0])[unclipped]) == pytest.approx(1.5, abs=0.05)


def test_the_sky_is_brightest_where_its_sun_is(doll):
    """The same sky as a background, seen from two sides of it; the floor is out of the picture."""
    drawn = varied(light={"kind": "sky", "hour": 18.0, "turn": 40.0}, background={"kind": "sky"})
    _, azimuth = sun.position(18.0)
    low = {**ANGLE, "elevation": -10.0, "resolution": [48, 48]}
    # A camera at the azimuth opposite to the sun's looks towards it.
    towards, away = (
        doll(drawn, angle={**low, "azimuth": (azimuth + 40 + turn) % 360})[0][:8].mean() for turn in (180, 0)
    )
    assert towards > 1.2 * away


# Backgrounds


BELOW = {**ANGLE, "elevation": -12.0, "margin": 0.5}
"""From where there is no floor, and the doll is in the middle only."""
IMAGES = {"kind": "images"}


def save_hdr(path: Path, pixels: np.ndarray) -> Path:
    """An RGB panorama (H, W, 3) of any brightness."""
    assert cv2.imwrite(str(path), pixels[..., ::-1].astype(np.float32))
    return path


def test_an_image_fills_the_frame_undistorted_and_upright(doll, tmp_path):
    """As `cover` cuts it, pixel by pixel; and `cover` against numbers of its own."""
    ramp = np.zeros((60, 200, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 255, 200), np.linspace(0, 255, 60)[:, None]
    wide, turned = tmp_path / "wide, 100%.png", tmp_path / "from a phone.png"
    Image.fromarray(ramp).save(wide)
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(ramp)).save(turned, exif=exif)
    cut = cover(wide, 60, 60)
    np.testing.assert_array_equal(cut, ramp[:, 70:130])
    np.testing.assert_array_equal(cover(turned, 60, 60), cut)
    grey = tmp_path / "16 bits.png"
    Image.fromarray(np.full((20, 20), 257 * 100, np.uint16)).save(grey)
    assert (cover(grey, 16, 16) == 100).all()
    picture, _, told = doll(varied(background={**IMAGES, "file": wide.name}), background=wide, angle=BELOW)
    expected = cover(wide, 96, 96).astype(float)
    edge = np.ones((96, 96), bool)
    edge[12:84, 12:84] = False
    assert np.abs(picture - expected)[edge].max() <= 3
    found = told["variation"]["background"]
    assert found["file"] == wide.name and len(found["sha256"]) == 64 and found["exposure"] == 1


def test_a_panorama_lights_the_body_at_any_scale_and_turns_with_the_light(doll, tmp_path):
    """A blue wall at +X, where the middle of a panorama is, and a red one at the other side."""
    pixels = np.full((32, 64, 3), 0.3)
    pixels[8:24, 26:38] = 0.1, 0.1, 1.0
    pixels[8:24, :6] = pixels[8:24, -6:] = 1.0, 0.1, 0.1
    dim, bright = (save_hdr(tmp_path / f"{scale}.hdr", scale * pixels) for scale in (0.5, 64))
    drawn = {**varied(background={**IMAGES, "file": "x.hdr"}), "light": {**OFF["light"], "kind": "panorama"}}
    one, _, told = doll(drawn, background=dim, angle=BELOW)
    other, _, again = doll(drawn, background=bright, angle=BELOW)
    exposures = [t["variation"]["background"]["exposure"] for t in (told, again)]
    assert exposures[0] / exposures[1] == pytest.approx(128)
    assert np.abs(one - other).mean() < 0.5 and one.mean() > 60

    def seen(turn: float, azimuth: float) -> np.ndarray:
        turned = {**drawn, "light": {**drawn["light"], "turn": turn}}
        return doll(turned, background=dim, angle={**BELOW, "azimuth": azimuth})[0][:8].mean(axis=(0, 1))

    blue, red = seen(0, 270), seen(0, 90)
    assert blue[2] > blue[0] + 50 and red[0] > red[2] + 50
    np.testing.assert_allclose(seen(100, 10), blue, atol=1)  # turned with it, the camera sees the same


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.hdr", "empty.webp", "words.exr"])
def test_a_broken_background_is_one_sentence_with_its_name(doll, tmp_path, name):
    file = tmp_path / name
    if name.startswith("cut"):
        noisy = np.random.default_rng(0).integers(0, 255, (64, 128, 3)).astype(np.uint8)
        save_hdr(file, noisy) if name == "cut.hdr" else Image.fromarray(noisy).save(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.write_bytes(b"" if name.startswith("empty") else b"words\n" * 99)
    kind = "panorama" if file.suffix in (".hdr", ".exr") else "studio"
    drawn = varied(background={**IMAGES, "file": name}, light={"kind": kind})
    with pytest.raises(PoseFactoryError) as error:
        doll(drawn, background=file)
    told = str(error.value)
    assert told.startswith(f"The background {file} cannot be read (damaged or cut short?)")
    assert told.endswith("replace or delete it.") and "\n" not in told


def test_a_black_panorama_is_told_from_a_broken_one(tmp_path):
    file = save_hdr(tmp_path / "night.hdr", np.zeros((8, 16, 3)))
    with pytest.raises(PoseFactoryError, match=r"night\.hdr is black all over, so it lights nothing: replace or"):
        backgrounds.read(file, 16, 16)


def test_a_picture_of_floating_point_numbers_is_refused_with_its_name(tmp_path):
    file = tmp_path / "light.tif"
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(file)
    with pytest.raises(PoseFactoryError) as error:
        cover(file, 4, 4)
    assert str(error.value).startswith(f"The background {file} cannot be read") and "floating-point" in str(error.value)


def test_plain_and_textured_walls_have_the_colours_drawn(doll):
    plain = varied(background={"kind": "plain", "colours": ["#336699"]})
    picture = doll(plain, angle=BELOW)[0]
    np.testing.assert_allclose(picture[:12].reshape(-1, 3), [[0x33, 0x66, 0x99]] * 12 * 96, atol=1)
    wall = {"kind": "texture", "colours": ["#204060", "#e0c0a0"], "scale": 10.0}
    for pattern in ("clouds", "cells", "stripes", "swirls"):
        rows = doll(varied(background={**wall, "pattern": pattern}), angle=BELOW)[0][:12]
        assert rows.std(axis=(0, 1)).min() > 5, pattern
        assert (rows >= [0x1F, 0x3F, 0x5F]).all() and (rows <= [0xE1, 0xC1, 0xA1]).all(), pattern


def test_grounds_have_their_pattern_and_size(doll):
    """Tiles of half a metre, seen from above: along a row of the floor the colour changes as often as it should."""
    ground = {"kind": "checker", "colours": ["#ff0000", "#00ff00"], "size": 0.5}
    above = {**ANGLE, "elevation": 88.0, "margin": 0.5, "resolution": [192, 192]}
    picture, view, _ = doll(varied(ground=ground), angle=above, denoise=True)
    side = np.linspace(0.7, 1.9, 60)  # metres to the doll's left, 1.3 m before it, where it throws no shadow
    target = np.array(view["target"])
    pixels, _ = Camera.from_json(view).project(np.array([[target[0] + x, target[1] - 1.3, 0] for x in side]))
    columns, rows = np.floor(pixels).astype(int).T
    red = picture[rows, columns, 0] > picture[rows, columns, 1]
    expected = np.floor(side / 0.5).astype(int) % 2
    agreement = (red == expected).mean()
    assert max(agreement, 1 - agreement) > 0.9
    for kind in ("wood", "noise"):
        colours = ["#805030", "#402010"]
        patterned = doll(varied(ground={"kind": kind, "colours": colours, "size": 0.2}), angle=above)[0]
        patch = patterned[rows.min() :, columns.min() : columns.max()]
        assert patch.std() > 3 and (patch.mean(axis=(0, 1))[0] > patch.mean(axis=(0, 1))[2])


# Noise and blur


def test_noise_has_the_sigma_drawn_and_is_another_in_each_frame(doll):
    clean = doll(denoise=True)[0]
    grainy = {seed: doll(varied(noise={"sigma": 0.02, "seed": seed}), denoise=True)[0] for seed in (1, 2)}
    inside = (clean > 30) & (clean < 225)
    difference = (grainy[1] - clean)[inside]
    assert difference.std() == pytest.approx(0.02 * 255, rel=0.03) and abs(difference.mean()) < 0.1
    assert np.corrcoef(difference, (grainy[2] - clean)[inside])[0, 1] < 0.05
    np.testing.assert_array_equal(doll(varied(noise={"sigma": 0.02, "seed": 1}), denoise=True)[0], grainy[1])
    grey = np.full((50, 50, 3), 128, np.uint8)
    frames = [noise.noisy(grey, 0.1, 5, frame).astype(float).ravel() for frame in (1, 2)]
    assert abs(np.corrcoef(frames)[0, 1]) < 0.05
    assert (noise.noisy(grey, 0.0, 5, 1) == grey).all()
    before = noise.noisy(grey, 0.1, 5, -1).astype(float).ravel()
    assert abs(np.corrcoef(before, frames[0])[0, 1]) < 0.05


def test_motion_blur_smears_what_moves_about_where_it_is(doll):
    """In the middle of its motion, the doll's raised hand; its middle stays, and what stands still stays sharp."""
    middle = doll.facts["first_frame"] + 1
    camera = {**ANGLE, "elevation": -25.0, "resolution": [128, 128]}
    plain = {"kind": "plain", "colours": ["#ffffff"]}
    sharp, blurred = (
        doll(varied(background=plain, motion_blur={"shutter": shutter}), frame=middle, angle=camera, samples=32)[0]
        for shutter in (0.0, 1.0)
    )
    coverage = [np.clip((255 - picture.mean(axis=2)) / 120, 0, 1) for picture in (sharp, blurred)]
    half = [((c > 0.1) & (c < 0.9)).sum() for c in coverage]
    assert half[1] > 1.15 * half[0]
    centres = [np.average(np.indices(c.shape).reshape(2, -1), axis=1, weights=c.ravel()) for c in coverage]
    np.testing.assert_allclose(*centres, atol=0.5)
    assert np.abs(sharp - blurred)[:8].max() <= 1  # the empty wall


# Occluders and labels


BOX = {"shape": "box", "colour": "#ff00ff", "size": 0.35, "depth": 0.8, "turn": [0.0, 0.0, 0.0]}


@pytest.mark.parametrize(
    ("occluder", "angle"),
    [
        ({"across": 0.6, "up": 0.8, "stands": False}, {}),
        ({"across": 0.4, "up": 0.5, "stands": True, "turn": [0.0, 0.0, 30.0]}, {"azimuth": 60.0}),
        ({"shape": "sphere", "across": 0.5, "up": 0.3, "stands": False}, {"elevation": 40.0}),
        ({"shape": "cylinder", "across": 0.3, "up": 0.6, "stands": False, "turn": [70.0, 20.0, 5.0]}, {}),
    ],
)
def test_what_an_occluder_hides_in_the_picture_is_labelled_as_occluded(doll, occluder, angle):
    """And nothing else: joints beside it keep their labels, and boxes and the check of the labels are as without."""
    drawn = {**OFF, "occluders": [{**BOX, **occluder}], "camera": {**OFF["camera"], "roll": 5.0, "shift": [0.05, 0.0]}}
    angle = {**ANGLE, "resolution": [256, 256], **angle}
    picture, view, _ = doll(drawn, angle=angle, samples=1)
    assert len(view["variation"]["occluders"]) == 1
    magenta = (
        (picture[..., 0] > 60) & (picture[..., 1] < 0.5 * picture[..., 0]) & (picture[..., 2] > 0.5 * picture[..., 0])
    )
    assert 0.01 < magenta.mean() < 0.3

    def label(view: dict):
        scene.open_character(doll.blend)
        return ground_truth.label(doll.facts, view, [doll.facts["first_frame"]])

    labels, boxes, check = label(view)
    alone, boxes_alone, check_alone = label({**view, "variation": {**view["variation"], "occluders": []}})
    known = labels[labels.inside]
    columns, rows = np.floor(known[["u", "v"]].to_numpy()).astype(int).T
    core = cv2.erode(magenta.astype(np.uint8), np.ones((5, 5))).astype(bool)
    hidden = core[rows, columns]
    clear = ~cv2.dilate(magenta.astype(np.uint8), np.ones((5, 5))).astype(bool)[rows, columns]
    assert hidden.any() and clear.any()
    assert (known.visibility[hidden] == 1).all()
    assert (known.visibility[clear] == alone.visibility[known.index][clear]).all()
    assert (alone.visibility[known.index][hidden] == 2).any()
    assert boxes.equals(boxes_alone) and check == check_alone
    assert check["reprojection_max_px"] < 0.01 and check["inside_silhouette"] == 1


MESHES = """
import bpy
from pose_factory.blender import occluders
for shape in ("box", "cylinder", "sphere"):
    mesh = occluders._mesh(shape, shape)
    print([list(face.vertices) for face in mesh.polygons], [list(one.vector) for one in mesh.vertex_normals])
"""


def test_an_occluder_is_the_same_mesh_in_every_process():
    """Faces in another order have other normals, by a last bit, and a denoised picture shows it."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    runs = [
        subprocess.run([sys.executable, "-c", MESHES], env=environment, capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert len({run.stdout for run in runs}) == 1
    sphere = occluders._mesh("a sphere", "sphere")
    np.testing.assert_allclose(np.linalg.norm([vertex.co for vertex in sphere.vertices], axis=1), 0.5, atol=1e-6)
    assert all(face.normal.dot(face.center) > 0 for face in sphere.polygons)


def test_workbench_shows_occluders_in_their_colours(doll):
    drawn = {**OFF, "occluders": [{**BOX, "across": 0.5, "up": 0.5, "stands": False}]}
    picture, without = doll(drawn, engine="workbench")[0], doll(engine="workbench")[0]
    purple = [(p[..., 0] > p[..., 1] + 60) & (p[..., 2] > p[..., 1] + 60) for p in (picture, without)]
    assert purple[0].mean() > 0.02 and not purple[1].any()


# By Snakemake


@pytest.fixture(scope="module")
def run_with_images(tmp_path_factory):
    """A run of two characters, one of them a scene, over four views with a folder of images, of which one is broken:
    the workflow, and how it ended."""
    folder = tmp_path_factory.mktemp("run")
    pictures = folder / "My Backgrounds"
    pictures.mkdir()
    for name, colour in (("red wall.png", "#802020"), ("green, 100%.jpg", "#208020"), ("broken.jpg", "#202080")):
        Image.new("RGB", (90, 40), colour).save(pictures / name)
    broken = pictures / "broken.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    config = {
        "characters": {
            "doll": {"file": str(make(folder, "plain.fbx"))},
            "pair": {"people": [{"character": "doll", "from": [-0.6, 0]}, {"character": "doll", "from": [0.6, 0]}]},
        },
        "cameras": {"resolution": [48, 48], "angles": ["front", "right", "back", "left"]},
        "render": {"samples": 1, "denoise": False, "frames": "first"},
        "variation": {
            "seed": 3,
            "background": {"kinds": ["images"], "folder": str(pictures), "licence": "CC0"},
            "occluders": {"count": [1, 1]},
        },
    }
    workflow = Workflow.new(folder / "repository", config)
    return workflow, workflow.run("--cores", "2", "--keep-going", *targets(workflow))


def targets(workflow: Workflow) -> list[str]:
    names = [f"doll/{angle}/render.json" for angle in workflow.config["cameras"]["angles"]]
    return [f"results/{name}" for name in (*names, "pair/front/ground_truth.parquet", "pair/front/render.json")]


def pictures_of(workflow: Workflow) -> dict[str, str]:
    """The background of each view."""
    background = workflow.config["variation"]["background"]
    settings = variation(workflow.config["variation"])
    assert settings["background"]["folder"] == background["folder"]
    views = [("doll", angle) for angle in workflow.config["cameras"]["angles"]] + [("pair", "front")]
    return {"/".join(view): draw(settings, *view)["background"]["file"] for view in views}


def test_a_broken_image_fails_its_own_views_in_a_sentence_and_no_others(run_with_images):
    workflow, run = run_with_images
    drawn = pictures_of(workflow)
    bad = {view for view, file in drawn.items() if file == "broken.jpg"}
    assert 0 < len(bad) < len(drawn) and len(set(drawn.values())) == 3, drawn
    assert run.status != 0 and len(run.sentences) == len(bad)
    for view in bad:
        (told,) = [s for s in run.sentences if s.startswith(f"render {view.replace('/', ' ')}: The background ")]
        assert "broken.jpg cannot be read (damaged or cut short?)" in told
        assert not workflow.results(f"{view}/frames*") and not workflow.results(f"{view}/.*")
    for view in drawn.keys() - bad:
        record = read_json(workflow.root / "results" / view / "render.json")["variation"]["background"]
        assert record["file"] == drawn[view] and "licence" not in record
        camera = read_json(workflow.root / "results" / view / "camera.json")
        assert [set(o) for o in camera["variation"]["occluders"]] == [{"shape", "colour", "stands", "matrix"}]
    assert workflow.results("pair/front/ground_truth.parquet")


def test_what_changes_in_the_folder_makes_the_views_that_it_is_in_stale(run_with_images, tmp_path):
    original, _ = run_with_images
    workflow = original.copy(tmp_path / "copy")
    folder = tmp_path / "backgrounds"
    source = Path(workflow.config["variation"]["background"]["folder"])
    before = pictures_of(workflow)

    def renders(files: set[str]) -> set[str]:
        return {f"render {view.replace('/', ' ')}" for view, file in before.items() if file in files}

    assert workflow.plan(*targets(workflow)) == renders({"broken.jpg"})
    broken, green = source / "broken.jpg", source / "green, 100%.jpg"
    damaged, sound = broken.read_bytes(), green.read_bytes()
    try:
        Image.new("RGB", (90, 40), "#202080").save(green)
        assert workflow.plan(*targets(workflow)) == renders({"broken.jpg", green.name})
        green.write_bytes(sound)
        broken.unlink()
        after = pictures_of(workflow)
        assert {view for view in before if after[view] != before[view]} == {
            view for view, file in before.items() if file == "broken.jpg"
        }
    finally:
        green.write_bytes(sound)
        broken.write_bytes(damaged)
    workflow.change("variation.background.folder", str(folder))
    gone = workflow.run("--cores", "2", *targets(workflow))
    assert gone.status != 0 and not gone.started
    assert gone.sentences == [f"Config: variation.background.folder is a folder that does not exist: {folder}."]


def test_a_view_takes_its_picture_along_and_its_labels_do_not(run_with_images):
    """The image is an input of the render job, for a machine that has nothing else, and of no other job."""
    workflow, _ = run_with_images
    dry = workflow.run("--cores", "2", "--dry-run", "--forceall", *targets(workflow)).console
    takers = [
        rule for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n)*)", dry, re.MULTILINE) if "My Back" in body
    ]
    assert takers == ["render"] * len(pictures_of(workflow))
