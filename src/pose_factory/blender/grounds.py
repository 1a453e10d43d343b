"""The floor under the body."""

import math

import bpy
import numpy as np
from mathutils import Vector

from pose_factory.blender.backgrounds import HORIZON
from pose_factory.blender.colours import linear

FLOOR = 0.45
WIDER = 2.5
"""How much further a floor reaches that is not grey before grey, and would look like a rug or a spot."""


def floor(centre: Vector, radius: float, variation: dict) -> bpy.types.Object:
    """A disc that takes the body's shadow and fades out before its edge; `variation` is what was drawn for the view."""
    ground, background = variation["ground"], variation["background"]
    radius *= 1.0 if (ground["kind"], background["kind"]) == ("plain", "gradient") else WIDER
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
    if ground["kind"] != "plain":
        link(_pattern(tree, where.outputs["Object"], ground), shader.inputs["Base Color"])
    mesh.materials.append(material)
    floor = bpy.data.objects.new("Floor", mesh)
    floor.location = centre
    return floor


def _pattern(tree: bpy.types.NodeTree, where: bpy.types.NodeSocket, ground: dict) -> bpy.types.NodeSocket:
    """The colour at a point of the floor, metres."""
    return {"checker": _checker, "wood": _wood, "noise": _noise}[ground["kind"]](tree, where, ground)


def _checker(tree: bpy.types.NodeTree, where: bpy.types.NodeSocket, ground: dict) -> bpy.types.NodeSocket:
    """Square tiles of two colours."""
    node, lifted = tree.nodes.new("ShaderNodeTexChecker"), tree.nodes.new("ShaderNodeVectorMath")
    node.inputs["Scale"].default_value = 1 / ground["size"]
    lifted.inputs[1].default_value = (0, 0, ground["size"] / 2)  # not between two layers of cubes
    for name, colour in zip(("Color1", "Color2"), ground["colours"], strict=True):
        node.inputs[name].default_value = (*linear(colour), 1)
    tree.links.new(where, lifted.inputs[0])
    tree.links.new(lifted.outputs["Vector"], node.inputs["Vector"])
    return node.outputs["Color"]


def _wood(tree: bpy.types.NodeTree, where: bpy.types.NodeSocket, ground: dict) -> bpy.types.NodeSocket:
    """Planks eight times as long as wide, with their grain."""
    kinds = ("TexBrick", "TexNoise", "Mapping", "MapRange", "VectorMath")
    planks, grain, stretched, shade, shaded = (tree.nodes.new(f"ShaderNode{kind}") for kind in kinds)
    planks.inputs["Scale"].default_value = 1.0
    planks.inputs["Brick Width"].default_value = 8 * ground["size"]
    planks.inputs["Row Height"].default_value = ground["size"]
    planks.inputs["Mortar Size"].default_value = 0.002
    for name, colour in zip(("Color1", "Color2"), ground["colours"], strict=True):
        planks.inputs[name].default_value = (*linear(colour), 1)
    planks.inputs["Mortar"].default_value = (0.02, 0.015, 0.01, 1)
    stretched.inputs["Scale"].default_value = (3, 60, 1)
    grain.inputs["Scale"].default_value = 1.0
    shade.inputs["To Min"].default_value, shade.inputs["To Max"].default_value = 0.6, 1.2
    shaded.operation = "MULTIPLY"
    tree.links.new(where, planks.inputs["Vector"])
    tree.links.new(where, stretched.inputs["Vector"])
    tree.links.new(stretched.outputs["Vector"], grain.inputs["Vector"])
    tree.links.new(grain.outputs["Fac"], shade.inputs["Value"])
    tree.links.new(planks.outputs["Color"], shaded.inputs[0])
    tree.links.new(shade.outputs["Result"], shaded.inputs[1])
    return shaded.outputs["Vector"]


def _noise(tree: bpy.types.NodeTree, where: bpy.types.NodeSocket, ground: dict) -> bpy.types.NodeSocket:
    """Patches of two colours, as of gravel, grass or worn concrete."""
    node, ramp = tree.nodes.new("ShaderNodeTexNoise"), tree.nodes.new("ShaderNodeValToRGB")
    node.inputs["Scale"].default_value, node.inputs["Detail"].default_value = 1 / ground["size"], 6.0
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.3, 0.7
    for element, colour in zip(ramp.color_ramp.elements, ground["colours"], strict=True):
        element.color = (*linear(colour), 1)
    tree.links.new(where, node.inputs["Vector"])
    tree.links.new(node.outputs["Fac"], ramp.inputs["Fac"])
    return ramp.outputs["Color"]
