"""The benchmark's own claims: all ways to bound a motion lead to one camera and one image, its table adds up, and
all jobs are planned."""

import subprocess
import sys
from pathlib import Path

import pytest
from characters import make

from pose_factory.blender import scene
from pose_factory.blender.prepare import prepare

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import bounding
import dataset
import planning
import stages


@pytest.fixture(scope="module")
def doll(tmp_path_factory) -> tuple[Path, range]:
    folder = tmp_path_factory.mktemp("doll")
    facts = prepare({"file": str(make(folder, "centimetres.fbx"))}, folder / "character.blend")
    return folder / "character.blend", range(facts["first_frame"], facts["last_frame"] + 1)


def test_every_way_finds_the_same_cameras_and_none_is_free(doll):
    blend, frames = doll
    scene.open_character(blend)
    seconds = bounding.compare(frames, frames[1:3])
    assert all(value > 0 for value in seconds.values())


@pytest.mark.parametrize("azimuth", [0, 45, 100])
def test_the_loop_and_the_hull_give_the_same_image(doll, tmp_path, azimuth):
    blend, frames = doll
    assert bounding.differing_pixels(blend, frames, azimuth, tmp_path, {**bounding.RENDER, "samples": 1}) == 0


def test_a_camera_a_millimetre_away_is_told_apart(doll):
    blend, frames = doll
    scene.open_character(blend)
    measured = bounding.hull(frames)
    moved = {**measured, "target": [measured["target"][0] + 0.001, *measured["target"][1:]]}
    with pytest.raises(AssertionError):
        bounding.assert_same(bounding.camera(measured, 0), bounding.camera(moved, 0), bounding.SINGLE)


def test_the_renderer_is_told_from_its_job_and_all_shares_add_up(tmp_path):
    for rule, seconds in {"render": 10.0, "track": 4.0, "overlay": 2.0}.items():
        file = tmp_path / "ada" / "front" / "benchmarks" / f"{rule}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\th:m:s\tcpu_time\n{seconds}\t0:00:01\t0.5\n")
    (tmp_path / "ada" / "front" / "render.json").write_text('{"seconds_rendering": 9.0}')
    table = stages.measured(tmp_path)
    assert dict(zip(table.rule, table.seconds, strict=True)) == {
        stages.RENDERER: 9.0,
        "track": 4.0,
        "overlay": 2.0,
        "render": 1.0,
    }
    assert table.share.sum() == pytest.approx(1)
    assert stages.around(table) == pytest.approx(3 / 16)


def test_start_up_runs_only_a_scripts_imports():
    assert stages.start_up("camera") > 0


def test_planning_counts_every_job_and_is_compared_with_as_many():
    jobs, ours, bare = planning.measure(2, 3)
    of_character = ["prepare", "bounds", "record_motion", "check_ground_truth", "rig_bias", "fuse", "contact_sheet"]
    of_view = ["camera", "render", "ground_truth", "track", "validate", "overlay", "fit_body", "validate_body"]
    assert jobs == 2 * (len(of_character) + 3 * len(of_view)) + len(["summarise", "all"])
    assert ours > 0 and bare > 0


def test_a_job_of_the_real_workflow_is_timed_and_its_memory_taken(tmp_path):
    settings, target = dataset.config(2, 64), dataset.STAGES["prepare"]
    cost = dataset.make(tmp_path, settings, "prepare", target)
    assert cost.seconds > 0 and 2e8 < cost.memory < 4e9  # Blender itself takes more than 200 MB
    with pytest.raises(subprocess.CalledProcessError):
        dataset.make(tmp_path, {**settings, "fusion": {"min_views": 0}}, "prepare", target)


def test_the_size_of_an_image_is_the_mean_of_its_folder(tmp_path):
    for name, size in {"0001.png": 100, "0002.png": 300}.items():
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "logs").mkdir()
    assert dataset.bytes_each(tmp_path) == 200
