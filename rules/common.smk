# Reads the config, once, for all rules: they use what is defined here, nothing else.
import os
import sys
from pathlib import Path

# The library of this clone, for the rules here and for the scripts, whatever is installed.
SOURCE = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SOURCE)
os.environ |= {"PYTHONPATH": os.pathsep.join([SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])])}
# Jobs run side by side: more threads for small matrices only wait for each other.
os.environ |= {"OPENBLAS_NUM_THREADS": "1"}

from pose_factory.code_hash import code_hash
from pose_factory.config import load
from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2 import models
from pose_factory.sources import files_of

try:
    CONFIG = load(config, Path.cwd())
except PoseFactoryError as error:
    sys.exit(f"Error: {error}")  # a WorkflowError would bury the sentence in a traceback

CHARACTERS = CONFIG["characters"]
SCENES = {name: character for name, character in CHARACTERS.items() if "people" in character}
# Every character that is not a scene, those included that only stand in one.
PREPARED = {name: character for name, character in CHARACTERS.items() if name not in SCENES} | CONFIG["members"]
VIDEOS = CONFIG["videos"]
# What the tracker goes by: hmr2's own settings only where it tracks, mediapipe's always, for hmr2 has its boxes.
TRACKING = dict(CONFIG["tracking"])
if TRACKING["backend"] != "hmr2":
    del TRACKING["hmr2"]
ANGLES = CONFIG["cameras"]
RESULTS = CONFIG["results"]

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


def code(script):
    """What a rule's script and the modules it imports do: a change makes its outputs stale, a comment does not."""
    return code_hash(Path(workflow.basedir) / "workflow" / "scripts" / script)


def sources_of(character):
    """The files that a character is made from; none for a body that is described."""
    file = PREPARED[character]["file"]
    return files_of(file) if file else []


def members_of(scene):
    """The characters of a scene, each once."""
    return list(dict.fromkeys(person["character"] for person in SCENES[scene]["people"]))


def of_members(scene, name):
    """That file of each of a scene's characters."""
    return [f"{RESULTS}/{member}/{name}" for member in members_of(scene)]


def view(name):
    """The pattern of a file of one view."""
    return f"{RESULTS}/{{character}}/{{camera_angle}}/{name}"


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


def everything(wildcards):
    """All files that a complete run makes, also those that only others are made of: what is deleted is made again."""
    of_video = ["tracks.parquet", "people.parquet", "tracking.json", "video.json", "overlay.mp4"]
    of_videos = [file for name in of_video for file in each_video(name)]
    if not CHARACTERS:
        return of_videos
    of_view = ["camera.json", "frames", "render.json", "ground_truth.parquet", "boxes.parquet", "tracks.parquet"]
    of_view += ["people.parquet", "tracking.json", "validation.json", "joints.parquet", "overlay.mp4"]
    return [
        *[file for name in of_view for file in all_views(name)],
        *each_character("ground_truth_check.json"),
        *each_character("rig_bias.json"),
        *each_character("fused.parquet"),
        *each_character("fusion.json"),
        *[f"{RESULTS}/review/{character}_fused.svg" for character in CHARACTERS],
        *all_views("repaired.parquet"),
        *[f"{RESULTS}/review/{character}.png" for character in CHARACTERS],
        f"{RESULTS}/dataset/summary.parquet",
        f"{RESULTS}/dataset/summary.csv",
        f"{RESULTS}/dataset/by_azimuth.parquet",
        f"{RESULTS}/dataset/by_joint.parquet",
        f"{RESULTS}/review/error_by_azimuth.svg",
        f"{RESULTS}/review/error_by_joint.svg",
        *of_videos,
    ]
