"""Choosing the action that moves a character, and taking frame range and rate from it."""

import math

import bpy
import numpy as np
from mathutils import Matrix

from pose_factory.errors import PoseFactoryError


def fcurves(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    """All animation curves of `action`, over its layers and slots."""
    return [
        curve for layer in action.layers for strip in layer.strips for bag in strip.channelbags for curve in bag.fcurves
    ]


def resample(action: bpy.types.Action, first: int, frames: np.ndarray, closing: np.ndarray, start: int) -> None:
    """Give all curves of `action` a key on every frame from `start` on, and no others: what the curve has `frames` (L,)
    after its frame `first`, mixed by `closing` (L,), 0 to 1, with what it has at `first`."""
    linear = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value
    times = np.arange(start, start + len(frames))
    for curve in [curve for curve in fcurves(action) if not curve.is_empty]:
        values = np.array([curve.evaluate(first + frame) for frame in frames])
        values += closing * (curve.evaluate(first) - values)
        for modifier in list(curve.modifiers):
            curve.modifiers.remove(modifier)
        curve.keyframe_points.clear()
        curve.keyframe_points.add(len(times))
        curve.keyframe_points.foreach_set("co", np.stack([times, values], axis=1).ravel())
        curve.keyframe_points.foreach_set("interpolation", np.full(len(times), linear))
        curve.update()


def apply(armature: bpy.types.Object, wanted: str | None, of_motion: bool = False) -> tuple[str | None, int, int]:
    """Make one action drive `armature`; return its name, or None without animation, and its first and last frame.

    Frames may be negative, where the scene's own range, which is set too, stops at 0.

    The candidates are the actions that key this armature's bones or, where none does, the armature object itself; one
    that another armature has is not among them, as its bones may have the same names. A take of an FBX file is one
    action per object it moves, named `object|take`: those of the other objects (shape keys, props) are put in place
    with the armature's. Raises PoseFactoryError when there are several candidates and `wanted` names none of them, or
    when the action has no key frames; it speaks of a character, or where it is `of_motion`, of the `motion` that the
    config takes from a file.
    """
    candidates = _candidates(armature)
    who, where = ("it", "beside `file` in `motion`") if of_motion else ("the character", "in its entry of the config")
    if not candidates:
        if wanted:
            raise PoseFactoryError(f'There is no action "{wanted}": {who} has no animation; remove `action` {where}.')
        if empty := _empty_action(armature):
            instead = "name another file" if of_motion else "remove it in Blender to film one pose"
            raise PoseFactoryError(f'The action "{empty.name}" has no key frames; give it some, or {instead}.')
        return _apply_unposed(armature)
    chosen = _choose(candidates, wanted, who, where)
    _clear_nla()
    _assign(armature, chosen)
    for owner in _animated_owners(armature):
        companions = [action for action in bpy.data.actions if action.name == f"{owner.name}|{_take(chosen)}"]
        if _slot_for(owner, chosen):
            _assign(owner, chosen)
        elif companions:
            _assign(owner, companions[0])
    return chosen.name, *_set_range([chosen])


def clear() -> None:
    """Take all animation from the scene, and every armature back to its rest pose."""
    _clear_nla()
    for collection in (bpy.data.objects, bpy.data.shape_keys):
        for owner in collection:
            owner.animation_data_clear()
    for armature in (o for o in bpy.data.objects if o.type == "ARMATURE"):
        for bone in armature.pose.bones:
            bone.matrix_basis = Matrix.Identity(4)


def _candidates(armature: bpy.types.Object) -> list[bpy.types.Action]:
    bones = {f'pose.bones["{bpy.utils.escape_identifier(bone.name)}"]' for bone in armature.data.bones}
    posing, moving = [], []
    assigned = armature.animation_data.action if armature.animation_data else None
    others = [o for o in bpy.data.objects if o.type == "ARMATURE" and o != armature]
    foreign = {action for other in others for action in _driving(other)} - _driving(armature)
    for action in [action for action in bpy.data.actions if action not in foreign]:
        curves = [curve for curve in fcurves(action) if len(curve.keyframe_points)]
        if any(curve.data_path.rpartition(".")[0] in bones for curve in curves):
            posing.append(action)
        elif action == assigned and curves:
            moving.append(action)
    return posing or moving


def _driving(armature: bpy.types.Object) -> set[bpy.types.Action]:
    """The actions that `armature` has, at work or as NLA strips."""
    if not (data := armature.animation_data):
        return set()
    return {data.action, *(strip.action for track in data.nla_tracks for strip in track.strips)} - {None}


def _choose(candidates: list[bpy.types.Action], wanted: str | None, who: str, where: str) -> bpy.types.Action:
    if wanted is None and len(candidates) == 1:
        return candidates[0]
    named = [action for action in candidates if wanted in (action.name, _take(action), *action.name.split("|"))]
    if len(named) == 1:
        return named[0]
    names = ", ".join(f'"{_take(action)}"' for action in candidates)
    found = f'has no action "{wanted}"' if wanted else f"has {len(candidates)} actions"
    raise PoseFactoryError(f"{who[0].upper()}{who[1:]} {found}: choose one of {names} with `action` {where}.")


def _take(action: bpy.types.Action) -> str:
    return action.name.partition("|")[2] or action.name


def _empty_action(armature: bpy.types.Object) -> bpy.types.Action | None:
    assigned = armature.animation_data.action if armature.animation_data else None
    return assigned if assigned and not any(len(curve.keyframe_points) for curve in fcurves(assigned)) else None


def _apply_unposed(armature: bpy.types.Object) -> tuple[str | None, int, int]:
    """Nothing keys the armature; shape keys or objects that are animated still set the range."""
    assigned = [owner.animation_data.action for owner in _animated_owners(armature) if owner.animation_data]
    assigned = [action for action in assigned if action and any(len(c.keyframe_points) for c in fcurves(action))]
    if not assigned:
        bpy.context.scene.frame_start = bpy.context.scene.frame_end = 1
        return None, 1, 1
    return assigned[0].name, *_set_range(assigned)


def _animated_owners(armature: bpy.types.Object) -> list[bpy.types.ID]:
    objects = [o for o in bpy.data.objects if o != armature]
    keys = [o.data.shape_keys for o in objects if o.type == "MESH" and o.data.shape_keys]
    return [*objects, *keys]


def _slot_for(owner: bpy.types.ID, action: bpy.types.Action) -> bpy.types.ActionSlot | None:
    for slot in action.slots:
        if slot.target_id_type == owner.id_type and slot.name_display == owner.name:
            return slot
    return None


def _assign(owner: bpy.types.ID, action: bpy.types.Action) -> None:
    data = owner.animation_data or owner.animation_data_create()
    data.action = action
    suitable = [slot for slot in action.slots if slot.target_id_type in (owner.id_type, "UNSPECIFIED")]
    slot = _slot_for(owner, action) or (suitable[0] if suitable else None)
    if slot:
        data.action_slot = slot


def _clear_nla() -> None:
    """Importers leave other takes stacked as NLA strips, which would blend into the chosen one."""
    for collection in (bpy.data.objects, bpy.data.shape_keys):
        for owner in collection:
            if owner.animation_data:
                for track in list(owner.animation_data.nla_tracks):
                    owner.animation_data.nla_tracks.remove(track)


def _set_range(actions: list[bpy.types.Action]) -> tuple[int, int]:
    start = min(action.frame_range[0] for action in actions)
    end = max(action.frame_range[1] for action in actions)
    # Times stored in seconds come back a hair off whole frames; anything else between frames belongs to the motion.
    first = math.floor(start + 0.01)
    last = max(first, math.ceil(end - 0.01))
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = first, last
    return first, last
