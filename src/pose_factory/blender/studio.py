"""Where every view is filmed: its light, a floor, and what is seen behind. Where nothing is varied, that is a studio,
with soft three-point light and a floor that melts into a plain backdrop."""

import math

import bpy
import numpy as np
from mathutils import Vector

from pose_factory.blender import backgrounds, grounds
from pose_factory.geometry import sun
from pose_factory.geometry.framing import direction
from pose_factory.variation import OFF

AMBIENT = 0.55
LIGHTS = (  # name, azimuth, elevation (degrees), strength (W/m2), apparent diameter (degrees), tint
    ("Key", -40, 45, 2.6, 12, (1.0, 0.96, 0.90)),
    ("Fill", 55, 25, 0.9, 40, (0.90, 0.95, 1.0)),
    ("Rim", 165, 40, 1.8, 20, (1.0, 1.0, 1.0)),
)
# Lights at infinity and a backdrop that is not a surface cost a fifth of a real cyclorama with area lights, at equal
# noise.
SUN, SUN_DIAMETER = 2.8, 2.0
"""W/m2, and degrees: softer than the real sun, for few rays would show its sharp shadows as grain."""
SHADE = (0.36, 0.40, 0.47)
"""Linear RGB of what is not the sun's with the light `sun`: an even, bluish sky."""
SAMPLE_MAP = 1024
"""Width of the map by which Cycles looks for what is bright in a sky or panorama: a sun is a pixel or two. Left to
itself, it makes one that takes seconds for each view."""


def build(target: np.ndarray, size: float, variation: dict = OFF, picture: backgrounds.Picture | None = None) -> None:
    """Add floor, lights and backdrop to the scene; target (3,) is what the camera looks at, size the motion's diameter,
    metres, `variation` what was drawn for the view, `picture` its background where that is one of the user's."""
    scene = bpy.context.scene
    if scene.camera.location.z > 0:  # from below, the floor would hide the body
        centre = Vector((target[0], target[1], 0))
        scene.collection.objects.link(grounds.floor(centre, size, variation))
    for name, azimuth, elevation, strength, diameter, tint in _lamps(variation["light"]):
        data = bpy.data.lights.new(name, "SUN")
        data.energy, data.angle, data.color = strength, math.radians(diameter), tint
        light = bpy.data.objects.new(name, data)
        light.rotation_euler = Vector(direction(azimuth, elevation)).to_track_quat("Z", "Y").to_euler()
        scene.collection.objects.link(light)
    scene.world = _world(variation, picture)


def _lamps(light: dict) -> list[tuple]:
    """As LIGHTS: all that shines from one side."""
    if light["kind"] == "panorama":
        return []
    if light["kind"] == "studio":
        return [
            (name, azimuth + light["turn"], elevation, strength * light["strength"], diameter, tint)
            for name, azimuth, elevation, strength, diameter, tint in LIGHTS
        ]
    elevation, azimuth = sun.position(light["hour"])
    tint = sun.tint(elevation)
    return [("Sun", azimuth + light["turn"], elevation, SUN * light["strength"], SUN_DIAMETER, tint)]


def _world(variation: dict, picture: backgrounds.Picture | None) -> bpy.types.World:
    """Light for the body from all around; for the camera, what is seen behind it."""
    light = variation["light"]
    world = bpy.data.worlds.new("Studio")
    world.use_nodes = True
    tree = world.node_tree
    ambient = tree.nodes["Background"]
    ambient.inputs["Color"].default_value = (*(SHADE if light["kind"] == "sun" else (1, 1, 1)), 1)
    strength = light["strength"] * {"studio": AMBIENT, "sun": 1.0, "sky": backgrounds.SKY}.get(light["kind"], 1.0)
    if light["kind"] in ("studio", "sun"):
        world.cycles.sampling_method = "NONE"  # what is even all around is best found by the body's own reflections
    else:
        world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", SAMPLE_MAP
    if light["kind"] == "sky":
        tree.links.new(backgrounds.sky(tree, light), ambient.inputs["Color"])
    if light["kind"] == "panorama":
        strength *= picture.exposure
        tree.links.new(backgrounds.panorama(tree, light, picture), ambient.inputs["Color"])
    ambient.inputs["Strength"].default_value = strength
    seen, mix, path = (tree.nodes.new(f"ShaderNode{kind}") for kind in ("Background", "MixShader", "LightPath"))
    colour, seen.inputs["Strength"].default_value = backgrounds.behind(tree, variation, picture)
    tree.links.new(colour, seen.inputs["Color"])
    tree.links.new(path.outputs["Is Camera Ray"], mix.inputs["Fac"])
    tree.links.new(ambient.outputs["Background"], mix.inputs[1])
    tree.links.new(seen.outputs["Background"], mix.inputs[2])
    tree.links.new(mix.outputs["Shader"], tree.nodes["World Output"].inputs["Surface"])
    return world
