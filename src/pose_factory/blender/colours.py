"""Colours as the config and the records have them, for Blender."""

from mathutils import Color


def linear(colour: str) -> tuple[float, float, float]:
    """Linear RGB of an sRGB colour "#rrggbb"."""
    return tuple(Color(channel / 255 for channel in bytes.fromhex(colour[1:])).from_srgb_to_scene_linear())
