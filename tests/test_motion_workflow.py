"""Motions from files in the whole workflow: made again for another content only, and told of where they are damaged."""

import hashlib
import os

import bpy
import pytest
from test_bvh import write

from pose_factory.files import read_json
from workflow import Workflow

FACTS = [f"results/{name}/character.json" for name in ("broken", "dancer")]


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    return write(tmp_path_factory.mktemp("My Motions") / "a dance.bvh", frames=5, fps=25)


@pytest.fixture(scope="module")
def ran(motion, tmp_path_factory):
    """A run over two bodies, of which the motion of one is cut short."""
    broken = motion.parent / "cut short.bvh"
    broken.write_text(motion.read_text()[:-40])
    workflow = Workflow.new(
        tmp_path_factory.mktemp("motions") / "repository",
        {
            "characters": {
                "broken": {"anny": {"motion": {"file": str(broken)}}},
                "dancer": {"anny": {"motion": {"file": str(motion)}, "fps": 15, "frames": 4}, "licence": "none"},
            }
        },
    )
    return workflow, workflow.run("--cores", "1", *FACTS)


def test_a_damaged_motion_stops_its_character_only_in_one_sentence(ran):
    workflow, run = ran
    assert run.status != 0
    (sentence,) = set(run.sentences)
    assert "cut short.bvh" in sentence and "export or copy it again" in sentence
    made = {path.name for path in (workflow.root / "results/broken").glob("character*")}
    assert made == set()


def test_a_body_takes_over_the_files_motion(ran, motion):
    workflow, _ = ran
    facts = read_json(workflow.root / "results/dancer/character.json")
    assert (facts["fps"], facts["first_frame"], facts["last_frame"]) == (15, 1, 4)
    (person,) = facts["people"]
    assert (person["motion_file"], person["action"]) == ("a dance.bvh", "a dance")
    assert person["motion_sha256"] == hashlib.sha256(motion.read_bytes()).hexdigest()
    assert person["rig"] == "mixamo"
    bpy.ops.wm.open_mainfile(filepath=str(workflow.root / "results/dancer/character.blend"))
    (armature,) = (o for o in bpy.data.objects if o.type == "ARMATURE")
    assert armature.animation_data.action.name == "a dance"


def test_another_content_makes_it_again_and_a_touch_does_not(ran, motion):
    workflow, _ = ran
    motion.touch()
    assert workflow.plan(FACTS[1]) == set()
    write(motion, frames=6, fps=25)
    os.utime(motion, (1e9, 1e9))
    assert workflow.plan(FACTS[1]) == {"prepare dancer"}
