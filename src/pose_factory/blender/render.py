"""Filming one view of the open, prepared scene."""

import hashlib
import re
import time
from pathlib import Path

import bpy
import numpy as np

from pose_factory import frames as frame_files
from pose_factory import noise
from pose_factory.blender import backgrounds, evaluate, occluders, studio, workbench
from pose_factory.blender import scene as scenes
from pose_factory.errors import PoseFactoryError
from pose_factory.files import whole_folder
from pose_factory.variation import OFF

ENGINES = {"cycles": "CYCLES", "eevee": "BLENDER_EEVEE_NEXT", "workbench": "BLENDER_WORKBENCH"}
GPU_BACKENDS = ("OPTIX", "CUDA", "HIP", "METAL")
"""Cycles' GPU backends, best first."""
PNG_END = b"IEND\xaeB`\x82"
TROUBLE = re.compile(
    # Status lines quote the names of objects and files; a GL driver complains of each context it cannot give on the way
    # to one that it can.
    r"^(?!Fra:|Saved: |Read blend: |EGL Error|libEGL|MESA).*"
    r"(?:\berror\b|(?:OPTIX|CUDA|EGL|GL)_ERROR|hipError"
    r"|(?:CUDA|OptiX|HIP|Metal|oneAPI)\b.*\bfailed|\bfailed\b.*\b(?:CUDA|OptiX|HIP|Metal|oneAPI)"
    r"|out of memory|out of GPU|illegal address).*$",
    re.IGNORECASE | re.MULTILINE,
)


def render(
    view: dict,
    bounds: dict,
    frames: list[int],
    settings: dict,
    threads: int,
    folder: Path,
    log: Path,
    variation: dict = OFF,
    background: Path | None = None,
) -> dict:
    """Render `frames` of the open scene through the camera `view` into PNG files in `folder`, on `threads` CPU threads.

    The images appear in `folder` only when all are done. `settings` is the config's `render` section; `log` is the file
    that this process's output goes to, in which an error of Cycles or the GPU, which Blender only prints, is looked
    for; `variation` is what was drawn for the view (`pose_factory.variation.draw`), and `background` the picture that
    it names. Returns what render.json holds. Raises PoseFactoryError for such an error, for an engine or device that is
    not there, or for a background that cannot be read.
    """
    started = time.perf_counter()
    picture = backgrounds.read(background, view["width"], view["height"]) if background else None
    bpy.context.scene.render.threads_mode, bpy.context.scene.render.threads = "FIXED", threads
    if settings["engine"] == "workbench":
        workbench.paint(evaluate.character_meshes())
    scenes.add_camera(view)
    occluders.add(view["variation"]["occluders"])
    low, high = np.array(bounds["hull"]).min(axis=0), np.array(bounds["hull"]).max(axis=0)
    studio.build(np.array(bounds["target"]), float(np.linalg.norm(high - low)), variation, picture)
    device = _configure(settings)
    shutter = variation["motion_blur"]["shutter"]
    bpy.context.scene.render.use_motion_blur = shutter > 0
    if shutter:
        bpy.context.scene.render.motion_blur_shutter = shutter
        bpy.context.scene.render.motion_blur_position = "CENTER"  # labels are of the frame's own time
    print(f"Rendering {len(frames)} frames with {settings['engine']} on {device}.", flush=True)
    scene = bpy.context.scene
    # With any of these, Cycles writes into each file how long it took, so that the same picture is never the same file.
    for stamp in ("camera", "date", "filename", "frame", "render_time", "scene", "time"):
        setattr(scene.render, f"use_stamp_{stamp}", False)
    ready = time.perf_counter()
    with whole_folder(folder) as partial:
        for done, frame in enumerate(frames, 1):
            scene.frame_set(frame)
            path = frame_files.image(partial, frame)
            scene.render.filepath = str(path)
            try:
                bpy.ops.render.render(write_still=True)
            except RuntimeError as error:
                raise PoseFactoryError(f"Frame {frame} cannot be rendered: {str(error).strip()}") from error
            if not path.exists() or not path.read_bytes().endswith(PNG_END):  # Blender does not notice a full disk
                raise PoseFactoryError(
                    f"Blender could not write all of frame {frame}: is the disk that holds {folder} full?"
                )
            noise.add(path, frame, **variation["noise"])
            print(f"Frame {frame}: {done} of {len(frames)}.", flush=True)
        _raise_trouble(log)
    return {
        "frames": frames,
        "fps": scene.render.fps / scene.render.fps_base,
        "engine": settings["engine"],
        "device": device,
        "samples": settings["samples"],
        "seed": settings["seed"],
        "variation": _record(variation, background, picture),
        "seconds_setting_up": round(ready - started, 3),
        "seconds_rendering": round(time.perf_counter() - ready, 3),
        "blender": bpy.app.version_string,
    }


def _record(variation: dict, background: Path | None, picture: backgrounds.Picture | None) -> dict:
    """What was drawn and is in the pictures alone (the rest is camera.json's), and what the background's file is."""
    record = {name: drawn for name, drawn in variation.items() if name not in ("camera", "occluders")}
    found = {
        "sha256": hashlib.sha256(background.read_bytes()).hexdigest() if background else None,
        "exposure": picture.exposure if picture else None,
    }
    return {**record, "background": {**record["background"], **found}}


def choose_device(wanted: str, available: list[str]) -> str:
    """The device to render on: "CPU" or one of GPU_BACKENDS.

    `wanted` is the config's "auto" or a backend's name in lower case, `available` the backends with a device.
    Raises PoseFactoryError if a backend is asked for by name and is not there.
    """
    if wanted == "auto":
        return next((backend for backend in GPU_BACKENDS if backend in available), "CPU")
    if wanted != "cpu" and wanted.upper() not in available:
        raise PoseFactoryError(
            f"render.device is {wanted}, but Cycles finds {', '.join(available) or 'no GPU'} here: use auto or cpu."
        )
    return wanted.upper()


def _configure(settings: dict) -> str:
    """Set the scene's engine, device, sampling and output; return the device's name for the log."""
    scene = bpy.context.scene
    try:
        scene.render.engine = ENGINES[settings["engine"]]
    except TypeError as error:
        raise PoseFactoryError(f"This Blender has no engine {settings['engine']}: {error}") from error
    image = scene.render.image_settings
    image.file_format, image.color_mode, image.color_depth, image.compression = "PNG", "RGB", "8", 15
    scene.render.use_file_extension = True
    scene.render.use_persistent_data = True
    scene.render.use_stamp = scene.render.use_compositing = scene.render.use_sequencer = False
    scene.render.film_transparent = False
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look, scene.view_settings.exposure, scene.view_settings.gamma = "None", 0.0, 1.0
    if settings["engine"] == "cycles":
        return _configure_cycles(scene.cycles, settings)
    if settings["engine"] == "eevee":
        scene.eevee.taa_render_samples = settings["samples"]
    else:
        workbench.configure(scene)
    return "OpenGL"


def _configure_cycles(cycles, settings: dict) -> str:
    cycles.samples, cycles.seed = settings["samples"], settings["seed"]
    cycles.use_animated_seed = False
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = settings["denoise"]
    if settings["denoise"]:
        cycles.denoiser, cycles.denoising_quality = "OPENIMAGEDENOISE", "FAST"
        cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB", "NONE"
    # One bounce and no search for the best light: in an open studio more only costs time.
    cycles.max_bounces, cycles.use_light_tree = 1, False
    cycles.caustics_reflective = cycles.caustics_refractive = False
    preferences = bpy.context.preferences.addons["cycles"].preferences
    devices: dict[str, list] = {}
    for backend in GPU_BACKENDS:
        try:
            devices[backend] = [d for d in preferences.get_devices_for_type(backend) if d.type == backend]
        except ValueError:  # this build of Cycles does not have the backend at all
            continue
    device = choose_device(settings["device"], [backend for backend, found in devices.items() if found])
    cycles.device = "CPU" if device == "CPU" else "GPU"
    if device == "CPU":
        return "CPU"
    preferences.compute_device_type = device
    for found in preferences.devices:
        found.use = found.type == device
    return f"{device} ({', '.join(found.name for found in devices[device])})"


def _raise_trouble(log: Path) -> None:
    """Blender prints the renderer's errors and goes on; its images are then wrong or black."""
    if found := TROUBLE.search(log.read_text(errors="replace")):
        raise PoseFactoryError(f"The renderer reported a problem, so its images are not kept: {found[0].strip()}")
