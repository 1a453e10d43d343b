"""Making any rigged character look the same to the rest of the workflow: metres, Z up, facing -Y, feet on the floor."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

from pose_factory import rigs
from pose_factory.blender import actions, evaluate, importers, motion_files
from pose_factory.blender import scene as scenes
from pose_factory.errors import PoseFactoryError
from pose_factory.skeleton import JOINTS
from pose_factory.sources import motion_of

HEIGHTS = (0.3, 3.0)
"""Metres: a human outside this range was imported at the wrong scale."""
FAR = 100.0
"""Metres from the origin beyond which a character is brought back: single-precision positions grow coarse there."""
ROOT = "PoseFactoryRoot"


@dataclass
class Character:
    """A character in the scene: its rig and the meshes that move with it."""

    armature: bpy.types.Object
    meshes: list[bpy.types.Object]
    warnings: list[str]


def prepare(source: dict, destination: Path) -> dict:
    """Import the character that the config's `source` describes, normalise it and save it as `destination` (.blend).

    The scale hierarchy stays as it is below one root empty, whose transform makes the world metric: applying scale to
    an animated armature would have to rewrite its action, constraints and shape keys. Returns what character.json
    holds. Raises PoseFactoryError for anything that cannot be filmed.
    """
    path = Path(source["file"]) if source.get("file") else None
    taken = motion_of(source)
    motion_path = Path(taken["file"]) if taken else None
    motion_digest = hashlib.sha256(motion_path.read_bytes()).hexdigest() if motion_path else None
    recording = motion_files.read(motion_path, taken.get("action")) if path and motion_path else None
    if path:
        importers.load(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    else:
        from pose_factory.blender import anny_character  # loads torch, which files do not need

        bpy.ops.wm.read_factory_settings(use_empty=True)
        anny_character.build(source["anny"])
        # The same, wherever the motion's file lies.
        described = source["anny"] | ({"motion": {**taken, "file": motion_digest}} if taken else {})
        digest = hashlib.sha256(repr(described).encode()).hexdigest()
    character = _find_character()
    own_tails = path is None or path.suffix.lower() == ".blend"
    rig = rigs.detect([bone.name for bone in character.armature.data.bones], tails_trusted=own_tails)
    joints = {name: {"bone": bone, "end": end} for name, (bone, end) in rig.joints.items()}
    for mesh in character.meshes:
        joints |= evaluate.landmarks(mesh)
    if recording:
        actions.clear()
        action, first, last = motion_path.stem, 1, len(recording)
    else:
        action, first, last = actions.apply(character.armature, source.get("action"))
    _film_what_is_seen(character)
    scene = bpy.context.scene
    scene.frame_set(first)
    height, found = _stand(character, joints, source.get("scale", 1.0), source.get("yaw", 0.0))
    if recording:
        motion_files.put_on(character.armature, character.meshes, source.get("yaw", 0.0), recording, action)
    _replace_missing_textures(character)
    _put_on_floor(character, range(first, last + 1))
    scenes.save(destination)
    person = {
        "name": source.get("name", ""),
        "rig": rig.rig,
        "armature": character.armature.name,
        "joints": {name: joints[name] for name in JOINTS if name in joints},
        "not_annotated": [name for name in JOINTS if name not in joints],
        "action": action,
        "height": round(height, 4),
        "scale_found": found,
        "meshes": [mesh.name for mesh in character.meshes],
        "vertices": sum(len(mesh.data.vertices) for mesh in character.meshes),
        "source_sha256": digest,
        "motion_file": motion_path.name if motion_path else None,
        "motion_sha256": motion_digest,
        "warnings": character.warnings,
    }
    return {
        "people": [person],
        "fps": scene.render.fps / scene.render.fps_base,
        "first_frame": first,
        "last_frame": last,
        "units": "metres, Z up, facing -Y, lowest point of the motion on z = 0",
    }


def _find_character() -> Character:
    """The rig with the most vertices on it, and every rendered mesh that hangs on any rig; all else leaves the
    scene."""
    rendered = {o.name for o in bpy.context.view_layer.objects if not o.hide_render}
    rendered -= {o.name for c in bpy.data.collections if c.hide_render for o in c.all_objects}
    objects = list(bpy.context.scene.objects)
    rigs_found = [o for o in objects if o.type == "ARMATURE"]
    if not any(o.type == "MESH" for o in objects):
        raise PoseFactoryError(
            "The file holds no mesh, so there is nothing to film: export the character with its skin."
        )
    if not rigs_found:
        raise PoseFactoryError(
            "The file holds no armature, so there are no joints to label: export the rigged character."
        )
    owner = {o: _rig_of(o, set()) for o in objects if o.type == "MESH" and o.name in rendered}
    owner = {mesh: rig for mesh, rig in owner.items() if rig and len(mesh.data.vertices)}
    if not owner:
        raise PoseFactoryError("No mesh in the file is attached to its armature: skin or parent the body to it.")
    armature = max(
        rigs_found, key=lambda rig: sum(len(mesh.data.vertices) for mesh, its_rig in owner.items() if its_rig == rig)
    )
    warnings = []
    if len(rigs_found) > 1:
        warnings.append(
            f'{len(rigs_found)} armatures: joints are those of "{armature.name}", which carries most vertices'
        )
    for o in objects:
        if o.type in ("LIGHT", "CAMERA", "SPEAKER", "LIGHT_PROBE"):
            bpy.data.objects.remove(o)
        elif o.type not in ("ARMATURE", "EMPTY") and o not in owner:
            if o.name in rendered:
                warnings.append(f'"{o.name}" ({o.type.lower()}) is not a mesh attached to an armature and is left out')
            o.hide_render = o.hide_viewport = True
    for rig in rigs_found:
        rig.data.pose_position = "POSE"
    for warning in warnings:
        print(f"Warning: {warning}")
    return Character(armature, sorted(owner, key=lambda o: o.name), warnings)


def _rig_of(o: bpy.types.Object, seen: set) -> bpy.types.Object | None:
    """The armature that moves `o`: by modifier, by constraint, or as a parent however far up."""
    if o is None or o in seen:
        return None
    if o.type == "ARMATURE":
        return o
    seen.add(o)
    movers = [
        m.object
        for m in o.modifiers
        if m.type in ("ARMATURE", "SURFACE_DEFORM", "MESH_DEFORM") and hasattr(m, "object")
    ]
    movers += [m.target for m in o.modifiers if m.type == "SURFACE_DEFORM"]
    movers += [c.target for c in o.constraints if hasattr(c, "target")]
    return next((rig for mover in [*movers, o.parent] if (rig := _rig_of(mover, seen))), None)


def _film_what_is_seen(character: Character) -> None:
    """Make the viewport's evaluation, which everything is measured on, the same as the render's."""
    for collection in bpy.data.collections:
        if not collection.hide_render:
            collection.hide_viewport = False
    layers = [bpy.context.view_layer.layer_collection]
    while layers:
        layer = layers.pop()
        layer.hide_viewport = False  # a closed eye, through which rays would pass
        layers += layer.children
    for mesh in character.meshes:
        mesh.hide_viewport = False
        mesh.hide_set(False)
        for modifier in mesh.modifiers:
            modifier.show_viewport = modifier.show_render
            if modifier.type in ("SUBSURF", "MULTIRES"):
                modifier.levels = modifier.render_levels
    bpy.context.scene.render.use_simplify = False


def _stand(character: Character, joints: dict, scale: float, yaw: float) -> tuple[float, float]:
    """Parent everything to one root that turns and scales the world; return the standing height and the scale found."""
    scene, armature = bpy.context.scene, character.armature
    root = bpy.data.objects.new(ROOT, None)
    scene.collection.objects.link(root)
    for o in list(scene.objects):
        if o.parent is None and o != root:
            o.parent = root
    rest = _rest_joints(armature, joints)
    up = _nearest_axis(rest["neck"] - (rest["left_ankle"] + rest["right_ankle"]) / 2)
    if up != Vector((0, 0, 1)):
        _warn(character, f"the character lay along {tuple(map(int, up))} and was stood up")
    upright = up.rotation_difference(Vector((0, 0, 1))).to_matrix()
    across = upright @ (rest["left_hip"] - rest["right_hip"] + rest["left_shoulder"] - rest["right_shoulder"])
    facing = across.cross(Vector((0, 0, 1)))
    turn = -math.pi / 2 - math.atan2(facing.y, facing.x)
    turn = math.remainder(turn, 2 * math.pi)
    if abs(turn) < math.radians(1):  # a rig that is not quite symmetric, not one that faces elsewhere
        turn = 0.0
    else:
        _warn(character, f"the character was turned by {math.degrees(turn):.0f} degrees to face -Y")
    rotation = Matrix.Rotation(turn + math.radians(yaw), 3, "Z") @ upright
    root.matrix_world = (rotation * scale).to_4x4()
    found = float(np.mean(armature.matrix_world.to_scale()))
    height = _rest_height(character)
    if not 0 < height < math.inf:
        raise PoseFactoryError(f"The character's meshes are {height:g} m high: give them a body with a height.")
    if not HEIGHTS[0] <= height <= HEIGHTS[1]:
        raise PoseFactoryError(
            f"The character stands {height:.4g} m high (armature scale found: {found:.4g}), which no human does: "
            f"set `scale: {scale * _mending_factor(height):g}` in its entry of the config."
        )
    return height, found


def _mending_factor(height: float) -> float:
    """What scales `height` to a human's: a power of ten, as a wrong unit asks for, or else what makes it 1.7 m."""
    factor = 10.0 ** round(math.log10(1.7 / height))
    return factor if HEIGHTS[0] <= height * factor <= HEIGHTS[1] else float(f"{1.7 / height:.2g}")


def _rest_joints(armature: bpy.types.Object, joints: dict) -> dict[str, Vector]:
    bones = armature.data.bones
    return {
        name: armature.matrix_world
        @ (bones[at["bone"]].head_local if at["end"] == "head" else bones[at["bone"]].tail_local)
        for name, at in joints.items()
        if "bone" in at
    }


def _nearest_axis(direction: Vector) -> Vector:
    axis = max(range(3), key=lambda i: abs(direction[i]))
    return Vector([math.copysign(1, direction[i]) if i == axis else 0 for i in range(3)])


def _rest_height(character: Character) -> float:
    """Height of the meshes in the rest pose, metres: a pose may lie or crouch, a rest pose stands."""
    character.armature.data.pose_position = "REST"
    bpy.context.view_layer.update()
    z = evaluate.vertices(character.meshes)[:, 2]
    character.armature.data.pose_position = "POSE"
    bpy.context.view_layer.update()
    return float(z.max() - z.min())


def _put_on_floor(character: Character, frames: range) -> None:
    """Move the root so that the lowest point of the whole motion touches z = 0, and the first frame is not far out."""
    root = bpy.data.objects[ROOT]
    bpy.context.scene.frame_set(frames[0])
    vertices = evaluate.vertices(character.meshes)
    x, y = ((vertices.min(axis=0) + vertices.max(axis=0)) / 2)[:2]
    if math.hypot(x, y) > FAR:
        root.location.x, root.location.y = root.location.x - x, root.location.y - y
        _warn(character, f"the character stood {math.hypot(x, y):.0f} m from the origin and was brought to it")
    root.location.z -= min(evaluate.vertices(character.meshes)[:, 2].min() for _ in evaluate.each_frame(frames))
    bpy.context.scene.frame_set(frames[0])


def _replace_missing_textures(character: Character) -> None:
    """Pack what is there; where an image is missing, use the plain colour instead of Blender's pink, and say so."""
    missing = []
    for image in bpy.data.images:
        if image.source in ("FILE", "TILED") and not image.packed_file:
            try:
                image.pack()
            except RuntimeError:
                missing.append(image)
    for image in missing:
        _warn(character, f'texture "{image.filepath or image.name}" is missing: its surfaces are plain grey')
    trees = [material.node_tree for material in bpy.data.materials if material.use_nodes and material.node_tree]
    for tree in [*trees, *bpy.data.node_groups]:
        for node in [node for node in tree.nodes if node.type == "TEX_IMAGE" and node.image in missing]:
            _unplug(tree, node)


def _unplug(tree: bpy.types.NodeTree, node: bpy.types.Node) -> None:
    """Remove an image's `node`: what it coloured is grey, and opaque; other sockets keep the value of their own."""
    for link in [link for output in node.outputs for link in output.links]:
        socket = link.to_socket
        value = 1.0 if link.from_socket.name == "Alpha" else 0.5
        if socket.name == "Base Color" or socket.node.type == "GROUP_OUTPUT":
            if socket.type == "RGBA":
                socket.default_value = (value, value, value, 1)
            elif socket.type == "VALUE":
                socket.default_value = value
        tree.links.remove(link)
    tree.nodes.remove(node)


def _warn(character: Character, warning: str) -> None:
    character.warnings.append(warning)
    print(f"Warning: {warning}")
