"""What is drawn for a view: in its range, evenly, and changed by nothing but its own settings; what the camera and the
occluders make of it; and the config's sentences."""

import json
from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import yaml
from angles import angle
from scipy.stats import kstest
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from pose_factory.config import load
from pose_factory.errors import PoseFactoryError
from pose_factory.geometry import occlusion, sun
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.framing import frame_view
from pose_factory.variation import OFF, draw

ROOT = Path(__file__).parents[1]
VIEWS = [(f"body_{number}", angle) for number in range(250) for angle in ("front", "left", "back", "right")]
ANGLE = angle(azimuth=30.0)
EVERYTHING = {
    "light": {"kinds": ["studio", "sun", "sky"], "turn": [-180, 180], "strength": [0.5, 1.5]},
    "background": {"kinds": ["gradient", "plain", "texture", "sky"]},
    "ground": {"kinds": ["plain", "checker", "wood", "noise"]},
    "camera": {
        **{"azimuth": [-20, 10], "elevation": [-30, 30], "roll": [-10, 10], "shift": [-0.2, 0.2]},
        **{"focal_length": [0.5, 2], "distance": [1, 1.5]},
    },
    "noise": [0.01, 0.03],
    "motion_blur": [0.1, 0.5],
    "occluders": {"count": [0, 3], "size": [0.1, 0.4]},
}


def variation(changes: dict, root: Path = ROOT) -> dict:
    """The loaded config's section with these settings."""
    return load({"characters": {"ada": {"anny": {}}}, "variation": changes}, root)["variation"]


def of_all_views(settings: dict) -> list[dict]:
    return [draw(settings, *view) for view in VIEWS]


def with_images(names: list[str]) -> dict:
    settings = variation({})
    return {**settings, "background": {**settings["background"], "kinds": ["images"], "files": names}}


def changed(before: dict, after: dict) -> set[str]:
    """The dotted names of what was drawn otherwise."""
    found = set()
    for name, value in before.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}" for inner in changed(value, after[name])}
        elif value != after[name]:
            found.add(name)
    return found


# Draws


def test_a_config_that_varies_nothing_draws_what_there_was():
    settings = load(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()), ROOT)["variation"]
    assert settings == variation({})
    assert all(draw(settings, *view) == OFF for view in VIEWS[:8])


def test_numbers_fill_their_ranges_evenly_and_know_nothing_of_each_other():
    drawn = of_all_views(variation(EVERYTHING))
    numbers = {name: [d["camera"][name] for d in drawn] for name in ("azimuth", "elevation", "roll", "distance")}
    numbers |= {"noise": [d["noise"]["sigma"] for d in drawn], "strength": [d["light"]["strength"] for d in drawn]}
    limits = {**EVERYTHING["camera"], "noise": EVERYTHING["noise"], "strength": EVERYTHING["light"]["strength"]}
    for name, values in numbers.items():
        low, high = limits[name]
        assert low <= min(values) and max(values) <= high
        assert kstest(values, "uniform", (low, high - low)).pvalue > 0.001
    correlations = np.corrcoef(list(numbers.values())) - np.eye(len(numbers))
    assert np.abs(correlations).max() < 4 / len(VIEWS) ** 0.5
    assert len({d["noise"]["seed"] for d in drawn}) == len(VIEWS)


@pytest.mark.parametrize("thing", ["light", "background", "ground"])
def test_kinds_come_equally_often(thing):
    drawn = Counter(d[thing]["kind"] for d in of_all_views(variation(EVERYTHING)))
    kinds = EVERYTHING[thing]["kinds"]
    expected = len(VIEWS) / len(kinds)
    assert set(drawn) == set(kinds) and all(abs(drawn[kind] - expected) < 4 * expected**0.5 for kind in kinds)


def test_as_many_occluders_come_as_are_asked_for():
    counts = Counter(len(d["occluders"]) for d in of_all_views(variation(EVERYTHING)))
    assert set(counts) == {0, 1, 2, 3} and all(abs(count - 250) < 60 for count in counts.values())


def test_a_seed_draws_the_same_for_ever():
    """A hash of the seed and names: these numbers must never change, or finished datasets could not be made again."""
    drawn = draw(variation({**EVERYTHING, "seed": 7}), "ada", "front")
    assert drawn == json.loads((ROOT / "tests/data/variation.json").read_text())
    assert changed(drawn, draw(variation({**EVERYTHING, "seed": 8}), "ada", "front"))


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("camera.roll", [-1, 1], {"camera.roll"}),
        ("noise", [0.04, 0.05], {"noise.sigma"}),
        ("light.strength", [2, 3], {"light.strength"}),
        ("light.hours", [5, 6], {"light.hour"}),
        ("occluders.size", [0.5, 0.6], {"occluders"}),
        ("motion_blur", [0.6, 0.7], {"motion_blur.shutter"}),
    ],
)
def test_another_range_changes_only_what_is_drawn_from_it(setting, value, expected):
    *parents, last = setting.split(".")
    settings = deepcopy(EVERYTHING)
    settings["light"]["kinds"], settings["occluders"]["count"] = ["sun"], [2, 2]
    before = draw(variation(settings), "ada", "front")
    inner = settings
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    assert changed(before, draw(variation(settings), "ada", "front")) == expected


def test_one_more_occluder_leaves_the_others_as_they_were():
    few, many = (
        draw(variation({"occluders": {"count": [count, count]}}), "ada", "front")["occluders"] for count in (2, 3)
    )
    assert many[:2] == few and len(many) == 3


def test_one_more_kind_takes_its_share_and_changes_nothing_between_the_others():
    before, after = (
        [d["ground"]["kind"] for d in of_all_views(variation({"ground": {"kinds": kinds}}))]
        for kinds in (["plain", "wood"], ["checker", "plain", "wood"])
    )
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {new for _, new in moved} == {"checker"} and abs(len(moved) - len(VIEWS) / 3) < 80


def test_a_character_shares_its_place_but_not_its_cameras():
    settings = variation({**EVERYTHING, "per": "character"})
    front, left, other = (draw(settings, *view) for view in (("ada", "front"), ("ada", "left"), ("ben", "front")))
    for place in ("light", "background", "ground"):
        assert front[place] == left[place]
    assert front["light"] != other["light"]
    assert len({name.split(".")[0] for name in changed(front, left)} & {"camera", "noise", "motion_blur"}) == 3


def test_another_image_in_the_folder_is_all_that_changes():
    """Each is chosen equally often; a new one takes its share, and where one is missing, its views alone are drawn
    anew, so that a job on a machine that has but its own image draws that."""
    names = [f"picture {number}.jpg" for number in range(10)]
    before, more, fewer = (
        [d["background"]["file"] for d in of_all_views(with_images(some))]
        for some in (names, sorted([*names, "a new one.png"]), names[1:])
    )
    assert all(abs(count - 100) < 40 for count in Counter(before).values()) and set(before) == set(names)
    moved = [new for old, new in zip(before, more, strict=True) if old != new]
    assert set(moved) == {"a new one.png"} and abs(len(moved) - len(VIEWS) / 11) < 40
    assert {old for old, new in zip(before, fewer, strict=True) if old != new} == {names[0]}
    assert draw(with_images([]), "ada", "front")["background"]["file"] is None


def test_a_panorama_is_the_light():
    assert draw(with_images(["all around.HDR"]), "ada", "front")["light"]["kind"] == "panorama"
    assert draw(with_images(["flat.jpg"]), "ada", "front")["light"]["kind"] == "studio"


# The sun


def test_the_sun_stands_where_it_does_on_a_summer_day():
    """At noon in the south, as high as the latitude leaves it; morning and afternoon mirror each other; it rises at
    cos H = -tan(latitude) tan(declination); at six its sine is sin(latitude) sin(declination)."""
    assert sun.position(12) == pytest.approx((90 - sun.LATITUDE + sun.DECLINATION, 0), abs=1e-9)
    for hours in (1, 4.5, 7):
        (morning, east), (evening, west) = sun.position(12 - hours), sun.position(12 + hours)
        assert morning == pytest.approx(evening) and east == pytest.approx(-west) and east > 0
    latitude, declination = np.radians([sun.LATITUDE, sun.DECLINATION])
    sunset = 12 + np.degrees(np.arccos(-np.tan(latitude) * np.tan(declination))) / 15
    assert sun.position(sunset)[0] == pytest.approx(0, abs=1e-9)
    assert np.sin(np.radians(sun.position(6)[0])) == pytest.approx(np.sin(latitude) * np.sin(declination))


def test_a_low_sun_is_red_and_a_high_one_white():
    assert sun.tint(90) == pytest.approx((1, 1, 1), abs=1e-3)
    reds = [sun.tint(elevation) for elevation in (70, 40, 20, 7)]
    assert all(red == 1 > green > blue for red, green, blue in reds)
    assert reds == sorted(reds, reverse=True)


# Cameras


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(500, 3)) * [0.4, 0.2, 0.5] + [3, -2, 2.5]


def bounds_of(points: np.ndarray) -> dict:
    return {"hull": points.tolist(), "target": ((points.min(axis=0) + points.max(axis=0)) / 2).tolist()}


def fill(points: np.ndarray, view: dict) -> float:
    """The largest share of the half image that any point reaches from the centre."""
    camera = Camera.from_json(view)
    pixels, depth = camera.project(points)
    assert (depth > 0).all()
    centre = np.array([camera.width, camera.height]) / 2
    return float((np.abs(pixels - centre) / centre).max())


@pytest.mark.parametrize("framing", ["each", "ring"])
def test_whoever_is_in_the_picture_stays_in_it_however_the_camera_is_moved(body, framing):
    settings = variation(EVERYTHING)
    for view in VIEWS[:60]:
        drawn = draw(settings, *view)
        framed = frame_view(bounds_of(body), {**ANGLE, "framing": framing}, drawn)
        assert fill(body, framed) <= 0.9 + 1e-9
        nearest = {**drawn, "camera": {**drawn["camera"], "distance": 1.0}}
        if framing == "each":
            assert fill(body, frame_view(bounds_of(body), ANGLE, nearest)) == pytest.approx(0.9, abs=1e-9)


def test_a_camera_is_moved_as_drawn(body):
    still = frame_view(bounds_of(body), ANGLE)
    assert still["variation"] == {"camera": OFF["camera"], "occluders": []}

    def moved(**change) -> tuple[dict, Camera]:
        drawn = {**OFF, "camera": {**OFF["camera"], **change}}
        view = frame_view(bounds_of(body), ANGLE, drawn)
        assert view["variation"]["camera"] == drawn["camera"]
        assert view["K"][0][2] == 160 and view["K"][1][2] == 120
        return view, Camera.from_json(view)

    assert frame_view(bounds_of(body), {**ANGLE, "azimuth": 40.0, "elevation": 12.0}) == {
        **moved(azimuth=10.0, elevation=7.0)[0],
        "variation": still["variation"],
    }
    assert moved(distance=1.3)[0]["distance"] == pytest.approx(1.3 * still["distance"])
    assert moved(focal_length=2.0)[0]["focal_length_mm"] == 100
    assert moved(focal_length=2.0)[0]["K"][0][0] == pytest.approx(100 / 36 * 320)
    # Turned clockwise by 10 degrees, it sees the vertical lean to the left by as much, and its own axis stay.
    _, rolled = moved(roll=10.0)
    up = rolled.R @ [0, 0, 1]
    level = Camera.from_json(still).R @ [0, 0, 1]
    assert np.degrees(np.arctan2(up[0], -up[1])) == pytest.approx(-10)
    assert level[0] == pytest.approx(0, abs=1e-12) and up[2] == pytest.approx(level[2])
    assert np.linalg.det(rolled.R) == pytest.approx(1)
    # The motion's middle appears to the left of and below a point that is to the right and above.
    size = np.ptp(body, axis=0).max()
    _, shifted = moved(shift=[0.1, 0.2], roll=10.0)
    x, y, _ = shifted.to_camera(bounds_of(body)["target"])
    assert (x, y) == pytest.approx((-0.1 * size, 0.2 * size))


# Occluders


def placed(body: np.ndarray, **change) -> tuple[list[dict], Camera]:
    view = frame_view(bounds_of(body), {**ANGLE, **change})
    camera = Camera.from_json(view)
    settings = variation(EVERYTHING)
    drawn = [occluder for view in VIEWS[:80] for occluder in draw(settings, *view)["occluders"]]
    return list(zip(drawn, (occlusion.place([d], body, camera) for d in drawn), strict=True)), camera


@pytest.mark.parametrize("elevation", [-20.0, 5.0, 40.0, 85.0])
def test_occluders_stand_before_the_motion_where_they_were_drawn(body, elevation):
    """On the floor or in the air, as wide in the picture as drawn, and never in the motion."""
    found, camera = placed(body, elevation=elevation)
    assert len(found) > 80
    pixels, _ = camera.project(body)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3)
    standing = 0
    for drawn, results in found:
        if not results:
            continue
        (occluder,) = results
        matrix = np.array(occluder["matrix"])
        world = corners @ matrix[:3, :3].T + matrix[:3, 3]
        top = matrix[:3, 3] + [0, 0, matrix[2, 2] / 2 if occluder["stands"] else 0]
        pixel, depth = camera.project(top)
        np.testing.assert_allclose((pixel - low) / (high - low), [drawn["across"], 1 - drawn["up"]], atol=1e-9)
        width = np.linalg.norm(matrix[:3, 0]) * camera.K[0, 0] / depth
        assert width / (high - low).max() == pytest.approx(drawn["size"])
        # A plane parts it from the body: no linear programme finds a point in both.
        ahead, level = camera.R[2], camera.R[2] * [1, 1, 0]
        assert any((world @ plane).max() < (body @ plane).min() for plane in (ahead, level))
        if occluder["stands"]:
            standing += 1
            assert drawn["stands"] and drawn["shape"] != "sphere"
            assert world[:, 2].min() == pytest.approx(0, abs=1e-9)
    assert all(results for _, results in found)
    assert standing > 20 if elevation in (5.0, 40.0) else True


def test_there_are_no_occluders_where_there_is_no_room(body):
    """A camera in the middle of the motion."""
    camera = Camera.look_at(body.mean(axis=0), body.mean(axis=0) + [0, 1, 0], 500, 320, 240)
    drawn = draw(variation({"occluders": {"count": [3, 3]}}), "ada", "front")["occluders"]
    assert occlusion.place(drawn, body, camera) == []


# The config


def sentence(changes: dict, root: Path = ROOT, **sections) -> str:
    with pytest.raises(PoseFactoryError) as error:
        load({"characters": {"ada": {"anny": {}}}, "variation": changes, **sections}, root)
    return str(error.value).removeprefix("Config: ")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"noise": [0.2, 0.1]}, "variation.noise is [0.2, 0.1], whose low end is above its high end; swap them."),
        ({"camera": {"roll": [5, -5]}}, "variation.camera.roll is [5.0, -5.0], whose low end is above its high end;"),
        ({"noise": 0.1}, "variation.noise is 0.1, but must be a list ([low, high])."),
        ({"noise": [0.1]}, "variation.noise is [0.1], but must have 2 values ([low, high])."),
        ({"noise": [0, 2]}, "variation.noise[1] is 2, but must be at least 0 and at most 1 (a fraction)."),
        (
            {"light": {"hours": [3, 12]}},
            "variation.light.hours[0] is 3, but must be at least 5 and at most 19 (hours of",
        ),
        ({"light": {"kinds": ["son"]}}, "variation.light.kinds[0] is 'son'; the nearest valid one is 'sun'."),
        ({"ground": {"kinds": []}}, "variation.ground.kinds is empty; name at least one."),
        ({"ground": {"kinds": ["wood", "wood"]}}, "variation.ground.kinds names one twice."),
        ({"occluders": {"count": [0, 1.5]}}, "variation.occluders.count[1] is 1.5, but must be a whole number"),
        ({"motionblur": [0, 1]}, "variation.motionblur is not a known key; the nearest valid one is 'motion_blur'."),
        (
            {"camera": {"elevation": [-10, 85]}},
            "variation.camera.elevation adds [-10.0, 85.0] to 5.0 of the angle front; keep their sum above -90 and",
        ),
        (
            {"background": {"kinds": ["images"]}},
            "variation.background.folder is empty, but variation.background.kinds has images; name a folder of them.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(changes, expected):
    assert sentence(changes).startswith(expected)


def test_a_folder_that_is_missing_or_empty_is_one_sentence(tmp_path):
    changes = {"background": {"kinds": ["images"], "folder": "My Pictures"}}
    folder = tmp_path / "My Pictures"
    key = "variation.background.folder is"
    assert sentence(changes, tmp_path) == f"{key} a folder that does not exist: {folder}."
    folder.mkdir()
    for name in ("notes.txt", ".hidden.jpg"):
        (folder / name).touch()
    (folder / "a folder.jpg").mkdir()
    (folder / "to nowhere.png").symlink_to("nothing")
    assert sentence(changes, tmp_path).startswith(f"{key} {folder}, which has no .jpg, .jpeg, .png, ")
    (folder / "b.JPG").touch()
    (folder / "a, 100%.hdr").touch()
    background = variation(changes, tmp_path)["background"]
    assert background["folder"] == str(folder) and background["files"] == ["a, 100%.hdr", "b.JPG"]
    elsewhere = {"characters": {"ada": {"anny": {}}}, "variation": changes}
    assert load(elsewhere, tmp_path / "worker", all_here=False)["variation"]["background"]["files"] == []
    (folder / "c {1}.png").touch()
    braced = f"has {folder}/c {{1}}.png, whose braces Snakemake takes for a wildcard; rename it."
    assert sentence(changes, tmp_path) == f"variation.background.folder {braced}"


def test_workbench_is_told_what_it_cannot_show():
    workbench = {"render": {"engine": "workbench"}}
    for changes, name in (
        ({"light": {"strength": [1, 2]}}, "light"),
        ({"ground": {"kinds": ["wood"]}}, "ground"),
        ({"motion_blur": [0, 0.5]}, "motion_blur"),
    ):
        told = sentence(changes, **workbench)
        assert told.startswith(f"variation.{name} is nothing that render.engine workbench shows; take it out")
    shown = {"camera": {"roll": [-5, 5]}, "noise": [0, 0.1], "occluders": {"count": [1, 2]}}
    load({"characters": {"ada": {"anny": {}}}, "variation": shown, **workbench}, ROOT)


def test_the_randomised_config_lies_over_the_shipped_one_as_snakemake_lays_it():
    config = load_configfile(ROOT / "config" / "config.yaml")
    update_config(config, load_configfile(ROOT / "config" / "randomised.yaml"))
    loaded = load(config, ROOT)
    assert list(loaded["characters"]) == ["ada", "ben"] and loaded["results"] == "results/randomised"
    off = variation({})
    for name in ("light", "background", "ground", "camera", "noise", "motion_blur", "occluders"):
        assert loaded["variation"][name] != off[name]
    drawn = [draw(loaded["variation"], name, angle) for name in ("ada", "ben") for angle in loaded["cameras"]]
    assert {d["light"]["kind"] for d in drawn} == {"studio", "sun", "sky"}
    assert {d["ground"]["kind"] for d in drawn} == {"plain", "checker", "wood", "noise"}
