"""Things before the body: put into the open scene alike for pictures and for labels."""

import math

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
        bmesh.ops.create_uvsphere(made, u_segments=48, v_segments=24, radius=0.5)
    for face in made.faces:
        face.smooth = shape == "sphere" or len(face.verts) == 4 and shape == "cylinder"
    mesh = bpy.data.meshes.new(name)
    made.to_mesh(mesh)
    made.free()
    if shape == "cylinder":
        mesh.set_sharp_from_angle(angle=math.radians(30))
    return mesh


def _material(name: str, colour: str) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.diffuse_color = (*linear(colour), 1)
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value, shader.inputs["Roughness"].default_value = (*linear(colour), 1), 0.6
    return material
