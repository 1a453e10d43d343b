"""Builds a dressed, animated Anny body in the current Blender scene."""

import difflib
import json
import re
from pathlib import Path

import bpy
import numpy as np
from mathutils import Color

from pose_factory.blender import motion_files
from pose_factory.blender import scene as scenes
from pose_factory.blender.anny_rig import build_action, build_armature, build_mesh
from pose_factory.bodies.anny_body import ZONES, Body, build_body
from pose_factory.bodies.motion import Motion, animate
from pose_factory.errors import PoseFactoryError
from pose_factory.retargeting.retarget import retarget

DEFAULT_LOOK = {"skin": "#d8ac96", "top": "#4b81ad", "bottom": "#6f695f", "shoes": "#cdcac6", "hair": "#432f20"}
DEFAULTS = {"phenotype": {}, "motion": "walk", "frames": None, "fps": None, "look": {}}
FRAMES, FPS = 24, 24
"""Of a motion that is not from a file, unless it is said."""
ROUGHNESS = {"skin": 0.5, "top": 0.85, "bottom": 0.8, "shoes": 0.55, "hair": 0.85, "eyes": 0.15, "iris": 0.15}
SOLES, EYE_WHITE, IRIS, MOUTH = [0.75, 0.74, 0.72], [0.80, 0.78, 0.75], [0.10, 0.055, 0.03], [0.20, 0.05, 0.04]


def build(spec: dict) -> None:
    """Build the character `spec` describes in an empty scene: an armature "Armature", a mesh "Body" skinned to it, and
    one action with a key on every frame from 1 on; set the scene's frame rate and range.

    spec: phenotype (see anny_body), motion (see motion.MOTIONS, or {file, action} whose motion it takes over), frames,
    fps (None: FRAMES and FPS, or as the file has it), look ({skin, top, bottom, shoes, hair}: sRGB as "#rrggbb"); all
    optional. body["landmarks"] is a JSON string {joint: {"vertices": [...], "weights": [...]}}. Raises
    PoseFactoryError for anything else in `spec`.
    """
    _check_keys(spec, DEFAULTS, "character")
    spec = {**DEFAULTS, **spec}
    _check_keys(spec["look"], DEFAULT_LOOK, "look")
    look = {part: _linear(part, colour) for part, colour in {**DEFAULT_LOOK, **spec["look"]}.items()}
    body = build_body(spec["phenotype"])
    name, motion, fps = _motion(body, spec["motion"], spec["frames"], spec["fps"])

    armature = build_armature(body)
    _mesh(body, armature, _material(look))
    build_action(body, motion, armature, name, first=1)
    scenes.set_timing(fps, 1, len(motion.root))
    bpy.context.scene.frame_set(1)


def _motion(body: Body, wanted: str | dict, frames: int | None, fps: float | None) -> tuple[str, Motion, float]:
    """The motion that is wanted, its name and its frame rate."""
    if isinstance(wanted, str):
        fps = fps or FPS
        return wanted, animate(wanted, body, frames or FRAMES, fps), fps
    path = Path(wanted["file"])
    recording = motion_files.read(path, wanted.get("action")).played(frames, fps)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return path.stem, retarget(recording, body), recording.fps


def _linear(part: str, colour: str) -> list[float]:
    """The linear RGB of an sRGB colour, each 0..1."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise PoseFactoryError(f'Look {part!r} is {colour!r}: give red, green and blue as "#rrggbb".')
    return list(Color(channel / 255 for channel in bytes.fromhex(colour[1:])).from_srgb_to_scene_linear())


def _check_keys(given: dict, valid: dict, what: str) -> None:
    for key in given:
        if key not in valid:
            near = difflib.get_close_matches(str(key), valid, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PoseFactoryError(f"Unknown {what} setting {key!r}: {hint}valid ones are {', '.join(valid)}.")


def _mesh(body: Body, armature: bpy.types.Object, material: bpy.types.Material) -> None:
    """The body's mesh in its clothes, which knows where its landmarks are."""
    skinned = build_mesh(body, armature)
    skinned.data.materials.append(material)
    for zone in ZONES:
        attribute = skinned.data.attributes.new(f"zone_{zone}", "FLOAT", "POINT")
        attribute.data.foreach_set("value", body.zones[zone].astype(np.float32))
    skinned["landmarks"] = json.dumps(
        {
            joint: {"vertices": vertices.tolist(), "weights": weights.tolist()}
            for joint, (vertices, weights) in body.landmarks.items()
        }
    )


def _material(look: dict[str, list[float]]) -> bpy.types.Material:
    """Skin, covered by each zone where its distance field is positive: borders stay sharp whatever the mesh."""
    hair, skin = np.array(look["hair"]), np.array(look["skin"])
    colours = {
        **look,
        "soles": SOLES,
        "brows": 0.5 * hair + 0.12 * skin,
        "lips": skin * [0.80, 0.52, 0.52],
        "mouth": MOUTH,
        "eyes": EYE_WHITE,
        "iris": IRIS,
    }
    material = bpy.data.materials.new("Body")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    principled = nodes["Principled BSDF"]
    colour, roughness = nodes.new("ShaderNodeRGB").outputs[0], nodes.new("ShaderNodeValue").outputs[0]
    colour.default_value, roughness.default_value = [*look["skin"], 1.0], ROUGHNESS["skin"]
    for zone in ZONES:
        distance = nodes.new("ShaderNodeAttribute")
        distance.attribute_name = f"zone_{zone}"
        inside = nodes.new("ShaderNodeMath")
        inside.operation = "GREATER_THAN"
        inside.inputs[1].default_value = 0.0
        links.new(distance.outputs["Fac"], inside.inputs[0])
        colour = _cover(nodes, links, "RGBA", inside, colour, [*colours[zone], 1.0])
        roughness = _cover(nodes, links, "FLOAT", inside, roughness, ROUGHNESS.get(zone, ROUGHNESS["skin"]))
    links.new(colour, principled.inputs["Base Color"])
    links.new(roughness, principled.inputs["Roughness"])
    return material


def _cover(nodes, links, kind: str, inside, below, above):
    """The output of a mix node: `above` where `inside` is 1, otherwise what `below` gives."""
    mix = nodes.new("ShaderNodeMix")
    mix.data_type = kind
    factor, first, second, output = (
        next(socket for socket in sockets if socket.identifier == f"{name}_{suffix}")
        for sockets, name, suffix in (
            (mix.inputs, "Factor", "Float"),
            (mix.inputs, "A", "Color" if kind == "RGBA" else "Float"),
            (mix.inputs, "B", "Color" if kind == "RGBA" else "Float"),
            (mix.outputs, "Result", "Color" if kind == "RGBA" else "Float"),
        )
    )
    links.new(inside.outputs[0], factor)
    links.new(below, first)
    second.default_value = above
    return output
