"""docs/tables.md against what the code writes: the same columns and keys, of the same types."""

import json
import os
import re
from pathlib import Path
from unittest import mock

import bpy
import cv2
import numpy as np
import pandas as pd
import pytest
import synthetic_person as person
from angles import angle
from characters import build_humanoid, write_blend
from fitted import dancer, seen
from s3 import serve
from scripted import Film, Scripted, walker

from pose_factory import passes
from pose_factory.blender import bounds, ground_truth, render, scene
from pose_factory.blender import passes as blender_passes
from pose_factory.blender.prepare import prepare
from pose_factory.config import load
from pose_factory.files import json_safe
from pose_factory.fitting.fitted import write_bodies
from pose_factory.fitting.output import angle_table
from pose_factory.fitting.output import report as fit_report
from pose_factory.footage import Video
from pose_factory.geometry.framing import frame_view
from pose_factory.skeleton import JOINTS
from pose_factory.storage import inputs, results
from pose_factory.tracking import output, session
from pose_factory.tracking.people import PROVENANCES
from pose_factory.tracking.views import fuse_views, fused_table, repair
from pose_factory.validation import body_fit_report
from pose_factory.validation.fusion_report import View, fusion_report
from pose_factory.validation.ground_truth_check import check_character
from pose_factory.validation.report import GAPS, error_by_azimuth, error_by_joint, pool, summarise, validate_view
from pose_factory.variation import draw

# rclone-python leaves its pipes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

DOCUMENT = (Path(__file__).parents[1] / "docs" / "tables.md").read_text()
ANGLE = angle(resolution=[64, 48])
RENDER = {"engine": "cycles", "device": "cpu", "samples": 1, "denoise": False, "seed": 0}
PLACEHOLDERS = {
    "{joint}": JOINTS,
    "{angle}": ["front", "left"],
    "{provenance}": PROVENANCES,
    "{reason}": [session.NOBODY, session.UNMATCHED, session.BEFORE, session.AFTER],
    "{gap}": GAPS,
    "{person}": ["0"],
    "{pass}": list(passes.PASSES),
    "{file}": ["characters/doll.fbx", "doll/fused.parquet"],
}
JSON_TYPES = {"integer": int, "number": float, "string": str, "boolean": bool, "array": list, "null": type(None)}


def documented(file: str) -> dict[str, str]:
    """Type by column or key, from the table under the heading that ends in this file's name."""
    section = re.search(rf"^## `[^`]*\b{re.escape(file)}`$(.*?)(?=^#|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert section, f"docs/tables.md has no section about {file}"
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", section[1], re.MULTILINE))


def leaves(data: dict) -> list[tuple[str, object]]:
    """(dotted key with placeholders, value) of all that is not an object itself, or a list of objects."""
    found = []
    for key, value in data.items():
        name = next((placeholder for placeholder, words in PLACEHOLDERS.items() if key in words), key)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            name, inner = f"{name}[]", [leaf for item in value for leaf in leaves(item)]
        else:
            inner = leaves(value) if isinstance(value, dict) else [("", value)]
        found += [(f"{name}.{rest}".rstrip("."), leaf) for rest, leaf in inner]
    return found


def is_of(value, types: str) -> bool:
    return any(
        isinstance(value, JSON_TYPES[word]) or (word == "number" and type(value) is int) for word in types.split(" or ")
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, list]:
    """By file name: all that the code writes into it, for a small character and for synthetic people."""
    folder = tmp_path_factory.mktemp("character")
    of_people = {**of_synthetic_people(), **of_tracking(), **of_fused_views(), **of_bodies()}
    return {**of_a_character(folder), **of_people, **of_a_video(folder), **of_a_remote(folder / "remote")}


def of_a_character(folder: Path) -> dict[str, list]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    body = build_humanoid(frames=3, missing_texture=True).meshes[0]
    body["landmarks"] = json.dumps({"nose": {"vertices": [0, 1], "weights": [0.5, 0.5]}})
    write_blend(folder / "source.blend")
    character = prepare({"file": str(folder / "source.blend")}, folder / "character.blend")
    scene.open_character(folder / "character.blend")
    measured = bounds.measure(character)
    view = frame_view(measured, ANGLE)
    labels, boxes, check = ground_truth.label(character, view, [1, 3])
    log = folder / "log"
    log.touch()
    rendered = render.render(view, measured, [1], RENDER, 1, folder / "frames", log)
    scene.open_character(folder / "character.blend")
    made = blender_passes.make(character, view, [1, 3], list(passes.PASSES), labels, boxes, folder / "passes")
    picture = folder / "wall.png"
    cv2.imwrite(str(picture), np.full((48, 64, 3), 100, np.uint8))
    drawn = drawn_of_everything(picture)
    varied = frame_view(measured, ANGLE, drawn)
    scene.open_character(folder / "character.blend")
    of_varied = render.render(varied, measured, [1], RENDER, 1, folder / "varied", log, drawn, picture)
    return {
        "character.json": [character],
        "bounds.json": [measured],
        "camera.json": [view, varied],
        "render.json": [rendered, of_varied],
        "passes.json": [json_safe(made)],
        "ground_truth.json": [check],
        "ground_truth.parquet": [labels],
        "boxes.parquet": [boxes],
    }


def drawn_of_everything(picture: Path) -> dict:
    """Of a variation with an occluder, a sun, a picture and a ground."""
    variation = {
        "light": {"kinds": ["sun"]},
        "background": {"kinds": ["images"], "folder": str(picture.parent)},
        "ground": {"kinds": ["wood"]},
        "occluders": {"count": [1, 1]},
    }
    settings = load({"characters": {"ada": {"anny": {}}}, "variation": variation}, Path())["variation"]
    return draw({**settings, "background": {**settings["background"], "files": [picture.name]}}, "doll", "front")


def of_synthetic_people() -> dict[str, list]:
    world = person.walk(24)
    views = {angle: person.camera(azimuth) for angle, azimuth in (("front", 0), ("left", 270))}
    check = {"frames": 24, "reprojection_max_px": 0.001, "inside_silhouette": None}
    tables = {angle: (person.labels(world, camera), camera) for angle, camera in views.items()}
    tracks = {angle: person.tracks(world, camera) for angle, camera in views.items()}
    nobody = tracks["front"][:0]
    scored = [
        validate_view(tables[angle][0], person.boxes(world, camera), track, JOINTS, camera, 24.0, {"coverage": 0.9})
        for angle, camera in views.items()
        for track in (tracks[angle], nobody)
    ]
    pooled = [
        pool(
            {
                angle: (tables[angle][0], person.boxes(world, camera), track, JOINTS, camera)
                for (angle, camera), track in zip(views.items(), of_views, strict=True)
            },
            24.0,
        )
        for of_views in (tracks.values(), (nobody, nobody))
    ]
    summary = summarise((("ada", "front", 0.0, validation) for validation, _ in scored), {"ada": pooled[0]})
    return {
        "validation.json": [validation for validation, _ in scored],
        "joints.parquet": [joints for _, joints in scored],
        "summary.parquet": [summary],
        "by_azimuth.parquet": [error_by_azimuth(summary)],
        "by_joint.parquet": [error_by_joint(pd.concat(joints for _, joints in scored))],
        "rig_bias.json": pooled,
        "ground_truth_check.json": [
            check_character(some, measured=dict.fromkeys(some, check)) for some in (tables, {"front": tables["front"]})
        ],
    }


def of_tracking() -> dict[str, list]:
    """Of two people with gaps of every kind, one of whom leaps, and of nobody."""
    config = {"characters": {"ada": {"anny": {}}}, "tracking": {"smoothing": {"filter": "none"}}}
    settings = load(config, Path())["tracking"]
    leaping = walker(-2.0)
    leaping.joints[30, 0] += [1.0, 0, 0]
    hidden = [{1, *range(20, 30), 60}, {40}]
    written = {"tracks.parquet": [], "people.parquet": [], "tracking.json": []}
    for backend in (Scripted([leaping, walker(2.0)], hidden, [{25}, set()]), Scripted([], [])):
        followed = session.follow(Film(), backend, settings)
        smoothed = output.smoothly(followed, Film(), backend, settings)
        written["tracks.parquet"].append(output.tracks_table(smoothed, backend.joints))
        written["people.parquet"].append(output.people_table(smoothed))
        written["tracking.json"].append(output.report(followed, smoothed, Film.fps))
    return written


def of_a_video(folder: Path) -> dict[str, list]:
    writer = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    for level in (50, 100):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    video = Video(folder / "film.mp4")
    assert len(list(video)) == 2
    return {"video.json": [video.facts()]}


def of_a_remote(folder: Path) -> dict[str, list]:
    with serve(folder / "served") as server, mock.patch.dict(os.environ, server.environment):
        for file in (server.root / "characters/doll.fbx", folder / "results/doll/fused.parquet"):
            file.parent.mkdir(parents=True)
            file.write_bytes(b"content")
        address = f"r2:{server.bucket}"
        fetched = inputs.fetch(address, "characters/doll.fbx", folder / "source", lambda *_: None)
        copied = results.push(address, folder / "results", ["doll/fused.parquet"], lambda *_: None)
    return {"source.json": [fetched], "synced.json": [copied]}


def of_fused_views() -> dict[str, list]:
    world, frames, settings = person.walk(24), np.arange(1, 25), {"outlier_limit": 0.05, "min_views": 2}
    cameras = {angle: person.camera(azimuth) for angle, azimuth in (("front", 0), ("left", 270))}
    tracks = [person.tracks(world, camera) for camera in cameras.values()]
    views = {
        angle: View(person.labels(world, camera), person.boxes(world, camera), track, track, JOINTS, camera)
        for (angle, camera), track in zip(cameras.items(), tracks, strict=True)
    }
    people = fuse_views(tracks, list(cameras.values()), frames, True, settings)
    alone = fuse_views(tracks[:1], [cameras["front"]], frames, True, settings)
    return {
        "fused.parquet": [fused_table(people, frames), fused_table([], frames)],
        "repaired.parquet": [repair(tracks[0], people, 0, cameras["front"], frames, settings)],
        "fusion.json": [fusion_report(people, views)[0], fusion_report(alone, {"front": views["front"]})[0]],
    }


def of_bodies() -> dict[str, list]:
    """Of a dancer, and of nobody; scored as if it were the walker."""
    body, world, camera = dancer(frames=24), person.walk(24), person.camera(0)
    tables = person.labels(world, camera), person.boxes(world, camera), person.tracks(world, camera)
    (track_id,) = tables[2].track_id.unique()
    cases = (({track_id: body}, {0: body}), ({track_id: body}, {}), ({}, {}))
    return {
        "joint_angles.parquet": [angle_table({3: body}), angle_table({})],
        "body.json": [
            fit_report({3: body}, {3: seen(body)}, JOINTS, (384, 384)),
            fit_report({}, {}, JOINTS, (384, 384)),
        ],
        "body_validation.json": [
            body_fit_report.score(bodies, *tables, JOINTS, camera, 24.0, true) for bodies, true in cases
        ],
    }


FILES = sorted(re.findall(r"^## `(?:[^`]*/)?([a-z_]+\.(?:parquet|json))`$", DOCUMENT, re.MULTILINE))


def test_every_file_is_described_and_only_those(written):
    assert sorted(written) == FILES


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".parquet")])
def test_tables_have_the_documented_columns(written, file):
    for table in written[file]:
        assert isinstance(table, pd.DataFrame)
        assert {name: str(kind) for name, kind in table.dtypes.items()} == documented(file)
        assert list(table) == list(documented(file))


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".json")])
def test_json_has_the_documented_keys(written, file):
    types = documented(file)
    found = [leaf for data in written[file] for leaf in leaves(data)]
    # An empty list does not tell that it is one of objects.
    keys = {key for key, value in found if value != [] or not any(name.startswith(f"{key}[].") for name in types)}
    assert keys == set(types)
    found = [(key, value) for key, value in found if key in keys]
    wrong = [(key, value) for key, value in found if not is_of(value, types[key])]
    assert wrong == []
    assert json.dumps(written[file], allow_nan=False)


def test_arrays_are_the_documented_ones(tmp_path):
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| \(([^)]*)\) \|", DOCUMENT, re.MULTILINE)
    body = dancer(frames=2)
    counts = {"": (), "T,": (1,), "T, 6": (1, 6), "R,": (2,), "R, 3": (2, 3), "R, B, 3, 3": (2, 52, 3, 3)}
    for bodies in ({3: body}, {}):
        write_bodies(tmp_path / "body.npz", bodies, 24.0)
        with np.load(tmp_path / "body.npz") as file:
            found = [
                (name, "str" if file[name].dtype.kind == "U" else str(file[name].dtype), file[name].shape)
                for name in file
            ]
        expected = [(name, kind, counts[shape]) for name, kind, shape in rows]
        if not bodies:
            expected = [(name, kind, (0, *shape[1:]) if shape else ()) for name, kind, shape in expected]
        assert sorted(found) == sorted(expected)
