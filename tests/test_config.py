"""The config: the shipped file, what a loaded config holds, and the sentence for every kind of mistake."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pose_factory.config import SCHEMA_PATH, load
from pose_factory.errors import PoseFactoryError

ROOT = Path(__file__).parents[1]
SHIPPED = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
SCHEMA = json.loads(SCHEMA_PATH.read_text())
BODY = {"anny": {}}
ANGLES = {
    "front": 0.0,
    "front_right": 45.0,
    "right": 90.0,
    "back_right": 135.0,
    "back": 180.0,
    "back_left": 225.0,
    "left": 270.0,
    "front_left": 315.0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two character files in it."""
    (tmp_path / "X Bot.fbx").touch()
    (tmp_path / "scene.blend").touch()
    return tmp_path


def sentence(config: dict, root: Path = ROOT) -> str:
    with pytest.raises(PoseFactoryError) as error:
        load(config, root)
    text = str(error.value)
    assert text.startswith("Config: ") and text.endswith(".") and "\n" not in text
    return text.removeprefix("Config: ")


def nested(path: str, value) -> dict:
    """A config with one character and `value` at the dotted `path`."""
    config: dict = {"characters": {"ada": deepcopy(BODY)}}
    *parents, last = path.split(".")
    inner = config
    for key in parents:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return config


# The loaded result


def test_the_shipped_config_is_valid_and_runs_two_bodies_from_eight_angles():
    config = load(SHIPPED, ROOT)
    assert list(config["characters"]) == config["only"] == ["ada", "ben"]
    assert {name: camera["azimuth"] for name, camera in config["cameras"].items()} == ANGLES
    bodies = [character["anny"] for character in config["characters"].values()]
    assert bodies[0]["phenotype"] != bodies[1]["phenotype"]
    assert all(body["frames"] >= 24 for body in bodies)


def test_the_schema_is_a_valid_schema_that_is_closed_everywhere_and_whose_defaults_are_valid():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def walk(schema):
        if isinstance(schema, dict):
            if "properties" in schema or "patternProperties" in schema:
                assert schema["additionalProperties"] is False
            if "default" in schema:
                jsonschema.validate(schema["default"], {**schema, "$defs": SCHEMA["$defs"]})
            for item in schema.values():
                walk(item)

    walk(SCHEMA)


def test_the_shipped_config_states_every_default_outside_the_characters():
    shipped, bare = load(SHIPPED, ROOT), load({"characters": SHIPPED["characters"]}, ROOT)
    assert shipped == bare
    assert set(SHIPPED) == set(SCHEMA["properties"])
    for section in ("cameras", "render", "tracking", "validation"):
        assert set(SHIPPED[section]) == set(SCHEMA["properties"][section]["properties"])


def test_a_list_of_angles_takes_the_azimuths_of_the_known_names():
    known = SCHEMA["properties"]["cameras"]["properties"]["angles"]
    assert known["default"] == ANGLES and known["items"]["enum"] == list(ANGLES)
    cameras = load(nested("cameras.angles", list(ANGLES)), ROOT)["cameras"]
    assert {name: camera["azimuth"] for name, camera in cameras.items()} == ANGLES


def test_each_angle_has_the_shared_settings_and_its_own_on_top():
    config = nested(
        "cameras.angles", {"front": 0, "above": {"azimuth": -20, "elevation": 40, "resolution": [640, 360]}}
    )
    config["cameras"]["margin"] = 0
    shared = {"focal_length": 50.0, "sensor_width": 36.0, "margin": 0.0, "framing": "ring"}
    assert load(config, ROOT)["cameras"] == {
        "front": {"name": "front", "azimuth": 0.0, "elevation": 5.0, "resolution": [384, 384], **shared},
        "above": {"name": "above", "azimuth": -20.0, "elevation": 40.0, "resolution": [640, 360], **shared},
    }


def test_a_character_is_a_full_description(folder):
    config = {"characters": {"xbot": {"file": "X Bot.fbx", "yaw": 90}, "ada": {"anny": {"phenotype": {"gender": 1}}}}}
    characters = load(config, folder)["characters"]
    assert characters["xbot"] == {
        "name": "xbot",
        "file": str(folder / "X Bot.fbx"),
        "anny": None,
        "action": None,
        "scale": 1.0,
        "yaw": 90.0,
        "motion": None,
    }
    assert characters["ada"]["file"] is None
    body = characters["ada"]["anny"]
    assert body["phenotype"]["gender"] == 1.0 and body["phenotype"]["height"] == 0.5
    assert (body["motion"], body["frames"], body["fps"]) == ("walk", None, None)


def test_a_scene_is_a_list_of_people(folder):
    people = [{"character": "xbot", "to": [1, -2], "facing": 90}, {"character": "xbot", "from": [0.5, 1]}]
    config = {"characters": {"crossing": {"people": people, "fps": 30}, "xbot": {"file": "X Bot.fbx"}}}
    loaded = load(config, folder)
    assert list(loaded["characters"]) == ["crossing", "xbot"] and loaded["members"] == {}
    assert loaded["characters"]["crossing"] == {
        "name": "crossing",
        "people": [
            {"character": "xbot", "from": [0.0, 0.0], "to": [1.0, -2.0], "facing": 90.0},
            {"character": "xbot", "from": [0.5, 1.0]},
        ],
        "fps": 30.0,
    }


def test_who_stands_in_a_chosen_scene_is_known_though_not_chosen(folder):
    characters = {
        "xbot": {"file": "X Bot.fbx"},
        "ada": BODY,
        "ben": {"file": "/nowhere/ben.fbx"},
        "crossing": {"people": [{"character": "ada"}, {"character": "xbot"}, {"character": "ada"}]},
        "other": {"people": [{"character": "ben"}]},
    }
    loaded = load({"characters": characters, "only": ["crossing", "xbot"]}, folder)
    assert list(loaded["characters"]) == loaded["only"] == ["crossing", "xbot"]
    assert list(loaded["members"]) == ["ada"]
    assert loaded["members"]["ada"] == load({"characters": characters, "only": "ada"}, folder)["characters"]["ada"]
    gone = "characters.ben.file is a file that does not exist: /nowhere/ben.fbx."
    assert sentence({"characters": characters, "only": "other"}, folder) == gone


def test_a_tilde_is_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    config = {"results": "~/out/", "characters": {"xbot": {"file": "~/X Bot.fbx"}}}
    loaded = load(config, Path("/"))
    assert loaded["characters"]["xbot"]["file"] == str(folder / "X Bot.fbx")
    assert loaded["results"] == str(folder / "out")


@pytest.mark.parametrize("only", ["ben", ["ben"], ["ben", "ben"]])
def test_only_chooses_characters(only):
    config = load({**SHIPPED, "only": only}, ROOT)
    assert config["only"] == list(config["characters"]) == ["ben"]


def test_the_file_of_a_character_that_is_not_chosen_need_not_exist():
    config = {"characters": {"ada": BODY, "xbot": {"file": "/nowhere/X Bot.fbx"}}}
    assert list(load({**config, "only": "ada"}, ROOT)["characters"]) == ["ada"]
    assert sentence(config) == "characters.xbot.file is a file that does not exist: /nowhere/X Bot.fbx."


def test_the_same_settings_load_alike_in_another_order_and_as_other_numbers():
    one = load(nested("cameras", {"margin": 0, "focal_length": 50}), ROOT)
    other = load(nested("cameras", {"focal_length": 50.0, "margin": 0.0}), ROOT)
    assert json.dumps(one) == json.dumps(other)
    samples = load(nested("render", {"samples": 4.0}), ROOT)["render"]["samples"]
    assert samples == 4 and isinstance(samples, int)


def test_loading_leaves_the_given_config_as_it_was():
    config = deepcopy(SHIPPED)
    load(config, ROOT)["cameras"]["front"]["resolution"].append(1)
    assert config == SHIPPED


def test_the_config_is_read_without_heavy_libraries():
    heavy = {"numpy", "pandas", "bpy", "torch", "mediapipe"}
    code = f"import sys; sys.path.insert(0, 'src'); import pose_factory.config; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# The mistakes


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("camera", {}, " is not a known key; the nearest valid one is 'cameras'."),
        ("cameras.focal_lenght", 35, " is not a known key; the nearest valid one is 'focal_length'."),
        ("tracking.zzz", 1, " is not a known key; use one of backend, mode, mediapipe, hmr2, association, "),
        ("cameras.angles.top.azimut", 1, " is not a known key; the nearest valid one is 'azimuth'"),
        ("characters.ada.anny.look.shoe", "#000000", " is not a known key; the nearest valid one is 'shoes'."),
        ("cameras", None, " is empty, but must be a mapping."),
        ("cameras.margin", "wide", " is 'wide', but must be a number (the fraction of the image left free"),
        ("cameras.margin", True, " is true, but must be a number"),
        ("cameras.margin", float("nan"), " is NaN, but must be a number"),
        ("cameras.margin", 10**400, " is 1000"),
        ("cameras.margin", 0.9, " is 0.9, but must be at least 0 and below 0.9 (the fraction of the image"),
        ("cameras.margin", -0.1, " is -0.1, but must be at least 0 and below 0.9"),
        ("cameras.elevation", 90, " is 90, but must be above -90 and below 90 (degrees above the horizon)."),
        ("cameras.focal_length", 0, " is 0, but must be at least 1 and at most 5000 (millimetres)."),
        ("cameras.resolution", 512, " is 512, but must be a list ([width, height] in pixels)."),
        ("cameras.resolution", [512], " is [512], but must have 2 values ([width, height] in pixels)."),
        ("cameras.resolution", [512, 512, 3], " is [512, 512, 3], but must have 2 values"),
        ("cameras.resolution", [15, 512], "[0] is 15, but must be at least 16 and at most 16384 (pixels)."),
        ("cameras.resolution", [512, 512.5], "[1] is 512.5, but must be a whole number (pixels)."),
        ("cameras.framing", "rings", " is 'rings'; the nearest valid one is 'ring'."),
        ("cameras.angles.front", 360, " is 360, but must be at least -360 and below 360 (azimuth in de"),
        ("cameras.angles.front", "0", " is '0', but must be a number or a mapping (azimuth in degrees)."),
        ("cameras.angles.front", {"azimuth": -361}, ".azimuth is -361, but must be at least -360"),
        ("cameras.angles.front", {"margin": 0.1}, ".azimuth is missing."),
        ("cameras.angles", ["front", "bak"], "[1] is 'bak'; the nearest valid one is 'back'."),
        ("cameras.angles", ["front", "front"], " names one twice."),
        ("cameras.angles", {}, " is empty; name at least one."),
        ("cameras.angles", [], " is empty; name at least one."),
        ("cameras.angles", {"to the left": 90}, ".to the left is not a valid name; use at most 64"),
        (
            "cameras.angles",
            {"front\n": 90},
            ".front\\n is not a valid name; use at most 64 letters, digits, '_' and '-'",
        ),
        ("cameras.angles", {"a" * 65: 90}, f".{'a' * 65} is not a valid name; use at most 64 letters, digits, '_'"),
        ("cameras.angles", {"front": 0, "Front": 90}, ".Front differs from another angle only in upper and lower"),
        ("render.engine", "cycle", " is 'cycle'; the nearest valid one is 'cycles'."),
        ("render.engine", "povray", " is 'povray'; use one of cycles, eevee, workbench."),
        ("render.device", "gpu", " is 'gpu'; the nearest valid one is 'cpu'."),
        ("render.samples", 0, " is 0, but must be at least 1 and at most 65536 (rays per pixel)."),
        ("render.denoise", "no", " is 'no', but must be true or false (whether to smooth the noise"),
        ("render.frames", "frist", " is 'frist'; the nearest valid one is 'first'."),
        (
            "render.frames",
            5,
            " is 5, but must be text or a mapping (which frames: all, first, last, or {first: n, last: n, step: n}).",
        ),
        ("render.frames", {"step": 0}, ".step is 0, but must be at least 1 (every n-th frame)."),
        ("render.frames", {}, " is empty; name at least one."),
        ("render.frames", {"first": 10, "last": 2}, " has its first, 10, above its last, 2; swap them."),
        ("export.shares", {"tset": 0.2}, ".tset is not a known key; the nearest valid one is 'test'."),
        ("export.shares", {"test": 0.2}, " adds up to 1.1 over train, val, test, but must add up to 1."),
        ("validation.thresholds.coverage", 90, " is 90, but must be at least 0 and at most 1 (a fraction)."),
        ("validation.ground_truth.triangulation_mm", 0, " is 0, but must be above 0."),
        ("results", "", " is empty, but must be the folder of everything that is made, without braces."),
        ("results", "out/{x}", " is 'out/{x}', but must be the folder of everything that is made, without braces."),
        ("only", ["eda"], "[0] names 'eda', which is not a character or a video; the nearest valid one is 'ada'."),
        ("only", "eda", " names 'eda', which is not a character or a video; the nearest valid one is 'ada'."),
        ("only", [1], "[0] is 1, but must be text."),
        ("only", {"ada": 1}, " is a mapping, but must be a list or text (the characters and videos to run; empty for"),
        ("characters", {}, " is empty; name at least one."),
        ("characters.ada", None, " is empty, but must be a mapping (a character: a file, a remote file,"),
        ("characters", None, " is empty, but must be a mapping (the characters, by name)."),
        ("characters", ["ada"], ' is ["ada"], but must be a mapping'),
        ("characters", {"X Bot": BODY}, ".X Bot is not a valid name; use at most 64 letters, digits, '_'"),
        ("characters", {"a" * 65: BODY}, f".{'a' * 65} is not a valid name; use at most 64 letters, digits, '_'"),
        ("characters", {"ada\n": BODY}, ".ada\\n is not a valid name; use at most 64 letters, digits, '_' and '-'"),
        ("characters", {"Export": BODY}, ".Export is not a valid name; use at most 64 letters, digits, '_' and '-'"),
        ("videos", {"Videos": "a.mp4"}, ".Videos is not a valid name; use at most 64 letters, digits, '_' and '-'"),
        (
            "characters",
            {"dataset": BODY},
            ".dataset is not a valid name; use at most 64 letters, digits, '_' and '-' ('dataset'",
        ),
        ("characters.Ada", BODY, " differs from another name only in upper and lower case."),
        (
            "characters.ada",
            "X Bot.fbx",
            " is 'X Bot.fbx', but must be a mapping (a character: a file, a remote file,",
        ),
        ("characters.ada", {}, " has none of file, remote, anny and people; give it one of them."),
        ("characters.ada.yaw", 90, " is for characters from files; remove it."),
        ("characters.ada.anny.motion", "wlak", " is 'wlak'; the nearest valid one is 'walk'."),
        (
            "characters.ada.anny.fps",
            "1e-9",
            " is '1e-9', but must be a number or empty (frames a second); write it as 1.0e-9.",
        ),
        ("characters.ada.anny.frames", 0, " is 0, but must be at least 1 and at most 100000 (frames)."),
        ("characters.ada.anny.phenotype", {"age": 40}, ".age is 40, but must be at least 0 and at most 1"),
        ("characters.ada.anny.look", {"skin": "red"}, ".skin is 'red', but must be a colour as '#rrggbb', in quotes."),
        ("characters.ada.anny.look", {"skin": "#123456\n"}, ".skin is '#123456\\n', but must be a colour as"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_key(path, value, expected):
    """`expected` is how the sentence goes on after `path`."""
    assert sentence(nested(path, value)).startswith(path + expected)


@pytest.mark.parametrize("smoothing", [{}, {"filter": "savitzky_golay"}])
def test_a_filter_that_looks_into_the_future_does_not_go_with_causal_tracking(smoothing):
    config = nested("tracking", {"mode": "causal", "smoothing": smoothing})
    assert sentence(config) == (
        "tracking.smoothing.filter is savitzky_golay, which looks into the future; with tracking.mode causal use "
        "one_euro or none."
    )
    for settings_ in ({"mode": "batch", "smoothing": smoothing}, {"mode": "causal", "smoothing": {"filter": "none"}}):
        load(nested("tracking", settings_), ROOT)


@pytest.mark.parametrize(("text", "advice"), [("1e-9", "1.0e-9"), ("+5E2", "+5.0e+2"), ("1.5e3", "1.5e+3")])
def test_a_number_that_yaml_takes_for_text_is_told_in_a_way_that_it_takes_for_one(text, advice):
    assert isinstance(yaml.safe_load(text), str) and yaml.safe_load(advice) == float(text)
    assert sentence(nested("fusion.outlier_limit", text)).endswith(f"; write it as {advice}.")


def test_a_key_that_is_not_text_is_an_error():
    assert sentence(nested("cameras.angles", {90: 90})) == "the key 90 in cameras.angles is not text; put it in quotes."
    assert sentence({"characters": {7: BODY}}) == "the key 7 in characters is not text; put it in quotes."


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("X Bott.fbx", "is a file that does not exist: {}/X Bott.fbx; the nearest there is 'X Bot.fbx'."),
        ("zzz.glb", "is a file that does not exist: {}/zzz.glb."),
        ("scene.bland", "is 'scene.bland', whose suffix is not supported; the nearest valid one is '.blend'."),
        ("scene.obj", "is 'scene.obj', whose suffix is not supported; use one of .fbx, .glb, .gltf, .blend."),
        ("~no-such-user/a.fbx", "is a file that does not exist: {}/~no-such-user/a.fbx."),
        ("scene", "is 'scene', whose suffix is not supported; use one of"),
        ("folder.fbx", "is the folder {}/folder.fbx; name a file in it."),
        ("", "is empty, but must be a path to an .fbx, .glb, .gltf or .blend file."),
    ],
)
def test_a_wrong_file_is_one_sentence_with_its_path(folder, file, expected):
    (folder / "folder.fbx").mkdir()
    assert f"characters.x.file {expected.format(folder)}" in sentence({"characters": {"x": {"file": file}}}, folder)


def test_a_motion_may_be_that_of_a_file(folder):
    (folder / "a walk.bvh").touch()
    config = nested("characters.ada.anny.motion", {"file": "a walk.bvh"})
    anny = load(config, folder)["characters"]["ada"]["anny"]
    assert anny["motion"] == {"file": str(folder / "a walk.bvh"), "action": None}
    assert anny["frames"] is anny["fps"] is None
    config["characters"]["ada"]["anny"]["fps"] = 25
    assert load(config, folder)["characters"]["ada"]["anny"]["fps"] == 25.0
    config = {"characters": {"xbot": {"file": "X Bot.fbx", "motion": {"file": "a walk.bvh"}}}}
    assert load(config, folder)["characters"]["xbot"]["motion"]["file"] == str(folder / "a walk.bvh")
    config["characters"]["xbot"]["action"] = "run"
    assert sentence(config, folder).startswith(
        "characters.xbot.action names the file's own motion, but `motion` another"
    )


@pytest.mark.parametrize(
    ("motion", "expected"),
    [
        (
            {"file": "X Bott.fbx"},
            ".file is a file that does not exist: {}/X Bott.fbx; the nearest there is 'X Bot.fbx'.",
        ),
        ({"file": "walk.bhv"}, ".file is 'walk.bhv', whose suffix is not supported; the nearest valid one is '.bvh'."),
        ({"file": ""}, ".file is empty, but must be a path to an .fbx, .glb, .gltf, .blend or .bvh file."),
        ({"file": "X Bot.fbx", "actoin": "x"}, ".actoin is not a known key; the nearest valid one is 'action'."),
        ({"action": "x"}, ".file is missing."),
        (["walk"], ' is ["walk"], but must be text or a mapping'),
    ],
)
def test_a_wrong_motion_is_one_sentence(folder, motion, expected):
    told = sentence(nested("characters.ada.anny.motion", motion), folder)
    assert told.startswith(f"characters.ada.anny.motion{expected.format(folder)}")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("", {"people": []}, "people is empty; name at least one."),
        ("", {"people": "ada"}, "people is 'ada', but must be a list (the people in it)."),
        ("", {"file": "a.fbx"}, "file is not a known key; use one of people, fps, frames ("),
        ("", {"scale": 2}, "scale is not a known key; use one of people, fps, frames."),
        ("", {"fps": 0}, "fps is 0, but must be above 0 and at most 1000 (frames a second)."),
        ("", {"frames": 0}, "frames is 0, but must be at least 1 and at most 100000 (frames)."),
        ("[0]", {"character": "eda"}, "people[0].character is 'eda', which is not a character; the nearest valid"),
        ("[0]", {"character": "s"}, "people[0].character is 's', which is a scene itself; name the characters in it."),
        ("[0]", {"character": "t"}, "people[0].character is 't', which is a scene itself; name the characters in it."),
        ("[0]", {"character": None}, "people[0].character is empty, but must be text (the name of a character)."),
        ("[0]", {"form": [0, 0]}, "people[0].form is not a known key; the nearest valid one is 'from'."),
        ("[0]", {"from": [0]}, "people[0].from is [0], but must have 2 values ([x, y] in metres)."),
        ("[0]", {"to": [0, "a"]}, "people[0].to[1] is 'a', but must be a number (metres)."),
        ("[0]", {"to": [0, 101]}, "people[0].to[1] is 101, but must be at least -100 and at most 100 (metres)."),
        ("[0]", {"facing": 361}, "people[0].facing is 361, but must be at least -360 and at most 360 (degrees)."),
    ],
)
def test_a_mistake_in_a_scene_is_one_sentence(path, value, expected):
    scene, other = {"people": [{"character": "ada"}]}, {"people": [{"character": "ada"}]}
    (scene["people"][0] if path else scene).update(value)
    told = sentence({"characters": {"ada": BODY, "s": scene, "t": other}})
    assert told.startswith(f"characters.s.{expected}")


def test_a_scene_alone_and_people_without_a_character_are_mistakes():
    told = sentence({"characters": {"s": {"people": [{"character": "ada"}]}}})
    assert told == "characters.s.people[0].character is 'ada', which is not a character; add it beside the scene."
    told = sentence({"characters": {"ada": BODY, "s": {"people": [{"from": [0, 0]}]}}})
    assert told == "characters.s.people[0].character is missing."


def test_a_character_with_both_sources_is_an_error(folder):
    config = {"characters": {"ada": {"anny": {}, "file": "X Bot.fbx"}}}
    assert sentence(config, folder) == "characters.ada has both file and anny; give it one of them."


def test_a_remote_character_is_read_from_where_it_is_fetched_to(folder):
    config = {
        "characters": {"xbot": {"remote": "sub/X Bot.fbx", "yaw": 90}},
        "storage": {"remote": "r2:my-bucket/pose-factory"},
        "results": "out",
    }
    loaded = load(config, folder)
    assert loaded["storage"] == {"remote": "r2:my-bucket/pose-factory", "frames": False}
    xbot = loaded["characters"]["xbot"]
    assert (xbot["file"], xbot["remote"], xbot["yaw"]) == ("out/xbot/source/sub/X Bot.fbx", "sub/X Bot.fbx", 90.0)


@pytest.mark.parametrize(
    "remote, fault",
    [
        ("../x.fbx", ", but must be the path below storage.remote of an"),
        ("a/../x.fbx", ", but must be the path below storage.remote of an"),
        ("/x.fbx", ", but must be the path below storage.remote of an"),
        ("a//x.fbx", ", but must be the path below storage.remote of an"),
        ("x.fx", ", whose suffix is not supported; the nearest valid one is '.fbx'."),
    ],
)
def test_a_remote_path_that_is_none_is_an_error(remote, fault):
    config = {"characters": {"xbot": {"remote": remote}}, "storage": {"remote": "r2:my-bucket"}}
    assert sentence(config).startswith(f"characters.xbot.remote is '{remote}'{fault}")


def test_a_remote_character_without_a_remote_is_an_error():
    for storage in ({}, {"remote": ""}):
        told = sentence({"characters": {"xbot": {"remote": "x.fbx"}}, "storage": storage})
        assert told.startswith("characters.xbot.remote is a path below storage.remote, which is empty; set that")


@pytest.mark.parametrize("remote", ["r2", "r2:", "r2:a b", "r2:a/../b", ":local:x", "r2:$(x)"])
def test_a_remote_that_is_none_is_an_error(remote):
    config = {"characters": {"ada": BODY}, "storage": {"remote": remote}}
    assert sentence(config).startswith(f"storage.remote is '{remote}', but must be NAME:BUCKET/FOLDER")


def test_a_config_without_characters_is_an_error():
    assert sentence({}) == "characters is missing."


def test_the_first_mistake_in_the_file_is_told_with_the_number_of_the_others():
    config = {
        "render": {"engine": "cycles", "samples": -1, "device": "gpu"},
        "cameras": {"margn": 0.1},
        "characters": {"ada": {"file": "/nowhere/a.fbx"}},
    }
    first = "render.samples is -1, but must be at least 1 and at most 65536 (rays per pixel) (and 3 more problems)."
    assert sentence(config) == first
    assert sentence({key: config[key] for key in ("characters", "cameras")}) == (
        "characters.ada.file is a file that does not exist: /nowhere/a.fbx (and 1 more problem)."
    )


def leaves(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*path, key))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


PERSON = {"character": "ada", "from": [-1, 0], "to": [1, 0], "facing": 90}
WITH_A_SCENE = {
    **SHIPPED,
    "characters": {**SHIPPED["characters"], "crossing": {"people": [PERSON], "fps": 24, "frames": 48}},
}


@example(path=("only",), value=[[]])
@settings(deadline=None, derandomize=True, max_examples=300)
@given(path=st.sampled_from([path for path in leaves(WITH_A_SCENE) if path]), value=ANYTHING)
def test_whatever_stands_in_the_place_of_a_setting_it_loads_or_is_one_sentence(path, value):
    config = deepcopy(WITH_A_SCENE)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    try:
        loaded = load(config, ROOT)
    except PoseFactoryError as error:
        assert str(error).startswith("Config: ")
    else:
        assert load(config, ROOT) == loaded
