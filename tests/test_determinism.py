"""One config and seed built twice, in two folders, on one core and on several: the same files, bit for bit."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pose_factory.files import read_json, write_json
from workflow import Workflow

TIMED = {"render.json": {"seconds_setting_up", "seconds_rendering"}}
"""The keys of JSON files that tell how long something took; docs/determinism.md lists them, too."""
OF_JOBS = {"logs", "benchmarks"}
"""Folders that tell of the jobs and not of their results."""
CONFIG = {
    "characters": {
        "eve": {"anny": {"phenotype": {"gender": 1.0}, "motion": "dance", "frames": 4, "fps": 12}},
        "ada": {"anny": {"phenotype": {"age": 0.4}, "motion": "hands_on_hips", "frames": 4, "fps": 12}},
        "duo": {"people": [{"character": "eve"}, {"character": "ada", "from": [1.3, 0.2], "facing": 60}], "frames": 4},
    },
    "only": ["duo"],
    "cameras": {"resolution": [144, 128], "angles": {"front": 0, "left": 270}},
    "render": {"samples": 1, "passes": ["depth", "instances", "flow"]},
    "variation": {
        "light": {"kinds": ["studio", "sun", "sky"], "turn": [-60, 60], "strength": [0.8, 1.2]},
        "background": {"kinds": ["gradient", "plain", "texture", "sky"]},
        "ground": {"kinds": ["checker", "wood", "noise"]},
        "camera": {"azimuth": [-10, 10], "roll": [-5, 5], "focal_length": [0.9, 1.1]},
        "noise": [0.005, 0.01],
        "occluders": {"count": [1, 2], "size": [0.05, 0.1]},
    },
}


def files(folder: Path) -> dict[str, Path]:
    """Every file of these results by its path in them, but what tells of the jobs and Snakemake's own time stamps."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: path
        for name, path in found.items()
        if not OF_JOBS & set(Path(name).parts) and path.name != ".snakemake_timestamp"
    }


def differing(one: Path, other: Path) -> list[str]:
    """The files that only one of two folders of results has, or that are not the same in both. A .blend holds addresses
    of memory; what is in it is told by all that is made of it, above all motion.npz and the pictures."""
    ours, theirs = files(one), files(other)
    different = sorted(set(ours) ^ set(theirs))
    for name in sorted(set(ours) & set(theirs)):
        if timed := TIMED.get(Path(name).name):
            contents = [read_json(path) for path in (ours[name], theirs[name])]
            assert all(timed <= set(content) for content in contents)
            same = len({json.dumps({k: v for k, v in c.items() if k not in timed}) for c in contents}) == 1
        else:
            same = name.endswith(".blend") or ours[name].read_bytes() == theirs[name].read_bytes()
        different += [] if same else [name]
    return different


@pytest.fixture(scope="module")
def twice(tmp_path_factory) -> tuple[Path, Path]:
    """The results of the two builds, which run at the same time."""
    folders = [tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("again") / "in a longer path"]
    builds = [Workflow.new(folder / "repository", CONFIG) for folder in folders]
    started = [
        workflow.start("--cores", cores, "all", "export") for workflow, cores in zip(builds, ("1", "4"), strict=True)
    ]
    runs = [workflow.finish(process, timeout=280) for workflow, process in zip(builds, started, strict=True)]
    assert [run.status for run in runs] == [0, 0], "".join(run.console for run in runs)
    one, other = (workflow.root / "results" for workflow in builds)
    return one, other


def test_the_same_config_and_seed_give_the_same_files(twice):
    assert differing(*twice) == []


def test_what_is_compared_is_all_of_a_run_and_not_empty(twice):
    one, _ = twice
    kinds = {Path(name).suffix for name in files(one)}
    assert kinds >= {*(".blend", ".json", ".parquet", ".csv", ".npz", ".png", ".svg", ".mp4", ".bvh", ".trc", ".c3d")}
    assert kinds >= {".exr", ".tar", ".jsonl", ".yaml"}  # passes, and what is trained on
    assert len([name for name in files(one) if name.endswith(".png") and "frames" in name]) == 8
    drawn = {angle: read_json(one / "duo" / angle / "camera.json")["variation"] for angle in ("front", "left")}
    assert all(view["occluders"] for view in drawn.values()) and drawn["front"]["camera"] != drawn["left"]["camera"]
    assert any(occluder["shape"] == "sphere" for view in drawn.values() for occluder in view["occluders"])
    with np.load(one / "duo/front/body.npz") as bodies:
        assert len(bodies["tracks"])  # somebody was tracked and fitted


@pytest.mark.parametrize("name", ["duo/front/frames/0002.png", "duo/front/tracks.parquet", "duo/motion.npz"])
def test_a_single_bit_is_told(twice, tmp_path, name):
    one, other = twice
    shutil.copytree(one, tmp_path / "changed", copy_function=os.link)
    path = tmp_path / "changed" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # of a link: the other file stays as it is
    path.write_bytes(content)
    assert differing(tmp_path / "changed", other) == [name]


def test_a_key_that_tells_no_time_is_told(twice, tmp_path):
    one, other = twice
    shutil.copytree(one, tmp_path / "changed", copy_function=os.link)
    path = tmp_path / "changed" / "duo/left/render.json"
    content = read_json(path)
    write_json(path, content | {"seconds_rendering": 1e6})
    assert differing(tmp_path / "changed", other) == []
    write_json(path, content | {"samples": 2})
    assert differing(tmp_path / "changed", other) == ["duo/left/render.json"]
