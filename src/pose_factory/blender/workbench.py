"""What Workbench shows: it knows no lights and no shader nodes, but a picture that is laid on a mesh."""

import math
from collections.abc import Iterable

import bpy
import numpy as np

from pose_factory.blender.backgrounds import HORIZON
from pose_factory.errors import PoseFactoryError

NAME = "Workbench colours"
WIDTH, LEAST = 2048, 4
"""Pixels of the picture, in which every face has a square of its own, and of a square, for which it may be wider.
Between two corners of a face of an Anny body lie 8 of them; half of its faces' sides are shorter than 7 mm."""
FREE = 1.5
"""Pixels around a face in its square, for what is painted over its edges."""
GREY = (0.5, 0.5, 0.5, 1.0)
"""What the picture is before it is painted."""
SHADERS = ("BSDF_PRINCIPLED", "BSDF_GLOSSY", "BSDF_METALLIC", "BSDF_GLASS", "SUBSURFACE_SCATTERING", "EMISSION")
"""Nodes whose first input is the colour of a surface that is to look matt."""


def configure(scene: bpy.types.Scene) -> None:
    """Let Workbench show the meshes that were painted as they are, and others in the viewport colours of their
    materials, before a light backdrop; the light comes along with the camera."""
    shading = scene.display.shading
    shading.light, shading.studio_light, shading.color_type = "STUDIO", "paint.sl", "TEXTURE"
    shading.show_cavity, shading.show_shadows, shading.shadow_intensity = True, True, 0.3
    scene.world.color = HORIZON


def paint(objects: Iterable[bpy.types.Object]) -> None:
    """Lay a picture on the mesh objects, of the colours that nodes, textures and patterns of their materials give.

    Cycles paints it, on the CPU. What shines, mirrors or lets light through becomes matt: from here on the scene is
    for Workbench alone. Raises PoseFactoryError where Blender cannot paint it.
    """
    painted = list({o.data: o for o in objects if len(o.data.polygons)}.values())
    if not painted:
        return
    for o in painted:
        _complete_materials(o)
    materials = {slot.material.name: slot.material for o in painted for slot in o.material_slots}.values()
    for tree in [*(material.node_tree for material in materials), *bpy.data.node_groups]:
        _make_matt(tree)
    image = _lay([o.data for o in painted])
    for material in materials:
        node = material.node_tree.nodes.new("ShaderNodeTexImage")
        node.image, node.interpolation = image, "Closest"  # smoothed, faces would mix with what is beside their squares
        material.node_tree.nodes.active = node
    depsgraph = bpy.context.evaluated_depsgraph_get()
    # What modifiers make anew, as geometry nodes may, has no place in the picture: it stays grey.
    if kept := [o for o in painted if NAME in o.evaluated_get(depsgraph).data.uv_layers]:
        _bake(kept)
    for o in painted:
        for name in [layer.name for layer in o.data.uv_layers if layer.name != NAME]:
            o.data.uv_layers.remove(o.data.uv_layers[name])


def _complete_materials(o: bpy.types.Object) -> None:
    """Give each face of an object a material with nodes, that looks as it did."""
    if not o.material_slots:
        o.data.materials.append(None)
    for slot in o.material_slots:
        if not slot.material or not slot.material.use_nodes:
            plain, old = bpy.data.materials.new(NAME), slot.material
            plain.use_nodes = True
            if old:
                plain.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = old.diffuse_color
            slot.material = plain


def _make_matt(tree: bpy.types.NodeTree) -> None:
    """Put in the place of each of SHADERS one that scatters light evenly, for only that one's colour is painted."""
    for node in [node for node in tree.nodes if node.type in SHADERS]:
        matt, colour = tree.nodes.new("ShaderNodeBsdfDiffuse"), node.inputs[0]
        matt.inputs["Color"].default_value = colour.default_value
        for link in list(colour.links):
            tree.links.new(link.from_socket, matt.inputs["Color"])
        for link in list(node.outputs[0].links):
            tree.links.new(matt.outputs[0], link.to_socket)


def _lay(meshes: list[bpy.types.Mesh]) -> bpy.types.Image:
    """An empty picture, and in it a place for every face of the meshes: its corners on a circle in its square."""
    across = math.ceil(math.sqrt(sum(len(mesh.polygons) for mesh in meshes)))
    square = max(WIDTH // across, LEAST)
    first = 0
    for mesh in meshes:
        starts, corners = np.empty(len(mesh.polygons), np.int32), np.empty(len(mesh.polygons), np.int32)
        mesh.polygons.foreach_get("loop_start", starts)
        mesh.polygons.foreach_get("loop_total", corners)
        face = np.repeat(np.arange(len(corners)), corners)
        turns = 2 * np.pi * (np.arange(len(face)) - starts[face]) / corners[face]
        middles = np.stack(np.divmod(face + first, across), axis=1) + 0.5
        places = middles + (0.5 - FREE / square) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        layer = mesh.attributes.new(NAME, "FLOAT2", "CORNER")  # as uv_layers.new, which makes eight at most
        layer.data.foreach_set("vector", (places / across).astype(np.float32).ravel())
        first += len(corners)
    image = bpy.data.images.new(NAME, across * square, across * square)
    image.generated_color = GREY
    return image


def _bake(objects: list[bpy.types.Object]) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising = "CPU", 1, False
    chosen = {"active_object": objects[0], "object": objects[0], "selected_objects": objects}
    try:
        with bpy.context.temp_override(**chosen):
            bpy.ops.object.bake(
                type="DIFFUSE", pass_filter={"COLOR"}, uv_layer=NAME, use_clear=False, margin=4, margin_type="EXTEND"
            )
    except RuntimeError as error:
        raise PoseFactoryError(f"The colours of the body cannot be painted for Workbench: {error}") from error
