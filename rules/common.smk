# Reads the config, once, for all rules: they use what is defined here, nothing else.
import gc
import os
import re
import sys
from functools import cache
from pathlib import Path

# Planning makes millions of objects that stay: looking through them for garbage took a tenth of its time.
gc.set_threshold(100_000)

# The libraries of this clone, for the rules here and for the scripts, whatever is installed.
SOURCES = [str(Path(workflow.basedir) / folder) for folder in ("src", "executor/src")]
sys.path[:0] = SOURCES
os.environ |= {"PYTHONPATH": os.pathsep.join([*SOURCES, *filter(None, [os.environ.get("PYTHONPATH")])])}
# Jobs run side by side: more threads for small matrices only wait for each other.
os.environ |= {"OPENBLAS_NUM_THREADS": "1"}

from pose_factory.code_hash import code_hash
from pose_factory.config import load
from pose_factory.errors import PoseFactoryError
from pose_factory.export.folders import FORMS, TREES
from pose_factory.hmr2 import models
from pose_factory.sources import files_of, motion_of
from pose_factory.storage import inputs
from pose_factory.variation import draw

# No setting, but a word for one run: `--config confirm=prune` (rules/sync.smk).
CONFIRMED = config.pop("confirm", "")

try:
    # A job's own process may be on another machine, which has this job's files only.
    CONFIG = load(config, Path.cwd(), all_here=workflow.is_main_process)
except PoseFactoryError as error:
    sys.exit(f"Error: {error}")  # a WorkflowError would bury the sentence in a traceback

CHARACTERS = CONFIG["characters"]
SCENES = {name: character for name, character in CHARACTERS.items() if "people" in character}
# Every character that is not a scene, those included that only stand in one.
PREPARED = {name: character for name, character in CHARACTERS.items() if name not in SCENES} | CONFIG["members"]
# Those of them whose files lie at the remote.
REMOTE = {name: character for name, character in PREPARED.items() if "remote" in character}
VIDEOS = CONFIG["videos"]
STORAGE = CONFIG["storage"]
# What the tracker goes by: hmr2's own settings only where it tracks, mediapipe's always, for hmr2 has its boxes.
TRACKING = dict(CONFIG["tracking"])
if TRACKING["backend"] != "hmr2":
    del TRACKING["hmr2"]
# GPUs that a job takes, so that `--resources gpu=N` can limit them: `auto` counts, for it takes one where there is one.
RENDERING = {name: value for name, value in CONFIG["render"].items() if name != "passes"}
RENDER_GPUS = int(RENDERING["engine"] == "eevee" or RENDERING["engine"] == "cycles" and RENDERING["device"] != "cpu")
# Labels of every pixel: which are made, always in one order.
PASSES = sorted(CONFIG["render"]["passes"])
TRACK_GPUS = int("hmr2" in TRACKING and TRACKING["hmr2"]["device"] != "cpu")
# Whether bodies are fitted: to mediapipe's tracks, for hmr2 has bodies of its own.
FITTING = CONFIG["body"]["fit"] and TRACKING["backend"] == "mediapipe"
ANGLES = CONFIG["cameras"]
VARIATION = CONFIG["variation"]
RESULTS = CONFIG["results"]
EXPORT = CONFIG["export"]
SPLITS = CONFIG["splits"]
# How many keypoints people have in COCO's files, and what these are called.
COCO_FILES = {17: "person_keypoints", 23: "person_keypoints_23"}
# Whether people have masks, which segmentations are made of.
MASKS = "instances" in PASSES

existing = next(folder for folder in [Path(RESULTS), *Path(RESULTS).absolute().parents] if folder.exists())
if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
    sys.exit(f"Error: Config: results is {RESULTS}, but {existing} is not a folder you can write to; name another.")

if "fetch_models" not in sys.argv and (sentence := models.missing(CONFIG["tracking"])):
    sys.exit(f"Error: Config: {sentence}")


def one_of(names):
    """The pattern of a wildcard that is one of these names."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    character=one_of(CHARACTERS),
    camera_angle=one_of(ANGLES),
    video=one_of(VIDEOS),
    split=one_of(EXPORT["shares"]),


def code(script):
    """What a rule's script and the modules it imports do: a change makes its outputs stale, a comment does not."""
    return code_hash(Path(workflow.basedir) / "workflow" / "scripts" / script)


def sources_of(character):
    """The files that a character is made from; none for a body that is described, in a motion that we have."""
    fetched = [f"{RESULTS}/{character}/source", f"{RESULTS}/{character}/source.json"]
    return (fetched if character in REMOTE else []) + user_files_of(character)


def user_files_of(character):
    """Those of them that the config names: the character's own, unless it lies at the remote, and its motion's."""
    described, motion = PREPARED[character], motion_of(PREPARED[character])
    own = files_of(described["file"]) if described["file"] and character not in REMOTE else []
    return own + (files_of(motion["file"]) if motion else [])


@cache
def contents_at_remote():
    """What the remote has of each remote character, asked for once in a run."""
    try:
        return inputs.contents(STORAGE["remote"], [character["remote"] for character in REMOTE.values()])
    except PoseFactoryError as error:
        sys.exit(f"Error: {error}")


def content_of(character):
    """What a remote character's file and its parts hold, by size and hash.

    The remote is only asked where jobs are about to run. A dry run, a graph or a report goes by what was fetched last,
    and so does a job's own process, for whose rule it is decided already.
    """
    asked = workflow.executor_plugin and workflow.is_main_process and not workflow.dryrun and not workflow.touch
    if asked:
        return contents_at_remote()[REMOTE[character]["remote"]]
    return inputs.received(Path(RESULTS, character, "source.json"))


@cache
def variation_of(character, camera_angle):
    """What is drawn for a view."""
    return draw(VARIATION, character, camera_angle)


def drawn(*names):
    """Params function: these parts of what is drawn for the wildcards' view."""

    def of_view(wildcards):
        variation = variation_of(wildcards.character, wildcards.camera_angle)
        return {name: variation[name] for name in names}

    return of_view


def background_of(wildcards):
    """The picture behind the wildcards' view; none where it is drawn otherwise."""
    file = variation_of(wildcards.character, wildcards.camera_angle)["background"]["file"]
    return [f"{VARIATION['background']['folder']}/{file}"] if file else []


def members_of(scene):
    """The characters of a scene, each once."""
    return list(dict.fromkeys(person["character"] for person in SCENES[scene]["people"]))


def of_members(scene, name):
    """That file of each of a scene's characters."""
    return [f"{RESULTS}/{member}/{name}" for member in members_of(scene)]


def view(name):
    """The pattern of a file of one view."""
    return f"{RESULTS}/{{character}}/{{camera_angle}}/{name}"


def film(name):
    """The pattern of a file of one video."""
    return f"{RESULTS}/videos/{{video}}/{name}"


def views_of(name):
    """Input function: that file of all views of the wildcards' character."""
    return lambda wildcards: [f"{RESULTS}/{wildcards.character}/{angle}/{name}" for angle in ANGLES]


def all_views(name):
    """That file of all views of all characters."""
    return [f"{RESULTS}/{character}/{angle}/{name}" for character in CHARACTERS for angle in ANGLES]


def each_character(name):
    """That file of all characters."""
    return [f"{RESULTS}/{character}/{name}" for character in CHARACTERS]


def each_video(name):
    """That file of all videos."""
    return [f"{RESULTS}/videos/{video}/{name}" for video in VIDEOS]


OF_BODIES = ["body.npz", "body.json", "joint_angles.parquet"]


def of_character(character):
    """All files that a complete run makes of a character, also those that only others are made of."""
    of_view = ["camera.json", "frames", "render.json", "ground_truth.parquet", "boxes.parquet", "tracks.parquet"]
    of_view += ["people.parquet", "tracking.json", "validation.json", "joints.parquet", "overlay.mp4"]
    of_view += ["passes", "passes.json"] if PASSES else []
    of_view += ["repaired.parquet", *([*OF_BODIES, "body_validation.json"] if FITTING else [])]
    return [
        *[f"{RESULTS}/{character}/{angle}/{name}" for name in of_view for angle in ANGLES],
        *[f"{RESULTS}/{character}/{name}" for name in ("ground_truth_check.json", "rig_bias.json")],
        *[f"{RESULTS}/{character}/{name}" for name in ("fused.parquet", "fusion.json")],
        *([recorded(character)] if FITTING and recorded(character) else []),
        f"{RESULTS}/review/{character}_fused.svg",
        f"{RESULTS}/review/{character}.png",
    ]


def of_video(video):
    """All files that a complete run makes of a video."""
    names = ["tracks.parquet", "people.parquet", "tracking.json", "video.json", "overlay.mp4"]
    names += OF_BODIES if FITTING else []
    return [f"{RESULTS}/videos/{video}/{name}" for name in names]


def of_dataset():
    """All files that a complete run makes of the characters together."""
    names = ["summary.parquet", "summary.csv", "by_azimuth.parquet", "by_joint.parquet"]
    plots = ["error_by_azimuth.svg", "error_by_joint.svg"]
    return [f"{RESULTS}/dataset/{name}" for name in names] + [f"{RESULTS}/review/{name}" for name in plots]


def people_of(character):
    """The people of a character as its exported motions name them, each with the character that they are."""
    if character not in SCENES:
        return {"": character}
    return {f".{index}": person["character"] for index, person in enumerate(SCENES[character]["people"])}


def recorded(character):
    """The recorded motion of a character whose body is described; none of others."""
    return f"{RESULTS}/{character}/motion.npz" if CHARACTERS[character].get("anny") else []


def described(character, person):
    """The description of one of a character's people, its motion by name; none where they come from a file, or where
    there is no such person."""
    member = people_of(character).get(person)
    if not member or not (anny := PREPARED[member]["anny"]):
        return None
    return anny | {"motion": anny["motion"] if isinstance(anny["motion"], str) else Path(anny["motion"]["file"]).name}


def motions():
    """The motions of all people of all characters, in the forms that the config wants; parameters of a body only of
    those that are described."""
    return [
        f"{RESULTS}/export/motion/{character}{person}.{suffix}"
        for character in CHARACTERS
        for person, member in people_of(character).items()
        for form, suffix in FORMS.items()
        if form in EXPORT["motions"] and (form != "body" or PREPARED[member]["anny"])
    ]


def to_copy(files):
    """Those of a character's files that go to the remote: without its pictures, unless the config wants them."""
    return [file for file in files if STORAGE["frames"] or Path(file).name not in ("frames", "passes")]


def receipts():
    """The receipts of what was copied to the remote."""
    of_dataset = [f"{RESULTS}/dataset/synced.json"] if CHARACTERS else []
    return [*each_character("synced.json"), *each_video("synced.json"), *of_dataset]


def exported(name):
    """A file or folder of the dataset to train on."""
    return f"{RESULTS}/export/{name}"


CARD = exported("README.md")


def shard(name):
    """The pattern of a character's part of it, `*` being the character in its split."""
    return exported(name.replace("*", "{split}/{character}"))


def shards(name):
    """That part of all characters."""
    return [shard(name).format(split=SPLITS[character], character=character) for character in CHARACTERS]


def bodies_of(character):
    """The descriptions of those bodies in a character's pictures that are made here."""
    people = members_of(character) if character in SCENES else [character]
    return {name: PREPARED[name]["anny"] for name in people}


def terms_of(character):
    """The sources and licences of the people in a character's pictures, and the licence of images behind them."""
    people = {name: CONFIG["terms"][name] for name in bodies_of(character)}
    return {"people": people, "background": VARIATION["background"]["licence"]}


def labelled(wildcards):
    """What a character's shards are made of, beside its pictures."""
    if wildcards.split != (split := SPLITS[wildcards.character]):
        sys.exit(f"Error: {wildcards.character} is in {split}, not in {wildcards.split}; ask for it there.")
    of_views = {"rendered": "render.json", "labels": "ground_truth.parquet", "boxes": "boxes.parquet"}
    of_views["cameras"] = "camera.json"
    character = f"{RESULTS}/{wildcards.character}"
    return {
        "character": f"{character}/character.json",
        **{name: views_of(file)(wildcards) for name, file in of_views.items()},
        # Not read: nothing is exported from labels that failed their check.
        "check": f"{character}/ground_truth_check.json",
    }


def annotations():
    """COCO's files, each of all characters in a split."""
    files = [f"{file}_{split}.json" for file in COCO_FILES.values() for split in EXPORT["shares"]]
    return [exported(f"coco/annotations/{file}") for file in files]


def of_format(name):
    """All files and folders of one of the dataset's formats."""
    gathered = {"coco": annotations(), "yolo": [exported("yolo/data.yaml")]}.get(name, [])
    return [*[folder for tree in TREES[name] for folder in shards(f"{tree}/*")], *gathered]


def exports():
    """All files and folders that the target `export` makes."""
    made = [CARD, *[file for name in EXPORT["formats"] for file in of_format(name)], *motions()]
    return made if CHARACTERS else []


def everything(wildcards):
    """All files that a complete run makes, also those that only others are made of: what is deleted is made again."""
    return [
        *[file for character in CHARACTERS for file in of_character(character)],
        *(of_dataset() if CHARACTERS else []),
        *[file for video in VIDEOS for file in of_video(video)],
        *(receipts() if STORAGE["remote"] else []),
    ]
