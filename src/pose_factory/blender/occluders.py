"""Things before the body: put into the open scene alike for pictures and for labels."""

import math
from itertools import pairwise
from math import cos, sin

import bmesh
import bpy
from mathutils import Matrix

from pose_factory.blender.colours import linear

NAME = "Occluder"


def add(occluders: list[dict]) -> list[bpy.types.Object]:
    """Put the occluders of camera.json (`variation.occluders`) into the scene, as "Occluder 0" and so on."""
    objects = []
    for index, occluder in enumerate(occluders):
        name = f"{NAME} {index}"
        o = bpy.data.objects.new(name, _mesh(name, occluder["shape"]))
        o.data.materials.append(_material(name, occluder["colour"]))
        o.matrix_world = Matrix(occluder["matrix"])
        bpy.context.scene.collection.objects.link(o)
        objects.append(o)
    bpy.context.view_layer.update()
    return objects


def _mesh(name: str, shape: str) -> bpy.types.Mesh:
    """A shape 1 m long, wide and high about the origin."""
    made = bmesh.new()
    if shape == "box":
        bmesh.ops.create_cube(made, size=1)
    elif shape == "cylinder":
        bmesh.ops.create_cone(made, cap_ends=True, segments=48, radius1=0.5, radius2=0.5, depth=1)
    else:
        _sphere(made, around=48, rings=24)
    for face in made.faces:
        face.smooth = shape == "sphere" or len(face.verts) == 4 and shape == "cylinder"
    mesh = bpy.data.meshes.new(name)
    made.to_mesh(mesh)
    made.free()
    if shape == "cylinder":
        mesh.set_sharp_from_angle(angle=math.radians(30))
    return mesh


def _sphere(made: bmesh.types.BMesh, around: int, rings: int) -> None:
    """As bmesh.ops.create_uvsphere, whose faces come in another order in every process, and normals, and so pictures,
    with another last bit."""
    turns = [2 * math.pi * step / around for step in range(around)]
    tilts = [math.pi * step / rings for step in range(1, rings)]
    belts = [
        [made.verts.new((sin(tilt) * cos(turn) / 2, sin(tilt) * sin(turn) / 2, cos(tilt) / 2)) for turn in turns]
        for tilt in tilts
    ]
    top, bottom = (made.verts.new((0, 0, height)) for height in (0.5, -0.5))
    for left in range(around):
        right = (left + 1) % around
        made.faces.new((top, belts[0][left], belts[0][right]))
        made.faces.new((bottom, belts[-1][right], belts[-1][left]))
        for upper, lower in pairwise(belts):
            made.faces.new((upper[left], lower[left], lower[right], upper[right]))


def _material(name: str, colour: str) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.diffuse_color = (*linear(colour), 1)
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value, shader.inputs["Roughness"].default_value = (*linear(colour), 1), 0.6
    return material
