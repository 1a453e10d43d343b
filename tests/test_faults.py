"""Faults, injected for real: each is told in one sentence, stops nothing else, and the next run goes on from there."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from characters import make

from pose_factory.blender import render, scene
from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_json
from workflow import Workflow

SMALL = {
    "cameras": {"resolution": [64, 64], "angles": {"front": 0}},
    "render": {"samples": 1, "denoise": False, "frames": "first"},
}
BROKEN = {
    "cut": ("truncated.fbx", r"/cut/truncated.fbx cannot be read as .fbx (damaged or cut short?)"),
    "nothing": ("empty.glb", "/nothing/empty.glb is empty (0 bytes): copy or download it again."),
    "boneless": ("no_armature.fbx", "The file holds no armature, so there are no joints to label"),
    "ghost": ("no_mesh.fbx", "The file holds no mesh, so there is nothing to film"),
    "statue": ("empty_action.blend", 'The action "Empty" has no key frames'),
}
STOPPED = "its process was interrupted, killed (out of memory?) or crashed; run again to go on."


def last_line(workflow: Workflow, log: str) -> str:
    return (workflow.root / "results" / log).read_text().splitlines()[-1]


# Bad characters beside a good one


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A run over one sound character and all broken ones: the workflow, and how it ended."""
    folder = tmp_path_factory.mktemp("beside")
    characters = {"good": make(folder / "good", "plain.glb")}
    characters |= {name: make(folder / name, file) for name, (file, _) in BROKEN.items()}
    config = {"characters": {name: {"file": str(path)} for name, path in characters.items()}, **SMALL}
    workflow = Workflow.new(folder / "repository", config)
    return workflow, workflow.run("--cores", "2")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_character_is_told_in_one_sentence_on_the_console_and_in_its_log(beside, name):
    workflow, run = beside
    (told,) = [sentence for sentence in run.sentences if sentence.startswith(f"prepare {name}: ")]
    assert BROKEN[name][1] in told
    assert last_line(workflow, f"{name}/logs/prepare.log") == f"Error: {told}"
    assert "Traceback" not in run.console
    assert not workflow.results(f"{name}/character*") and not workflow.results(f"{name}/.*")


def test_the_good_character_is_finished_beside_them_and_the_run_counts_as_failed(beside):
    workflow, run = beside
    assert run.status != 0
    assert len(run.sentences) == len(BROKEN)
    expected = ["character.blend", "rig_bias.json", "ground_truth_check.json"]
    expected += ["front/frames/0001.png", "front/validation.json", "front/overlay.mp4"]
    assert {f"good/{name}" for name in expected} <= set(workflow.results("good/**/*"))
    assert workflow.results("review/good.png")


def test_the_next_run_goes_on_with_what_is_mended(beside, tmp_path):
    original, _ = beside
    workflow = original.copy(tmp_path / "copy")
    assert not {job for job in workflow.plan() if "good" in job.split()}
    path = Path(workflow.config["characters"]["cut"]["file"])
    damaged = path.read_bytes()
    try:
        shutil.copy(make(tmp_path, "plain.fbx"), path)
        run = workflow.run("--cores", "2", "results/cut/character.json", "results/ghost/character.json")
    finally:
        path.write_bytes(damaged)
    assert run.status != 0
    assert [sentence.split(":")[0] for sentence in run.sentences] == ["prepare ghost"]
    assert workflow.results("cut/character.json") and not workflow.results("ghost/character.*")


# Settings and folders that cannot be


def check_refused(run, sentence: str) -> None:
    assert run.status != 0 and not run.started
    assert run.sentences == [f"Config: {sentence}"]
    assert "Traceback" not in run.console


def test_a_picture_of_one_pixel_is_refused(fresh):
    fresh.change("cameras.resolution", [1, 1])
    check_refused(
        fresh.run("--cores", "2"),
        "cameras.resolution[0] is 1, but must be at least 16 and at most 16384 (pixels) (and 1 more problem).",
    )


def test_a_results_folder_below_a_file_is_refused(fresh, tmp_path):
    (tmp_path / "file").touch()
    fresh.change("results", str(tmp_path / "file" / "results"))
    folder = tmp_path / "file"
    check_refused(
        fresh.run("--cores", "2"),
        f"results is {folder}/results, but {folder} is not a folder you can write to; name another.",
    )


def test_a_read_only_results_folder_is_refused(fresh, disk):
    folder = disk(100, "ro")
    fresh.change("results", str(folder / "results"))
    check_refused(
        fresh.run("--cores", "2"),
        f"results is {folder}/results, but {folder} is not a folder you can write to; name another.",
    )


def test_a_full_disk_is_told_and_after_making_room_the_run_goes_on(fresh, disk):
    results = disk(60) / "results"
    fresh.change("results", str(results))

    def make_(target: str):
        return fresh.run("--cores", "2", f"{results}/doll/{target}")

    run = make_("character.json")
    assert run.status != 0
    assert [s for s in run.sentences if s.startswith("prepare doll: ") and ("full?" in s or "No space left" in s)]
    assert not (results / "doll" / "character.blend").exists()

    disk(2000)
    assert make_("front/camera.json").status == 0
    filling = results / "filling"
    with pytest.raises(OSError, match="No space left"):
        filling.write_bytes(bytes(4 * 2**20))
    os.truncate(filling, filling.stat().st_size - 24 * 1024)  # the log fits, and part of a picture
    run = make_("front/render.json")
    assert run.status != 0 and len(run.sentences) == 1
    assert run.sentences[0].startswith("render doll front: ")
    assert "full?" in run.sentences[0] or "No space left" in run.sentences[0]
    assert not (results / "doll/front/frames").exists() and not (results / "doll/front/render.json").exists()

    filling.unlink()
    assert make_("front/render.json").status == 0
    assert len(list((results / "doll/front/frames").glob("*.png"))) == 2


def test_a_character_that_cannot_be_written_whole_is_not_kept(fresh):
    """Blender says `Saved` of a file that it could only write a part of."""
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({64 * 1024}, {resource.RLIM_INFINITY}))
sys.path[:0] = [{str(fresh.root / "src")!r}]
from pose_factory.blender.prepare import prepare
from pose_factory.files import atomic
with atomic("doll.blend") as blend:
    prepare({{"file": {fresh.config["characters"]["doll"]["file"]!r}}}, blend)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=fresh.root, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert re.search(r"Blender could not write all of .*: is its disk full\?", done.stderr)
    assert not list(fresh.root.glob("*.blend*"))


# A render that is stopped


@pytest.fixture
def two_views(finished, tmp_path):
    """A workflow in which `slow` renders many frames, and the targets of a run that renders it beside another."""
    characters = {"slow": make(tmp_path, "late_start.blend"), "good": make(tmp_path, "plain.glb")}
    config = {"characters": {name: {"file": str(path)} for name, path in characters.items()}, **SMALL}
    workflow = Workflow.new(tmp_path / "repository", config)
    workflow.change("render", {"samples": 16, "denoise": False})
    return workflow, ["results/slow/front/render.json", "results/good/front/render.json"]


def wait_for_frames(process: subprocess.Popen, workflow: Workflow) -> None:
    """Until a few, and not all, of the slow view's frames are there."""
    end = time.monotonic() + 100
    while len(workflow.results("slow/front/.frames-partial/*.png")) < 3:
        assert process.poll() is None and time.monotonic() < end, "the slow view was not rendered"
        time.sleep(0.02)


def unfinished(workflow: Workflow) -> None:
    assert not workflow.results("slow/front/frames") and not workflow.results("slow/front/render.json")


def test_a_killed_render_is_told_leaves_nothing_finished_and_is_made_again(two_views):
    workflow, targets = two_views
    process = workflow.start("--cores", "2", *targets)
    wait_for_frames(process, workflow)
    log = str(workflow.root / "results/slow/front/logs/render.log")
    (victim,) = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.name() != "sh" and log in [file.path for file in child.open_files()]
    ]
    victim.kill()
    run = workflow.finish(process)
    sentence = f"render slow front: {STOPPED}"
    assert run.status != 0 and run.sentences == [sentence]
    assert last_line(workflow, "slow/front/logs/render.log").endswith(f"Error: {sentence}")
    unfinished(workflow)
    assert workflow.results("good/front/render.json")

    assert workflow.plan(*targets) == {"render slow front"}
    assert workflow.run("--cores", "2", *targets).status == 0
    rendered = read_json(workflow.root / "results/slow/front/render.json")["frames"]
    assert len(rendered) == 25 == len(workflow.results("slow/front/frames/*.png"))
    assert not workflow.results("slow/front/.frames-partial")


def test_ctrl_c_is_told_leaves_nothing_finished_and_the_next_run_goes_on(two_views):
    workflow, targets = two_views
    process = workflow.start("--cores", "2", *targets)
    wait_for_frames(process, workflow)
    os.killpg(process.pid, signal.SIGINT)
    run = workflow.finish(process)
    sentence = f"render slow front: {STOPPED}"
    assert run.status != 0 and sentence in run.sentences
    assert last_line(workflow, "slow/front/logs/render.log").endswith(f"Error: {sentence}")
    unfinished(workflow)

    assert "render slow front" in workflow.plan(*targets)
    assert workflow.run("--cores", "2", *targets).status == 0
    assert len(workflow.results("slow/front/frames/*.png")) == 25


# What the renderer only prints


def render_with_log(finished: Workflow, tmp_path: Path, line: str, engine: str = "cycles") -> Path:
    """Render one frame while the log says `line`; return the folder of frames."""
    folder = finished.root / "results" / "doll"
    log = tmp_path / "render.log"
    log.write_text(f"Fra:1 Mem:10.27M | Scene, ViewLayer | Initializing\n{line}\nSaved: '0001.png'\n")
    scene.open_character(folder / "character.blend")
    settings = {"engine": engine, "device": "cpu", "samples": 1, "denoise": False, "seed": 0}
    view = read_json(folder / "front" / "camera.json") | {"width": 16, "height": 16}
    render.render(view, read_json(folder / "bounds.json"), [1], settings, 1, tmp_path / "frames", log)
    return tmp_path / "frames"


@pytest.mark.parametrize(
    "line",
    [
        "Error: System is out of GPU memory",
        "Error: Out of memory in cuMemAlloc(&device_pointer, size) (intern/cycles/device/cuda/device_impl.cpp:568)",
        "Illegal address in CUDA queue synchronize (integrator_shade_surface)",
        "CUDA error: Launch failed in cuCtxSynchronize(), line 1760",
        "Failed to create CUDA context (Invalid device)",
        "OPTIX_ERROR_INTERNAL_COMPILER_ERROR in optixModuleCreate (intern/cycles/device/optix/device_impl.cpp:400)",
        "hipErrorOutOfMemory in hipMalloc(&device_pointer, size)",
        "ERROR (gpu.shader): gpu_shader Linking: error: too many uniforms",
        "E1121 01:02:03.456 1234 device.cpp:120] Error building kernels",
    ],
)
def test_an_error_that_the_renderer_only_prints_fails_the_view(finished, tmp_path, line):
    with pytest.raises(PoseFactoryError) as error:
        render_with_log(finished, tmp_path, line)
    assert str(error.value) == f"The renderer reported a problem, so its images are not kept: {line}"
    assert not (tmp_path / "frames").exists()


@pytest.mark.parametrize(
    "line",
    [
        "Fra:1 Mem:10.27M | Scene, ViewLayer | Synchronizing object | Error",
        "Saved: 'results/error/front/.frames-partial/0001.png'",
        'Read blend: "/home/ada/my error: a collection/results/x/character.blend"',
        "EGL Error (0x3009): EGL_BAD_MATCH: Arguments are inconsistent",
        "libEGL warning: egl: failed to create dri2 screen",
        "MESA: error: ZINK: failed to choose pdev",
        'Warning: texture "skin.png" is missing: its surfaces are plain grey',
    ],
)
def test_names_and_the_chatter_of_drivers_are_no_errors(finished, tmp_path, line):
    assert (render_with_log(finished, tmp_path, line) / "0001.png").is_file()


def test_workbench_renders_without_a_gpu(finished, tmp_path):
    """For software GL complains a little, in the log, of each context that it cannot give."""
    workflow = finished.copy(tmp_path / "copy")
    workflow.change("render.engine", "workbench")
    run = workflow.run("--cores", "2", "results/doll/front/render.json")
    assert run.status == 0, run.console
    assert read_json(workflow.root / "results/doll/front/render.json")["engine"] == "workbench"
