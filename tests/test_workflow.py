"""The workflow end to end, by the real Snakemake: what a run makes, and which jobs a request takes."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest

from pose_factory.files import read_about, read_json, read_table
from pose_factory.skeleton import JOINTS
from workflow import REPOSITORY, jobs

CHARACTERS, ANGLES = ("doll", "xbot"), ("front", "left")
VIEWS = [f"{character}/{angle}" for character in CHARACTERS for angle in ANGLES]
TABLES = {
    "ground_truth.parquet": {
        "schema": "ground_truth/2",
        **{"frame": "int32", "person": "int32", "time": "float64", "joint": "str"},
        **dict.fromkeys(["x", "y", "z", "u", "v", "depth"], "float64"),
        **{"inside": "bool", "visibility": "int8"},
    },
    "boxes.parquet": {
        "schema": "boxes/2",
        **{"frame": "int32", "person": "int32"},
        **dict.fromkeys(["x_min", "y_min", "x_max", "y_max", "area"], "float64"),
    },
    "tracks.parquet": {
        "schema": "tracks/1",
        **{"frame": "int32", "track_id": "int32", "joint": "str"},
        **dict.fromkeys(["u", "v", "x", "y", "z", "confidence"], "float64"),
        "provenance": "str",
    },
    "people.parquet": {
        "schema": "people/1",
        **{"frame": "int32", "track_id": "int32", "provenance": "str", "reason": "str", "score": "float64"},
        **dict.fromkeys(["x_min", "y_min", "x_max", "y_max"], "float64"),
        **dict.fromkeys(["translation_x", "translation_y", "translation_z"], "float64"),
        **{"rotations": "object", "shape": "object"},
    },
}
PER_VIEW = "camera render ground_truth track validate overlay fit_body validate_body"
TABLES["repaired.parquet"] = TABLES["tracks.parquet"] | {"schema": "repaired/1"}


# What a run makes


def test_a_run_makes_everything_and_nothing_unfinished(finished):
    per_view = ["camera.json", "frames", "render.json", *TABLES, "tracking.json"]
    per_view += ["joints.parquet", "validation.json", "overlay.mp4"]
    per_view += ["body.npz", "body.json", "joint_angles.parquet", "body_validation.json"]
    per_character = ["character.blend", "character.json", "bounds.json", "ground_truth_check.json", "rig_bias.json"]
    per_character += ["fused.parquet", "fusion.json"]
    expected = [f"{view}/{name}" for view in VIEWS for name in per_view]
    expected += [f"{character}/{name}" for character in CHARACTERS for name in per_character]
    expected += [f"review/{character}{name}" for character in CHARACTERS for name in (".png", "_fused.svg")]
    expected += ["dataset/summary.parquet", "dataset/summary.csv"]
    expected += ["review/error_by_azimuth.svg", "review/error_by_joint.svg"]
    assert set(expected) <= set(finished.results("**/*"))
    empty = [name for name in expected if (finished.root / "results" / name).stat().st_size == 0]
    assert not empty
    hidden = [name for name in finished.results("**/.*") if not name.endswith("/.snakemake_timestamp")]
    assert not hidden and not finished.results("**/*.blend1")


@pytest.mark.parametrize("view", VIEWS)
def test_frames_labels_and_boxes_speak_of_the_same_frames_of_the_size_asked_for(finished, view):
    folder = finished.root / "results" / view
    facts, rendered = read_json(folder.parent / "character.json"), read_json(folder / "render.json")
    frames = rendered["frames"]
    assert frames == list(range(facts["first_frame"], facts["last_frame"] + 1, 4)) and len(frames) == 2
    assert rendered["fps"] == facts["fps"] == 30
    images = sorted(folder.glob("frames/*.png"))
    assert [path.name for path in images] == [f"{frame:04d}.png" for frame in frames]
    assert {cv2.imread(str(path)).shape for path in images} == {(128, 96, 3)}
    labels, boxes = read_table(folder / "ground_truth.parquet"), read_table(folder / "boxes.parquet")
    assert labels.frame.tolist() == [frame for frame in frames for _ in JOINTS]
    assert labels.joint.tolist() == JOINTS * len(frames)
    assert boxes.frame.tolist() == frames
    assert (boxes.x_min >= 0).all() and (boxes.x_max <= 96).all() and (boxes.y_max <= 128).all()


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("view", VIEWS)
def test_tables_have_their_columns_types_and_metadata(finished, view, name):
    path = finished.root / "results" / view / name
    expected = dict(TABLES[name])
    about = read_about(path)
    assert about["schema"] == expected.pop("schema")
    assert about["units"] and about["frames_of_reference"]
    assert {column: str(kind) for column, kind in read_table(path).dtypes.items()} == expected


@pytest.mark.parametrize("view", VIEWS)
def test_the_tracks_tell_the_joints_of_their_backend_whoever_was_found(finished, view):
    given = read_about(finished.root / "results" / view / "tracks.parquet")["joints"]
    assert given == [joint for joint in JOINTS if joint not in ("spine", "head_top")]
    assert set(read_json(finished.root / "results" / view / "validation.json")["joint_set"]) <= set(given)


def test_the_summary_has_a_row_a_view_and_is_the_same_as_csv(finished):
    folder = finished.root / "results" / "dataset"
    summary = read_table(folder / "summary.parquet")
    assert sorted(summary.character + "/" + summary.camera_angle) == VIEWS
    assert summary.azimuth.tolist() == pytest.approx([0, 270, 0, 270])
    assert set(summary.frames) == {2}
    lines = (folder / "summary.csv").read_text().splitlines()
    assert lines[0].split(",") == list(summary.columns) and len(lines) == 1 + len(VIEWS)
    assert read_about(folder / "summary.parquet")["schema"] == "summary/2"


@pytest.mark.parametrize("view", VIEWS)
def test_a_validation_tells_what_was_measured_and_whether_it_passed(finished, view):
    validation = read_json(finished.root / "results" / view / "validation.json")
    assert validation["frames"] == 2 and 0 <= validation["coverage"] <= 1
    assert validation["azimuth"] == pytest.approx({"front": 0, "left": 270}[view.split("/")[1]])
    assert validation["passed"] == (not validation["failures"])
    joints = read_table(finished.root / "results" / view / "joints.parquet")
    assert joints.joint.tolist() == JOINTS


@pytest.mark.parametrize("character", CHARACTERS)
def test_the_labels_of_all_views_agree(finished, character):
    check = read_json(finished.root / "results" / character / "ground_truth_check.json")
    numbers = json.dumps(check)
    assert "NaN" not in numbers
    labels = [read_table(finished.root / "results" / character / angle / "ground_truth.parquet") for angle in ANGLES]
    for column in ("frame", "joint"):
        assert labels[0][column].equals(labels[1][column])
    np.testing.assert_allclose(labels[0][["x", "y", "z"]], labels[1][["x", "y", "z"]], atol=1e-9)


def test_every_job_leaves_a_log_and_a_benchmark(finished):
    for kind in ("logs/*.log", "benchmarks/*.tsv"):
        names = [name.rsplit("/", 1)[1].split(".")[0] for name in finished.results(f"**/{kind}")]
        assert {name: names.count(name) for name in names} == {
            **dict.fromkeys(["prepare", "bounds", "check_ground_truth", "fuse", "rig_bias", "contact_sheet"], 2),
            **dict.fromkeys(["camera", "render", "ground_truth", "track", "validate", "overlay"], 4),
            **dict.fromkeys(["fit_body", "validate_body"], 4),
            "summarise": 1,
        }


# Which jobs a request takes


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.plan() == set()


def test_only_filters_characters_before_the_jobs_are_known(fresh):
    per_view = jobs(PER_VIEW, ["xbot"], ANGLES)
    per_character = jobs("prepare bounds check_ground_truth fuse rig_bias contact_sheet", ["xbot"])
    assert fresh.plan("--config", "only=[xbot]") == per_view | per_character | {"summarise"}


def test_one_target_takes_only_its_own_view(fresh):
    plan = fresh.plan("results/xbot/front/validation.json")
    assert plan == jobs("prepare bounds", ["xbot"]) | jobs(
        "camera render ground_truth track validate", ["xbot"], ["front"]
    )


def test_the_summary_waits_for_the_check_of_the_labels_it_summarises(fresh):
    assert jobs("check_ground_truth rig_bias", CHARACTERS) <= fresh.plan("results/dataset/summary.csv")


def test_another_camera_angle_leaves_the_bounds_and_the_other_views_alone(finished, tmp_path):
    workflow = finished.copy(tmp_path / "copy")
    workflow.change("cameras.angles.above", {"azimuth": 20, "elevation": 40})
    of_new_view = jobs(PER_VIEW, CHARACTERS, ["above"])
    of_all_views = jobs("check_ground_truth fuse rig_bias contact_sheet", CHARACTERS)
    assert workflow.plan() == of_new_view | of_all_views | {"summarise"}


def test_another_results_folder_has_its_own_results(finished, tmp_path):
    elsewhere = tmp_path / "another place"
    assert finished.plan("--config", f"results={elsewhere}", "--", f"{elsewhere}/doll/bounds.json") == {
        "prepare doll",
        "bounds doll",
    }


def test_directory_runs_on_a_config_and_characters_elsewhere(finished, tmp_path):
    project = tmp_path / "project"
    (project / "config").mkdir(parents=True)
    shutil.copy2(finished.config["characters"]["doll"]["file"], project / "doll.blend")
    (project / "config" / "config.yaml").write_text("characters: {dora: {file: doll.blend}}\n")
    plan = finished.plan("--directory", str(project), "results/dora/front/camera.json")
    assert plan == {"prepare dora", "bounds dora", "camera dora front"}


def test_without_cores_snakemake_still_answers(finished):
    run = finished.run("--summary")
    assert run.status == 0, run.console
    rows = [line.split("\t") for line in run.console.splitlines() if line.startswith("results/")]
    assert len(rows) > 40 and {row[-1] for row in rows} == {"no update"}


# Style, reports and pictures


def test_lint_is_content():
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Congratulations" in done.stdout + done.stderr


def test_snakefmt_is_content():
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "rules"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_report_holds_captions_categories_and_labels(finished, tmp_path):
    path = tmp_path / "report.html"
    run = finished.run("--report", str(path))
    assert run.status == 0, run.console
    html = path.read_text()
    for text in ("overlay.mp4", "summary.csv", "error_by_azimuth.svg", "contact sheet", "scores"):
        assert text in html
    for character in CHARACTERS:
        assert f"results/review/{character}.png" in html
    captions = (REPOSITORY / "workflow" / "report").glob("*.rst")
    for caption in captions:
        words = re.findall(r"[A-Za-z]{4,}(?: [A-Za-z]{3,}){2}", caption.read_text())
        assert words and any(phrase in html for phrase in words), f"{caption.name} is not in the report"


def test_dag_draws_the_rules_and_the_jobs_coloured_by_what_would_run(finished, tmp_path):
    workflow = finished.copy(tmp_path / "copy")
    (workflow.root / "results/doll/left/overlay.mp4").unlink()
    run = workflow.run("--cores", "1", "dag")
    assert run.status == 0, run.console
    review = workflow.root / "results" / "review"
    drawn = {name: ElementTree.parse(review / name).getroot() for name in ("rulegraph.svg", "jobgraph.svg")}
    texts = {name: [element.text for element in svg.findall(".//{*}text")] for name, svg in drawn.items()}
    assert {"prepare", "render", "summarise"} <= set(texts["rulegraph.svg"])
    assert "44 fresh" in texts["jobgraph.svg"] and "2 would run" in texts["jobgraph.svg"]
    colours = [element.get("fill") for element in drawn["jobgraph.svg"].findall(".//{*}path")]
    assert colours.count("#d7f0dc") >= 44 and colours.count("#ffe8b8") >= 2


# A wrong config is told before anything runs


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("render.sample", 4, "Config: render.sample is not a known key; the nearest valid one is 'samples'."),
        ("render.samples", "four", "Config: render.samples is 'four', but must be a whole number"),
        ("cameras.angles", ["frnt"], "Config: cameras.angles[0] is 'frnt'; the nearest valid one is 'front'."),
        (
            "characters.xbot.file",
            "/nowhere/x.fbx",
            "Config: characters.xbot.file is a file that does not exist: /nowhere/x.fbx",
        ),
        (
            "only",
            ["xbod"],
            "Config: only[0] names 'xbod', which is not a character or a video; the nearest valid one is 'xbot'.",
        ),
    ],
)
def test_a_wrong_config_is_one_sentence_and_no_job(fresh, path, value, sentence):
    fresh.change(path, value)
    run = fresh.run("--cores", "2")
    assert run.status != 0 and not run.started
    assert len(run.sentences) == 1 and run.sentences[0].startswith(sentence), run.console
    assert "Traceback" not in run.console and not (fresh.root / "results").exists()
