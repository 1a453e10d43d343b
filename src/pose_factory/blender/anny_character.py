"""Builds a dressed, animated Anny body in the current Blender scene."""

import difflib
import json
import re
from functools import partial
from pathlib import Path

import bpy
import numpy as np

from pose_factory.blender import motion_files
from pose_factory.blender import scene as scenes
from pose_factory.blender.anny_rig import build_action, build_armature, build_mesh
from pose_factory.blender.colours import linear
from pose_factory.bodies.anny_body import DEFAULT_CUT, ZONES, Body, described_body
from pose_factory.bodies.cloth import lay
from pose_factory.bodies.motion import Motion, animate
from pose_factory.errors import PoseFactoryError
from pose_factory.retargeting.retarget import retarget

DEFAULT_LOOK = {"skin": "#d8ac96", "top": "#4b81ad", "bottom": "#6f695f", "shoes": "#cdcac6", "hair": "#432f20"}
DEFAULTS = {"phenotype": {}, "local": {}, "motion": "walk", "frames": None, "fps": None, "look": {}}
FRAMES, FPS = 24, 24
"""Of a motion that is not from a file, unless it is said."""
GARMENTS = ("top", "bottom", "shoes")
PATTERNS = ("stripes", "pinstripes", "checks", "dots", "gradient", "mottled")
DEFAULT_SIZE = 0.06
ROUGHNESS = {"skin": 0.5, "top": 0.85, "bottom": 0.8, "shoes": 0.55, "hair": 0.85, "eyes": 0.15, "iris": 0.15}
SOLES, EYE_WHITE, IRIS, MOUTH = [0.75, 0.74, 0.72], [0.80, 0.78, 0.75], [0.10, 0.055, 0.03], [0.20, 0.05, 0.04]


def build(spec: dict) -> None:
    """Build the character `spec` describes in an empty scene: an armature "Armature", a mesh "Body" skinned to it, and
    one action with a key on every frame from 1 on; set the scene's frame rate and range.

    spec: phenotype, local (see anny_body), motion (of motion.names(), or {file, action} whose motion it takes over),
    frames, fps (None: FRAMES and FPS, or as the file has it), look; all optional. look: skin, hair, top, bottom, shoes
    (sRGB as "#rrggbb"; the last three also {pattern, colours, size}, see cloth.lay) and the cut, of anny_body.CUTS.
    body["landmarks"] is a JSON string {joint: {"vertices": [...], "weights": [...]}}. Raises
    PoseFactoryError for anything else in `spec`.
    """
    _check_keys(spec, DEFAULTS, "character")
    spec = {**DEFAULTS, **spec}
    _check_keys(spec["look"], DEFAULT_LOOK | DEFAULT_CUT, "look")
    look = {part: spec["look"].get(part, DEFAULT_LOOK[part]) for part in DEFAULT_LOOK}
    patterns = {part: look[part] for part in GARMENTS if isinstance(look[part], dict)}
    plain = {part: _linear(part, colour) for part, colour in look.items() if part not in patterns}
    for part, pattern in patterns.items():
        _check_keys(pattern, {"pattern": "", "colours": [], "size": DEFAULT_SIZE}, f"look.{part}")
        _check_keys({pattern["pattern"]: None}, dict.fromkeys(PATTERNS), "pattern")
    body = described_body(spec)
    name, motion, fps = _motion(body, spec["motion"], spec["frames"], spec["fps"])

    armature = build_armature(body)
    mesh = _mesh(body, armature)
    for part, pattern in patterns.items():
        _lay(mesh, part, lay(body, part, pattern["pattern"], pattern.get("size", DEFAULT_SIZE)))
    mesh.materials.append(_material(plain, patterns))
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
    if not isinstance(colour, str) or not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise PoseFactoryError(f'Look {part!r} is {colour!r}: give red, green and blue as "#rrggbb".')
    return list(linear(colour))


def _check_keys(given: dict, valid: dict, what: str) -> None:
    for key in given:
        if key not in valid:
            near = difflib.get_close_matches(str(key), valid, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PoseFactoryError(f"Unknown {what} setting {key!r}: {hint}valid ones are {', '.join(valid)}.")


def _mesh(body: Body, armature: bpy.types.Object) -> bpy.types.Mesh:
    """The body's mesh in its clothes, which knows where its landmarks are."""
    skinned = build_mesh(body, armature)
    for zone in ZONES:
        attribute = skinned.data.attributes.new(f"zone_{zone}", "FLOAT", "POINT")
        attribute.data.foreach_set("value", body.zones[zone].astype(np.float32))
    skinned["landmarks"] = json.dumps(
        {
            joint: {"vertices": vertices.tolist(), "weights": weights.tolist()}
            for joint, (vertices, weights) in body.landmarks.items()
        }
    )
    return skinned.data


def _lay(mesh: bpy.types.Mesh, garment: str, coordinates: np.ndarray) -> None:
    """Keep where each corner of the faces lies in the garment's pattern, (F, 3, 3)."""
    attribute = mesh.attributes.new(f"cloth_{garment}", "FLOAT_VECTOR", "CORNER")
    attribute.data.foreach_set("vector", coordinates.astype(np.float32).ravel())


def _material(plain: dict[str, list[float]], patterns: dict[str, dict]) -> bpy.types.Material:
    """Skin, covered by each zone where its distance field is positive: borders stay sharp whatever the mesh."""
    hair, skin = np.array(plain["hair"]), np.array(plain["skin"])
    colours = {
        **plain,
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
    colour.default_value, roughness.default_value = [*plain["skin"], 1.0], ROUGHNESS["skin"]
    for zone in ZONES:
        inside = _math(nodes, links, "GREATER_THAN", _attribute(nodes, f"zone_{zone}").outputs["Fac"], 0.0)
        above = _pattern(nodes, links, zone, patterns[zone]) if zone in patterns else [*colours[zone], 1.0]
        colour = _cover(nodes, links, "RGBA", inside, colour, above)
        roughness = _cover(nodes, links, "FLOAT", inside, roughness, ROUGHNESS.get(zone, ROUGHNESS["skin"]))
    links.new(colour, principled.inputs["Base Color"])
    links.new(roughness, principled.inputs["Roughness"])
    return material


def _pattern(nodes, links, garment: str, pattern: dict):
    """The output that gives a garment's pattern: its second colour over its first."""
    first, second = ([*_linear(garment, colour), 1.0] for colour in pattern["colours"])
    place = _attribute(nodes, f"cloth_{garment}").outputs["Vector"]
    apart = nodes.new("ShaderNodeSeparateXYZ")
    links.new(place, apart.inputs[0])
    u, v = apart.outputs["X"], apart.outputs["Y"]

    math = partial(_math, nodes, links)

    def dots(shift):
        """1 on round dots, one in each square of the grid that is moved by `shift`."""
        across, up = (math("SUBTRACT", math("FRACT", math("ADD", side, shift)), 0.5) for side in (u, v))
        radius = math("SQRT", math("ADD", math("MULTIPLY", across, across), math("MULTIPLY", up, up)))
        return math("LESS_THAN", radius, 0.2)

    match pattern["pattern"]:
        case "stripes":
            share = math("LESS_THAN", math("FRACT", v), 0.5)
        case "pinstripes":
            share = math("LESS_THAN", math("FRACT", u), 0.15)
        case "checks":  # where warp and weft cross they show in full
            warp, weft = (math("LESS_THAN", math("FRACT", side), 0.5) for side in (u, v))
            share = math("MULTIPLY", math("ADD", warp, weft), 0.5)
        case "dots":
            share = math("MAXIMUM", dots(0.0), dots(0.5))
        case "gradient":
            share = v
        case "mottled":
            noise = nodes.new("ShaderNodeTexNoise")
            noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 1.5, 1.0
            links.new(place, noise.inputs["Vector"])
            share = math("GREATER_THAN", noise.outputs["Fac"], 0.5)
    below = nodes.new("ShaderNodeRGB").outputs[0]
    below.default_value = first
    return _cover(nodes, links, "RGBA", share, below, second)


def _attribute(nodes, name: str):
    node = nodes.new("ShaderNodeAttribute")
    node.attribute_name = name
    return node


def _math(nodes, links, operation: str, *values):
    """The output of a math node; `values` are outputs or numbers."""
    node = nodes.new("ShaderNodeMath")
    node.operation = operation
    for socket, value in zip(node.inputs, values, strict=False):
        _give(links, value, socket)
    return node.outputs[0]


def _cover(nodes, links, kind: str, share, below, above):
    """The output of a mix node: `above` where `share` is 1, otherwise what `below` gives."""
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
    links.new(share, factor)
    links.new(below, first)
    _give(links, above, second)
    return output


def _give(links, value, socket) -> None:
    """Let a node's socket have the value of another's output, or a constant."""
    if isinstance(value, bpy.types.NodeSocket):
        links.new(value, socket)
    else:
        socket.default_value = value
