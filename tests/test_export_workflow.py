"""The dataset by the real workflow: what is made of a finished run, what a further character adds, and read back."""

import io
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import webdataset
import yaml
from PIL import Image
from test_export import parse, precision

from pose_factory.export.splits import split_of
from pose_factory.files import read_json, read_table
from pose_factory.skeleton import JOINTS
from workflow import jobs

SHARES = {"train": 0.5, "val": 0.5, "test": 0.0}
SEED = next(
    seed for seed in range(100) if [split_of(name, seed, SHARES) for name in ("doll", "xbot")] == ["train", "val"]
)
SETTINGS = {"formats": ["coco", "yolo", "webdataset", "arrays"], "motions": []}
SETTINGS |= {"shares": SHARES, "seed": SEED, "shard_size": 3}
SPLIT = {"doll": "train", "xbot": "val"}
OTHER_SEED = next(seed for seed in range(100) if split_of("doll", seed, SHARES) == "val")
ANGLES = ("front", "left")
SHARDS = "export_facts export_coco export_yolo export_webdataset export_arrays"
GATHERED = {"gather_coco", "gather_yolo", "export_card"}


def of(character: str, rules: str = SHARDS, split: str = "") -> set[str]:
    return jobs(rules, [split or SPLIT[character]], [character])


def without_target(plan: set[str]) -> set[str]:
    return plan - {"export"}


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """A finished run of which first one character and then both were exported: the workflow; the plan of each time; the
    modification times of the first one's files after each."""
    workflow = finished.copy(tmp_path_factory.mktemp("exported") / "with spaces")
    workflow.change("export", SETTINGS)
    plans, times = [], []
    for only in (["doll"], []):
        workflow.change("only", only)
        plans.append(without_target(workflow.plan("export")))
        run = workflow.run("--cores", "2", "export")
        assert run.status == 0, run.console
        shards = [workflow.root / "results" / name for name in workflow.results("export/**/doll/**/*")]
        times.append({path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in shards if path.is_file()})
    return workflow, plans, times


@pytest.fixture(scope="module")
def folder(exported) -> Path:
    return exported[0].root / "results" / "export"


# Which jobs run


def test_nothing_but_the_export_asks_for_it_and_it_asks_for_no_tracking(finished, fresh):
    assert finished.plan() == set()
    expected = jobs("prepare bounds check_ground_truth", ["doll", "xbot"])
    expected |= jobs("camera render ground_truth", ["doll", "xbot"], ANGLES)
    fresh.change("export", SETTINGS)
    assert without_target(fresh.plan("export")) == expected | of("doll") | of("xbot") | GATHERED


def test_only_the_formats_asked_for_are_made(finished, tmp_path):
    workflow = finished.copy(tmp_path / "copy")
    workflow.change("export", {**SETTINGS, "formats": ["yolo"]})
    plan = without_target(workflow.plan("export"))
    expected = of("doll", "export_facts export_yolo") | of("xbot", "export_facts export_yolo")
    assert plan == expected | {"gather_yolo", "export_card"}


def test_a_further_character_adds_its_shards_and_rewrites_no_other(exported):
    workflow, plans, times = exported
    assert plans == [of("doll") | GATHERED, of("xbot") | GATHERED]
    assert times[0] == times[1] and len(times[0]) > 15
    assert workflow.plan("export") == set()


def test_nobody_is_made_in_a_split_that_is_not_theirs(exported):
    run = exported[0].run("--cores", "1", "results/export/yolo/images/test/doll")
    assert run.status != 0 and not run.started
    assert run.sentences == ["doll is in train, not in test; ask for it there."]


def test_another_seed_moves_characters_and_leaves_none_in_two_splits(exported, tmp_path):
    workflow = exported[0].copy(tmp_path / "copy")
    workflow.change("only", ["doll"])
    workflow.change("export.seed", OTHER_SEED)
    workflow.change("export.formats", ["arrays"])
    plan = without_target(workflow.plan("export"))
    assert plan == of("doll", "export_facts export_arrays", "val") | {"export_card"}
    assert workflow.run("--cores", "2", "export").status == 0
    assert workflow.results("export/arrays/*/*") == ["export/arrays/val/doll"]
    assert workflow.results("export/shards/*/*") == ["export/shards/val/doll"]
    card = (workflow.root / "results/export/README.md").read_text()
    assert "| `val` | 0.5 | 1 | 4 |" in card and "WebDataset" not in card


def test_a_licence_changes_what_tells_of_it_and_no_picture(exported, tmp_path):
    workflow = exported[0].copy(tmp_path / "copy")
    workflow.change("characters.doll.licence", "CC0")
    plan = without_target(workflow.plan("export"))
    assert plan == of("doll", "export_facts export_coco") | GATHERED - {"gather_yolo"}
    assert workflow.run("--cores", "2", "export").status == 0
    folder = workflow.root / "results/export"
    assert "| doll | unknown | CC0 |" in (folder / "README.md").read_text()
    (licence,) = read_json(folder / "coco/annotations/person_keypoints_train.json")["licenses"]
    assert licence["name"] == "CC0"


# Read back


def test_nothing_unfinished_is_left(exported):
    workflow, _, _ = exported
    hidden = [name for name in workflow.results("export/**/.*") if not name.endswith("/.snakemake_timestamp")]
    assert not hidden


@pytest.mark.parametrize("character", SPLIT)
def test_pictures_are_the_rendered_ones(exported, folder, character):
    rendered = exported[0].root / "results" / character
    for form in ("coco", "yolo"):
        found = sorted((folder / form / "images").rglob(f"{character}/*/*.png"))
        assert len(found) == 4
        for path in found:
            original = rendered / path.parent.name / "frames" / path.name
            assert path.parts[-4:-2] == (SPLIT[character], character)
            assert path.samefile(original)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("count", "name"), [(17, "person_keypoints"), (23, "person_keypoints_23")])
def test_pycocotools_scores_the_labels_of_real_pictures(folder, split, count, name):
    path = folder / "coco" / "annotations" / f"{name}_{split}.json"
    assert precision(path, count) == (pytest.approx(1.0), 4)
    for about in read_json(path)["images"]:
        with Image.open(folder / "coco" / "images" / split / about["file_name"]) as picture:
            assert picture.size == (about["width"], about["height"]) == (96, 128)


def test_a_split_without_characters_is_an_empty_file(folder):
    empty = read_json(folder / "coco" / "annotations" / "person_keypoints_test.json")
    assert empty["images"] == empty["annotations"] == empty["licenses"] == []
    assert (folder / "yolo" / "images" / "test").is_dir()


def test_every_picture_for_yolo_has_its_label_file(exported, folder):
    root = folder / "yolo"
    data = yaml.safe_load((root / "data.yaml").read_text())
    for character, split in SPLIT.items():
        pictures = sorted((root / data[split]).rglob("*.png"))
        assert len(pictures) == 4
        for picture in pictures:
            label = Path(str(picture).replace("/images/", "/labels/")).with_suffix(".txt")  # as YOLO finds them
            (numbers,) = parse(label.read_text(), data)
            labels = read_table(exported[0].root / "results" / character / picture.parent.name / "ground_truth.parquet")
            labels = labels[labels.frame == int(picture.stem)].iloc[:17]
            shown = (labels.visibility > 0).to_numpy()
            points = numbers[5:].reshape(17, 3)
            assert points[:, 2].tolist() == labels.visibility.tolist() and shown.sum() > 10
            np.testing.assert_allclose((points[:, :2] * [96, 128])[shown], labels[["u", "v"]][shown], atol=0.001)


def test_webdataset_reads_the_shards(exported, folder):
    for character, split in SPLIT.items():
        files = sorted(map(str, (folder / "webdataset" / split).rglob("*.tar")))
        assert [Path(file).name for file in files] == [f"{character}-00000{number}.tar" for number in range(2)]
        read = list(webdataset.WebDataset(files, shardshuffle=False).decode("pil").to_tuple("__key__", "png", "json"))
        assert len(read) == 4
        for key, picture, told in read:
            assert key == f"{character}/{told['camera_angle']}/{told['frame']:04d}" and picture.size == (96, 128)
            assert [len(person["keypoints"]) for person in told["people"]] == [len(JOINTS)]


def test_arrays_are_what_the_tables_say(exported, folder):
    for character, split in SPLIT.items():
        for angle in ANGLES:
            labels = read_table(exported[0].root / "results" / character / angle / "ground_truth.parquet")
            with np.load(folder / "arrays" / split / character / f"{angle}.npz") as file:
                assert file["people"].tolist() == [character] and file["fps"] == 30
                world = labels[["x", "y", "z"]].to_numpy().reshape(2, 1, 23, 3)
                np.testing.assert_allclose(file["joints_world"], world, atol=1e-6)
                local = file["joints_world"] @ file["R"].T + file["t"]
                pixels = local @ file["K"].T / local[..., 2:]
                np.testing.assert_allclose(
                    pixels[..., :2], labels[["u", "v"]].to_numpy().reshape(2, 1, 23, 2), atol=0.01
                )


# The card


def test_the_card_tells_what_there_is(exported, folder):
    text = (folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["license"] == "unknown" and about["size_categories"] == ["n<1K"]
    patterns = {item["split"]: item["path"] for item in about["configs"][0]["data_files"]}
    assert {split: len(list(folder.glob(pattern))) for split, pattern in patterns.items()} == {"train": 2, "val": 2}
    assert "8 rendered pictures with 8 labelled poses of 2 characters" in body
    for split in ("train", "val"):
        assert f"| `{split}` | 0.5 | 1 | 4 | 0 | 4 |" in body
    for form, name in (("COCO keypoints", "coco"), ("WebDataset", "webdataset"), ("3D arrays", "arrays")):
        files = [path for path in (folder / name).rglob("*") if path.is_file() and not path.name.startswith(".")]
        assert f"| {form} | `{name}/` | {len(files)} | {sum(path.stat().st_size for path in files):,} |" in body


def test_the_lines_in_the_card_load_the_dataset(folder, monkeypatch):
    monkeypatch.chdir(folder)
    codes = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    assert len(codes) == 4
    for code in codes:
        assert len(code.splitlines()) <= 6
        with redirect_stdout(io.StringIO()) as said:
            exec(compile(code, "README.md", "exec"), {})
        assert said.getvalue().strip()


# Faults


def test_a_full_disk_is_told_leaves_nothing_and_the_next_run_goes_on(exported, tmp_path, disk):
    """The dataset on a disk of its own, to which pictures are copied."""
    workflow = exported[0].copy(tmp_path / "copy")
    results = workflow.root / "results"
    shutil.rmtree(results / "export")
    (results / "export").symlink_to(disk(60))
    target = "results/export/yolo/images/train/doll"
    run = workflow.run("--cores", "2", target)
    assert run.status != 0 and len(run.sentences) == 1, run.console
    assert re.match(
        r"export_yolo train doll: Cannot write .*/train/doll: No space left on device; free some space",
        run.sentences[0],
    )
    assert not [path for path in (results / "export").resolve().rglob("*") if path.is_file()]
    disk(2000)
    assert workflow.run("--cores", "2", target).status == 0
    assert len(list((results / "export" / "yolo").rglob("*.txt"))) == 4


def test_nothing_speaks_of_pictures_that_are_gone_when_a_character_fails(exported, tmp_path):
    workflow = exported[0].copy(tmp_path / "copy")
    results = workflow.root / "results"
    shutil.rmtree(results / "export/coco/images")
    picture = next((results / "xbot/left/frames").glob("*.png"))
    picture.rename(results / "kept.png")
    gathered = [*workflow.results("export/coco/annotations/*.json"), "export/README.md"]
    assert len(gathered) == 7
    run = workflow.run("--cores", "1", "--keep-going", "export")
    assert run.status != 0 and "is missing; render its view again" in run.sentences[0]
    assert workflow.results("export/coco/images/*/doll/*/*.png")
    assert not workflow.results("export/coco/annotations/*.json") and not workflow.results("export/README.md")
    (results / "kept.png").rename(picture)
    assert workflow.run("--cores", "2", "export").status == 0
    assert all((results / name).is_file() for name in gathered)


def test_a_missing_picture_stops_that_character_alone(exported, tmp_path):
    workflow = exported[0].copy(tmp_path / "copy")
    results = workflow.root / "results"
    shutil.rmtree(results / "export" / "webdataset")
    picture = next((results / "doll" / "left" / "frames").glob("*.png"))
    picture.unlink()
    targets = [f"results/export/webdataset/{split}/{character}" for character, split in SPLIT.items()]
    run = workflow.run("--cores", "2", *targets)
    assert run.status != 0
    assert run.sentences == [
        f"export_webdataset train doll: {picture.relative_to(workflow.root)} is missing; render its view again."
    ]
    assert not Path(workflow.root / targets[0]).exists() and Path(workflow.root / targets[1]).is_dir()


def test_planning_needs_no_heavy_libraries():
    """The rules read the names of the dataset's folders, and the config its splits, each time Snakemake starts."""
    code = "import sys; from pose_factory.export import folders, splits; print({'numpy', 'cv2'} & set(sys.modules))"
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
