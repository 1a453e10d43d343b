"""The studio that every view is filmed in: soft three-point light and a floor that melts into a plain backdrop."""

import math

import bpy
import numpy as np
from mathutils import Vector

HORIZON, ZENITH = (0.78, 0.79, 0.80), (0.42, 0.45, 0.50)
"""Linear RGB of the backdrop at the camera's height and above it."""
AMBIENT = 0.55
FLOOR = 0.45
LIGHTS = (  # name, azimuth, elevation (degrees), strength (W/m2), apparent diameter (degrees), tint
    ("Key", -40, 45, 2.6, 12, (1.0, 0.96, 0.90)),
    ("Fill", 55, 25, 0.9, 40, (0.90, 0.95, 1.0)),
    ("Rim", 165, 40, 1.8, 20, (1.0, 1.0, 1.0)),
)
# Lights at infinity and a backdrop that is not a surface cost a fifth of a real cyclorama with area lights, at equal
# noise.


def build(target: np.ndarray, size: float) -> None:
    """Add floor, lights and backdrop to the scene; target (3,) is what the camera looks at, size the motion's diameter,
    metres."""
    scene = bpy.context.scene
    if scene.camera.location.z > 0:  # from below, the floor would hide the body
        scene.collection.objects.link(_floor(Vector((target[0], target[1], 0)), size))
    for name, azimuth, elevation, strength, diameter, tint in LIGHTS:
        data = bpy.data.lights.new(name, "SUN")
        data.energy, data.angle, data.color = strength, math.radians(diameter), tint
        light = bpy.data.objects.new(name, data)
        a, e = math.radians(azimuth), math.radians(elevation)
        towards = Vector((math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)))
        light.rotation_euler = towards.to_track_quat("Z", "Y").to_euler()
        scene.collection.objects.link(light)
    scene.world = _backdrop()


def _backdrop() -> bpy.types.World:
    """Even light for the body; a vertical gradient for the camera."""
    world = bpy.data.worlds.new("Studio")
    world.cycles.sampling_method = "NONE"  # what is even all around is best found by the body's own reflections
    world.use_nodes = True
    tree = world.node_tree
    new, link = tree.nodes.new, tree.links.new
    ambient = tree.nodes["Background"]
    ambient.inputs["Color"].default_value, ambient.inputs["Strength"].default_value = (1, 1, 1, 1), AMBIENT
    seen, mix, path = new("ShaderNodeBackground"), new("ShaderNodeMixShader"), new("ShaderNodeLightPath")
    ramp, height, where = new("ShaderNodeValToRGB"), new("ShaderNodeSeparateXYZ"), new("ShaderNodeTexCoord")
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = (*HORIZON, 1), (*ZENITH, 1)
    ramp.color_ramp.elements[1].position = 0.35
    link(where.outputs["Generated"], height.inputs["Vector"])
    link(height.outputs["Z"], ramp.inputs["Fac"])
    link(ramp.outputs["Color"], seen.inputs["Color"])
    link(path.outputs["Is Camera Ray"], mix.inputs["Fac"])
    link(ambient.outputs["Background"], mix.inputs[1])
    link(seen.outputs["Background"], mix.inputs[2])
    link(mix.outputs["Shader"], tree.nodes["World Output"].inputs["Surface"])
    return world


def _floor(centre: Vector, radius: float) -> bpy.types.Object:
    """A disc that takes the body's shadow and fades out before its edge."""
    steps = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    mesh = bpy.data.meshes.new("Floor")
    corners = np.stack([radius * np.cos(steps), radius * np.sin(steps), np.zeros_like(steps)], axis=1)
    mesh.from_pydata(corners.tolist(), [], [list(range(len(steps)))])
    material = bpy.data.materials.new("Floor")
    material.use_nodes = True
    material.diffuse_color = (*HORIZON, 1)
    tree = material.node_tree
    new, link = tree.nodes.new, tree.links.new
    shader = tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value, shader.inputs["Roughness"].default_value = (FLOOR, FLOOR, FLOOR, 1), 1.0
    shader.inputs["Specular IOR Level"].default_value = 0.0
    where, distance, fade = new("ShaderNodeTexCoord"), new("ShaderNodeVectorMath"), new("ShaderNodeMapRange")
    distance.operation = "LENGTH"
    fade.inputs["From Min"].default_value, fade.inputs["From Max"].default_value = 0.15 * radius, 0.95 * radius
    fade.inputs["To Min"].default_value, fade.inputs["To Max"].default_value = 1.0, 0.0
    fade.interpolation_type = "SMOOTHSTEP"
    link(where.outputs["Object"], distance.inputs[0])
    link(distance.outputs["Value"], fade.inputs["Value"])
    link(fade.outputs["Result"], shader.inputs["Alpha"])
    mesh.materials.append(material)
    floor = bpy.data.objects.new("Floor", mesh)
    floor.location = centre
    return floor
