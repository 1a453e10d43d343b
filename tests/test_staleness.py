"""What runs again after a change: results are stale when content, code or config changed, and for no other reason.

Each case changes one thing in a copy of a finished run and counts, in Snakemake's own plan, the jobs that would run.
"""

import os
from pathlib import Path

import pytest

from pose_factory.hmr2 import models
from workflow import Workflow, jobs

CHARACTERS, ANGLES = ("doll", "xbot"), ("front", "left")
SUMMARY = {"summarise"}
NOTHING: set[str] = set()


def after(*, rules: str = "", per_character: str = "", characters=CHARACTERS, angles=ANGLES) -> set[str]:
    """Jobs of the view's `rules`, of the `per_character` rules, and the summary, which hangs on every score."""
    return jobs(rules, characters, angles) | jobs(per_character, characters) | SUMMARY


BODIES = jobs("fit_body validate_body", CHARACTERS, ANGLES)
TRACKED = after(rules="track validate overlay", per_character="fuse rig_bias contact_sheet") | BODIES
RENDERED = TRACKED | jobs("render", CHARACTERS, ANGLES)
SCORED = after(rules="validate", per_character="contact_sheet")
LABELLED = after(
    rules="ground_truth validate validate_body overlay",
    per_character="check_ground_truth fuse rig_bias contact_sheet",
)
FRAMED = RENDERED | LABELLED | jobs("camera", CHARACTERS, ANGLES)
BOUNDED = FRAMED | jobs("bounds", CHARACTERS)
PREPARED = BOUNDED | jobs("prepare", CHARACTERS)


def of(character: str, plan: set[str]) -> set[str]:
    """The part of a plan that is about one character, and the summary."""
    return {job for job in plan if character in job.split()} | SUMMARY


@pytest.fixture
def workflow(finished: Workflow, tmp_path) -> Workflow:
    """A copy of the finished run. The characters' files are still those that it was made of."""
    return finished.copy(tmp_path / "copy")


# Code


def edit(workflow: Workflow, file: str, old: str, new: str) -> None:
    """Replace the first `old` in a source file."""
    path = workflow.root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_comments_docstrings_and_formatting_make_nothing_stale(workflow):
    edit(workflow, "src/pose_factory/geometry/camera.py", "import numpy as np\n", "import numpy as np  # arrays\n")
    edit(workflow, "src/pose_factory/geometry/camera.py", '"""Whether pixels', '"""If pixels')
    edit(workflow, "src/pose_factory/validation/metrics.py", '"""', '"""Once more: ')
    edit(workflow, "src/pose_factory/validation/report.py", "MM = 1000.0\n", "MM = (\n    1000.0\n)\n")
    edit(workflow, "workflow/scripts/render.py", '"""A prepared', '# Frames.\n"""A prepared')
    edit(workflow, "workflow/scripts/track.py", "frames of one view", "images of one view")
    edit(workflow, "rules/track.smk", "# Once per view", "# For each view")
    assert workflow.plan() == NOTHING


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        # script -> validation.ground_truth_check -> geometry.triangulate
        (
            "src/pose_factory/geometry/triangulate.py",
            "seen.sum(0) >= 2",
            "seen.sum(0) > 1",
            after(per_character="check_ground_truth"),
        ),
        # script -> tracking -> tracking.mediapipe_pose, which is imported by name
        ("src/pose_factory/tracking/mediapipe_pose.py", "BOX_MARGIN = 0.1", "BOX_MARGIN = 0.2", TRACKED),
        # script -> review.overlay -> review.text
        (
            "src/pose_factory/review/text.py",
            "def fit(",
            "MARK = 1\n\n\ndef fit(",
            jobs("overlay", CHARACTERS, ANGLES) | jobs("contact_sheet", CHARACTERS),
        ),
        # script -> blender.prepare -> rigs, a data file of which changes
        ("src/pose_factory/rigs/mixamo.json", "{", "{ ", PREPARED),
        ("workflow/scripts/bounds.py", "with job(snakemake):", "MARK = 1\nwith job(snakemake):", BOUNDED),
        ("workflow/scripts/camera.py", "with job(snakemake):", "MARK = 1\nwith job(snakemake):", FRAMED),
    ],
)
def test_changed_code_makes_the_results_of_the_rules_that_run_it_stale(workflow, file, old, new, expected):
    edit(workflow, file, old, new)
    assert workflow.plan() == expected


# Config


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("render.samples", 2, RENDERED),
        ("render.seed", 1, RENDERED),
        ("tracking.mediapipe.pose_confidence", 0.4, TRACKED),
        ("tracking.fill.predicted_limit", 10, TRACKED),
        ("tracking.hmr2.batch", 8, NOTHING),  # mediapipe tracks
        ("body.fit", False, NOTHING),
        ("fusion.min_views", 3, jobs("fuse", CHARACTERS)),
        ("validation.thresholds.mpjpe_mm", 120, SCORED),
        ("validation.ground_truth.triangulation_mm", 2.0, LABELLED),
        ("cameras.margin", 0.2, FRAMED),
        ("variation.seed", 1, NOTHING),  # of nothing that is varied
        ("variation.noise", [0.01, 0.01], RENDERED),
        ("variation.light.kinds", ["sun"], RENDERED),
        ("variation.camera.roll", [-5, 5], FRAMED),
        ("variation.occluders.count", [1, 1], FRAMED),
        ("cameras.angles.left", 265, {job for job in FRAMED if not job.endswith(" front")}),
        ("characters.doll.yaw", 5, of("doll", PREPARED)),
    ],
)
def test_a_changed_setting_makes_what_depends_on_it_stale(workflow, path, value, expected):
    workflow.change(path, value)
    assert workflow.plan() == expected


def test_a_backends_settings_count_where_it_tracks_and_mediapipes_where_hmr2_has_its_boxes(workflow):
    for name in (*models.ARCHIVE.files, models.BODIES[0]):  # they must be there, and are not read
        (workflow.root / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (workflow.root / "models" / name).touch()
    workflow.change("tracking.backend", "hmr2")
    assert workflow.plan() == TRACKED - BODIES  # it has bodies of its own
    touched = workflow.run("--cores", "2", "--touch")  # as if it had tracked
    assert touched.status == 0, touched.console
    assert workflow.plan() == NOTHING
    workflow.change("tracking.hmr2.batch", 8)
    assert workflow.plan() == TRACKED - BODIES
    workflow.change("tracking.hmr2.batch", 16)
    workflow.change("tracking.mediapipe.pose_confidence", 0.4)
    assert workflow.plan() == TRACKED - BODIES


def test_the_same_settings_written_otherwise_make_nothing_stale(workflow):
    workflow.change("render.seed", 0)  # the default
    workflow.change("cameras.angles", {"front": 0.0, "left": {"azimuth": 270}})
    assert workflow.plan() == NOTHING


def test_a_camera_angle_less_only_summarises_again(workflow):
    workflow.change("cameras.angles", {"front": 0})
    assert workflow.plan() == after(per_character="check_ground_truth fuse rig_bias contact_sheet")


def test_a_character_less_only_summarises_again(workflow):
    workflow.change("only", ["xbot"])
    assert workflow.plan() == SUMMARY


# Content


@pytest.fixture
def source(workflow):
    """The file of the character doll, put back afterwards, for other tests' results were made of it."""
    path = Path(workflow.config["characters"]["doll"]["file"])
    content, stat = path.read_bytes(), path.stat()
    yield path
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_changed_character_is_made_again_and_no_other(workflow, source):
    source.write_bytes(source.read_bytes() + b"\0")
    assert workflow.plan() == of("doll", PREPARED)


def test_a_character_replaced_by_an_older_file_is_made_again(workflow, source):
    source.write_bytes(source.read_bytes() + b"\0")
    os.utime(source, (1e9, 1e9))
    assert workflow.plan() == of("doll", PREPARED)


def test_a_touched_character_of_the_same_content_is_not_made_again(workflow, source):
    source.touch()
    assert workflow.plan() == NOTHING


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("review/xbot.png", {"contact_sheet xbot"}),
        ("doll/left/overlay.mp4", {"overlay doll left"}),
        ("dataset/summary.csv", SUMMARY),
        ("doll/left/repaired.parquet", {"fuse doll"}),
        ("doll/left/body.npz", jobs("fit_body validate_body", ["doll"], ["left"])),
        ("doll/left/validation.json", {"validate doll left", "contact_sheet doll"} | SUMMARY),
        (
            "doll/left/tracks.parquet",
            jobs("track validate overlay fit_body validate_body", ["doll"], ["left"])
            | jobs("fuse rig_bias contact_sheet", ["doll"])
            | SUMMARY,
        ),
    ],
)
def test_a_deleted_output_is_made_again_with_what_hangs_on_it(workflow, output, expected):
    (workflow.root / "results" / output).unlink()
    assert workflow.plan() == expected


def test_after_the_change_the_plan_is_carried_out_and_nothing_is_left_to_do(workflow):
    """Not only planned: the jobs run, and their results count as fresh."""
    workflow.change("validation.thresholds.mpjpe_mm", 120)
    assert workflow.plan() == SCORED
    run = workflow.run("--cores", "2")
    assert run.status == 0, run.console
    assert workflow.plan() == NOTHING
