"""Rates and ranges of motion that are not whole: what a file says is what is filmed."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from characters import build_humanoid, write_blend, write_fbx, write_glb

from pose_factory.blender import actions, importers
from pose_factory.sources import files_of


def keys_of_import(path) -> np.ndarray:
    """All key frame numbers in the imported scene."""
    importers.load(path)
    curves = [curve for action in bpy.data.actions for curve in actions.fcurves(action)]
    return np.array([point.co.x for curve in curves for point in curve.keyframe_points])


def write(path, fps: int, base: float, frames: int = 61, **options) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    build_humanoid(frames=frames, fps=fps)
    bpy.context.scene.render.fps_base = base
    if path.suffix == ".fbx":
        write_fbx(path)
    elif options:
        bpy.ops.export_scene.gltf(filepath=str(path), **options)
    else:
        write_glb(path)


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_ntsc_rates_of_fbx_files_put_every_key_on_a_frame(tmp_path, fps):
    write(tmp_path / "ntsc.fbx", fps, 1.001)
    keys = keys_of_import(tmp_path / "ntsc.fbx")
    render = bpy.context.scene.render
    assert render.fps / render.fps_base == pytest.approx(fps / 1.001, rel=1e-4)
    np.testing.assert_allclose(keys, keys.round(), atol=0.01)
    assert np.ptp(keys) == pytest.approx(60, abs=0.01)


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_ntsc_rates_of_gltf_files_put_every_key_on_a_frame(tmp_path, fps):
    write(tmp_path / "ntsc.glb", fps, 1 / 1.001, export_force_sampling=True)  # the exporter multiplies by the base
    keys = keys_of_import(tmp_path / "ntsc.glb")
    render = bpy.context.scene.render
    assert render.fps / render.fps_base == pytest.approx(fps / 1.001, rel=1e-4)
    np.testing.assert_allclose(keys, keys.round(), atol=0.03)
    assert np.ptp(keys) == pytest.approx(60, abs=0.05)


def test_few_uneven_keys_of_gltf_files_do_not_make_a_slow_rate(tmp_path):
    write(tmp_path / "few.glb", 37, 1.0, frames=94)
    keys = keys_of_import(tmp_path / "few.glb")
    assert 24 <= bpy.context.scene.render.fps / bpy.context.scene.render.fps_base <= 120
    assert np.ptp(keys) < 400


@pytest.mark.parametrize("fps", [30, 60])
def test_whole_rates_stay_whole(tmp_path, fps):
    for name in ("whole.fbx", "whole.glb"):
        write(tmp_path / name, fps, 1.0)
        keys = keys_of_import(tmp_path / name)
        assert (bpy.context.scene.render.fps, bpy.context.scene.render.fps_base) == (fps, 1.0)
        np.testing.assert_allclose(keys, keys.round(), atol=1e-3)


@pytest.mark.parametrize("writer, name", [(write_fbx, "a.fbx"), (write_glb, "a.glb"), (write_blend, "a.blend")])
def test_a_path_may_be_relative(tmp_path, monkeypatch, writer, name):
    """As those of files that are fetched into the results."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    build_humanoid(frames=3)
    writer(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(keys_of_import(Path(name)))


def test_a_gltf_file_comes_with_the_files_that_it_names(tmp_path):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    build_humanoid(frames=3)
    path = tmp_path / "a doll.gltf"
    bpy.ops.export_scene.gltf(filepath=str(path), export_format="GLTF_SEPARATE")
    assert files_of(path) == [str(path), str(tmp_path / "a doll.bin")]
    assert files_of(tmp_path / "missing.fbx") == []
    path.write_text("{not json")
    assert files_of(path) == [str(path)]
