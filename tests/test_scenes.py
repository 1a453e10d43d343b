"""Scenes in the workflow: made of their members' preparation, which they share with them, and stale with it."""

import os
from pathlib import Path

import pytest
from characters import make

from pose_factory.files import read_json, read_table
from workflow import Workflow, jobs

TARGETS = [f"results/{name}/ground_truth_check.json" for name in ("doll", "crossing", "doomed")]
TARGETS += ["results/crossing/front/render.json"]
FILMED = jobs("prepare_scene bounds check_ground_truth", ["crossing"])
FILMED |= jobs("camera ground_truth render", ["crossing"], ["front"])


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A run over a scene of sound characters and one with a broken member: the workflow, and how it ended."""
    folder = tmp_path_factory.mktemp("staged")
    files = {"doll": "plain.blend", "xbot": "plain.glb", "cut": "truncated.fbx"}
    characters = {name: {"file": str(make(folder / name, file))} for name, file in files.items()}
    characters["crossing"] = {
        "people": [
            {"character": "doll", "from": [-0.5, 0], "to": [0.5, 0]},
            {"character": "xbot", "from": [0.5, -1], "to": [-0.5, -1]},
            {"character": "doll", "from": [0, 1]},
        ]
    }
    characters["doomed"] = {"people": [{"character": "doll"}, {"character": "cut"}]}
    config = {
        "characters": characters,
        "cameras": {"resolution": [64, 64], "angles": {"front": 0}},
        "render": {"samples": 1, "denoise": False, "frames": {"step": 2}},
    }
    workflow = Workflow.new(folder / "repository", config)
    return workflow, workflow.run("--cores", "2", *TARGETS)


def test_a_broken_member_fails_its_scene_and_nothing_else(staged):
    workflow, run = staged
    assert run.status != 0
    (told,) = run.sentences
    assert told.startswith("prepare cut: ")
    assert not workflow.results("doomed/character*") and not workflow.results("cut/character*")
    assert workflow.results("crossing/ground_truth_check.json") and workflow.results("doll/ground_truth_check.json")


def test_a_scene_is_filmed_and_labelled_like_a_character(staged):
    folder = staged[0].root / "results" / "crossing"
    facts, frames = read_json(folder / "character.json"), [1, 3, 5]
    assert [person["name"] for person in facts["people"]] == ["doll", "xbot", "doll"]
    assert read_json(folder / "front" / "render.json")["frames"] == frames
    assert sorted(path.name for path in folder.glob("front/frames/*.png")) == ["0001.png", "0003.png", "0005.png"]
    boxes = read_table(folder / "front" / "boxes.parquet")
    assert boxes[["frame", "person"]].to_numpy().tolist() == [[f, p] for f in frames for p in range(3)]
    assert ((boxes.x_min >= 0) & (boxes.x_max <= 64) & (boxes.y_min >= 0) & (boxes.y_max <= 64)).all()
    assert read_json(folder / "ground_truth_check.json")["people"] == 3


def test_members_that_are_not_chosen_are_prepared_and_no_more(staged, tmp_path):
    workflow = Workflow.new(tmp_path / "fresh", staged[0].config)
    chosen = ["results/crossing/ground_truth_check.json", "results/crossing/front/render.json"]
    assert workflow.plan("--config", "only=[crossing]", "--", *chosen) == FILMED | jobs("prepare", ["doll", "xbot"])
    only_doll = workflow.plan("--config", "only=[doll]")
    assert "prepare doll" in only_doll and not {job for job in only_doll if "crossing" in job or "xbot" in job}


def test_a_scene_that_is_changed_is_made_again_and_its_members_are_not(staged, tmp_path):
    workflow = staged[0].copy(tmp_path / "copy")
    assert workflow.plan(*TARGETS[:2], TARGETS[3]) == set()
    people = workflow.config["characters"]["crossing"]["people"]
    workflow.change("characters.crossing.people", [*people[:2], {**people[2], "facing": 90}])
    assert workflow.plan(*TARGETS[:2], TARGETS[3]) == FILMED


def test_a_changed_member_makes_its_scene_stale_and_no_other_member(staged, tmp_path):
    workflow = staged[0].copy(tmp_path / "copy")
    path = Path(workflow.config["characters"]["xbot"]["file"])
    content, stat = path.read_bytes(), path.stat()
    try:
        path.write_bytes(content + b"\0")
        assert workflow.plan(*TARGETS[:2], TARGETS[3]) == FILMED | {"prepare xbot"}
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
