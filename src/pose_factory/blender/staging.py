"""Putting prepared characters into one scene, each on a way of their own."""

import math
from collections.abc import Mapping
from pathlib import Path

import bpy
import numpy as np

from pose_factory.blender import actions, evaluate
from pose_factory.blender import scene as scenes
from pose_factory.geometry import playback

FIRST_FRAME = 1


def stage(scene: dict, members: Mapping[str, tuple[Path, dict]], destination: Path) -> dict:
    """Build the scene that the config's `scene` describes and save it as `destination` (.blend).

    `members` are the prepared characters by name: (character.blend, content of character.json). Every person of the
    scene hangs on an empty of its own that goes along the person's way; their actions get a key on each of the scene's
    frames, so that each plays at its own speed. Returns what character.json holds.
    """
    cycles = {name: playback.find_cycle(_ends(*member), _count(member[1])) for name, member in members.items()}
    cast = [members[person["character"]] for person in scene["people"]]
    fps = scene.get("fps") or cast[0][1]["fps"]
    length = scene.get("frames") or max(_length(facts, fps) for _, facts in cast)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scenes.set_timing(fps, FIRST_FRAME, FIRST_FRAME + length - 1)
    people, ahead = [], []
    for member, (blend, facts) in zip(scene["people"], cast, strict=True):
        cycle = cycles[member["character"]]
        played = playback.play(_count(facts), facts["fps"] / fps, length, cycle)
        people.append(_add(blend, facts, played, f"Person {len(people)}"))
        ahead.append(played.turns[:, None] * (cycle.travel if cycle else np.zeros(3)))
        if length > _length(facts, fps):
            what = "starts over" if cycle else "does not lead back to its beginning, so its last pose is held"
            people[-1]["warnings"].append(f"the motion is shorter than the scene and {what}")
    ends = np.stack([_places(people) for _ in evaluate.each_frame([FIRST_FRAME, FIRST_FRAME + length - 1])])
    for index, (member, first, last) in enumerate(zip(scene["people"], *ends, strict=True)):
        start, end = member["from"], member.get("to")
        facing = member.get("facing", playback.heading(start, end or start))
        root = bpy.data.objects[f"Person {index}"]
        root.rotation_euler.z = math.radians(facing)
        path = playback.root_path(first, last, ahead[index], facing, start, end)
        for frame, place in enumerate(path, FIRST_FRAME):
            root.location = place
            root.keyframe_insert("location", frame=frame)
    bpy.context.scene.frame_set(FIRST_FRAME)
    scenes.save(destination)
    return {
        "people": people,
        "fps": fps,
        "first_frame": FIRST_FRAME,
        "last_frame": FIRST_FRAME + length - 1,
        "units": "metres, Z up, lowest point of each person's motion on z = 0",
    }


def _count(facts: dict) -> int:
    """How many frames a character's motion has."""
    return facts["last_frame"] - facts["first_frame"] + 1


def _length(facts: dict, fps: float) -> int:
    """How many frames it fills at `fps`."""
    return math.floor((_count(facts) - 1) / facts["fps"] * fps + 1e-6) + 1


def _ends(blend: Path, facts: dict) -> np.ndarray:
    """(4, J, 3) the joints of a prepared character in its first two and its last two frames, metres."""
    scenes.open_character(blend)
    (person,) = facts["people"]
    read = evaluate.JointReader(scenes.armature(person["armature"]), person["joints"])
    first, last = facts["first_frame"], facts["last_frame"]
    return np.stack([read() for _ in evaluate.each_frame([first, first + 1, last - 1, last])])


def _places(people: list[dict]) -> np.ndarray:
    """(P, 3) where on the floor the people are at the current frame, metres."""
    readers = [evaluate.JointReader(scenes.armature(person["armature"]), person["joints"]) for person in people]
    return playback.on_floor(np.stack([read() for read in readers]))


def _add(blend: Path, facts: dict, played: playback.Playback, name: str) -> dict:
    """Copy a prepared character into the open scene, under an empty called `name`; return its entry in `people`, with
    the names that its objects have now."""
    earlier = set(bpy.data.actions)
    with bpy.data.libraries.load(str(blend)) as (there, here):
        names = list(there.objects)
        here.objects = list(names)
    objects = dict(zip(names, here.objects, strict=True))
    (person,) = facts["people"]
    top = objects[person["armature"]]
    while top.parent:
        top = top.parent
    root = bpy.data.objects.new(name, None)
    top.parent = root
    for o in [root, *root.children_recursive]:
        bpy.context.scene.collection.objects.link(o)
    for action in set(bpy.data.actions) - earlier:
        actions.resample(action, facts["first_frame"], played.frame, played.closing, FIRST_FRAME)
    joints = {
        joint: {**place, "mesh": objects[place["mesh"]].name} if "mesh" in place else place
        for joint, place in person["joints"].items()
    }
    return {
        **person,
        "armature": objects[person["armature"]].name,
        "meshes": [objects[mesh].name for mesh in person["meshes"]],
        "joints": joints,
        "warnings": list(person["warnings"]),
    }
