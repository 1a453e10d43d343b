"""What is seen behind the body: colours of the world in every direction, as shader nodes."""

import math
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from pose_factory.blender.colours import linear
from pose_factory.errors import PoseFactoryError
from pose_factory.geometry import sun
from pose_factory.pictures import cover
from pose_factory.variation import is_panorama

HORIZON, ZENITH = (0.78, 0.79, 0.80), (0.42, 0.45, 0.50)
"""Linear RGB of the gradient at the camera's height and above it."""
SKY = 0.12
"""What makes Blender's sky, whose mean luminance is 2.4 to 3.8 from sunrise to noon, as bright as the studio's ambient
light."""
PANORAMA = 0.5
"""Mean luminance that panoramas are brought to, for theirs may be anything."""
LEAST_HEIGHT = 0.015
"""Of directions in the sky, as a sine: Blender's is dark below the horizon, here haze goes on."""


@dataclass(frozen=True)
class Picture:
    """One of the user's files: a plain image that fills the frame, or a panorama (`exposure` is the factor that brings
    it to PANORAMA)."""

    image: bpy.types.Image
    exposure: float = 1.0


def read(file: Path, width: int, height: int) -> Picture:
    """Read a background for frames of this size, pixels. Raises PoseFactoryError where it is no whole picture."""
    if is_panorama(file.name):
        return _read_panorama(file)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = cover(file, width, height)[::-1] / np.float32(255)  # Blender's rows start below
    image = bpy.data.images.new("Background", width, height)
    image.pixels.foreach_set(pixels.ravel())
    return Picture(image)


def _read_panorama(file: Path) -> Picture:
    broken = PoseFactoryError(f"The background {file} cannot be read (damaged or cut short?): replace or delete it.")
    try:
        image = bpy.data.images.load(str(file))
    except RuntimeError as error:
        raise broken from error
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    if not pixels.size:
        raise broken
    image.pixels.foreach_get(pixels)
    luminance = pixels.reshape(height, width, 4)[..., :3] @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    weights = np.cos((np.arange(height) + 0.5) / height * np.pi - np.pi / 2)  # rows near the poles are small
    mean = float(np.average(luminance.mean(axis=1, dtype=np.float64), weights=weights))
    if not pixels.reshape(-1, 4)[:, :3].any():
        raise PoseFactoryError(f"The background {file} is black all over, so it lights nothing: replace or delete it.")
    if not math.isfinite(mean) or mean <= 0:
        raise broken
    return Picture(image, PANORAMA / mean)


def behind(tree: bpy.types.NodeTree, variation: dict, picture: Picture | None) -> tuple[bpy.types.NodeSocket, float]:
    """The colour in the direction of a camera's ray, and its strength."""
    light, background = variation["light"], variation["background"]
    match background["kind"]:
        case "gradient":
            return _gradient(tree), 1.0
        case "plain":
            return _plain(tree, background), 1.0
        case "texture":
            return _texture(tree, background), 1.0
        case "sky":
            return sky(tree, light, above_horizon=True), SKY * light["strength"]
        case "images" if light["kind"] == "panorama":
            return panorama(tree, light, picture), picture.exposure * light["strength"]
        case "images":
            return _image(tree, picture), 1.0


def sky(tree: bpy.types.NodeTree, light: dict, above_horizon: bool = False) -> bpy.types.NodeSocket:
    """Blender's sky at the light's hour, without the sun's disc."""
    elevation, azimuth = sun.position(light["hour"])
    node, where = tree.nodes.new("ShaderNodeTexSky"), tree.nodes.new("ShaderNodeTexCoord")
    node.sky_type, node.sun_disc = "NISHITA", False
    node.sun_elevation = math.radians(elevation)
    node.sun_rotation = math.radians(180 - azimuth - light["turn"])  # clockwise from +Y
    direction = where.outputs["Generated"]
    if above_horizon:
        raised, unit = tree.nodes.new("ShaderNodeVectorMath"), tree.nodes.new("ShaderNodeVectorMath")
        raised.operation, unit.operation = "MAXIMUM", "NORMALIZE"
        raised.inputs[1].default_value = (-1, -1, LEAST_HEIGHT)
        tree.links.new(direction, raised.inputs[0])
        tree.links.new(raised.outputs["Vector"], unit.inputs[0])
        direction = unit.outputs["Vector"]
    tree.links.new(direction, node.inputs["Vector"])
    return node.outputs["Color"]


def panorama(tree: bpy.types.NodeTree, light: dict, picture: Picture) -> bpy.types.NodeSocket:
    """An equirectangular image, turned about the vertical as the light is."""
    node, where, turn = (tree.nodes.new(f"ShaderNode{kind}") for kind in ("TexEnvironment", "TexCoord", "Mapping"))
    node.image = picture.image
    turn.inputs["Rotation"].default_value = (0, 0, math.radians(-light["turn"]))
    tree.links.new(where.outputs["Generated"], turn.inputs["Vector"])
    tree.links.new(turn.outputs["Vector"], node.inputs["Vector"])
    return node.outputs["Color"]


def _gradient(tree: bpy.types.NodeTree) -> bpy.types.NodeSocket:
    """Light at the camera's height, darker above it."""
    ramp, height, where = (tree.nodes.new(f"ShaderNode{kind}") for kind in ("ValToRGB", "SeparateXYZ", "TexCoord"))
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = (*HORIZON, 1), (*ZENITH, 1)
    ramp.color_ramp.elements[1].position = 0.35
    tree.links.new(where.outputs["Generated"], height.inputs["Vector"])
    tree.links.new(height.outputs["Z"], ramp.inputs["Fac"])
    return ramp.outputs["Color"]


def _plain(tree: bpy.types.NodeTree, background: dict) -> bpy.types.NodeSocket:
    node = tree.nodes.new("ShaderNodeRGB")
    node.outputs["Color"].default_value = (*linear(background["colours"][0]), 1)
    return node.outputs["Color"]


def _texture(tree: bpy.types.NodeTree, background: dict) -> bpy.types.NodeSocket:
    """A pattern of two colours on the sphere of directions, where 1 is 57 degrees."""
    kind, output = {
        "clouds": ("TexNoise", "Fac"),
        "cells": ("TexVoronoi", "Distance"),
        "stripes": ("TexWave", "Fac"),
        "swirls": ("TexMagic", "Fac"),
    }[background["pattern"]]
    node, where, ramp = (tree.nodes.new(f"ShaderNode{name}") for name in (kind, "TexCoord", "ValToRGB"))
    node.inputs["Scale"].default_value = background["scale"]
    for element, colour in zip(ramp.color_ramp.elements, background["colours"], strict=True):
        element.color = (*linear(colour), 1)
    if background["pattern"] == "clouds":  # whose values keep to the middle
        ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.35, 0.65
    tree.links.new(where.outputs["Generated"], node.inputs["Vector"])
    tree.links.new(node.outputs[output], ramp.inputs["Fac"])
    return ramp.outputs["Color"]


def _image(tree: bpy.types.NodeTree, picture: Picture) -> bpy.types.NodeSocket:
    """An image of the frame's own size, which faces the camera."""
    node, where = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeTexCoord")
    node.image, node.extension = picture.image, "EXTEND"
    tree.links.new(where.outputs["Window"], node.inputs["Vector"])
    return node.outputs["Color"]
