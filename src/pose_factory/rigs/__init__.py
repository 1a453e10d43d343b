"""Which bone is which joint: a map per rig family (the JSON files beside this module), and finding the map that fits.

A map names, for each canonical joint, one or more bones in order of preference and the end of the bone where the joint
lies. A joint that a rig has no bone for is left out of its map: it is not annotated, never guessed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_json
from pose_factory.skeleton import JOINTS

REQUIRED: list[str] = [name for name in JOINTS if re.search("shoulder|elbow|wrist|hip|knee|ankle|pelvis|neck", name)]
ENDS = ("head", "tail")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
LIMBS = {"upper_arm": "shoulder", "forearm": "elbow", "hand": "wrist", "thigh": "hip", "shin": "knee", "foot": "ankle"}
"""The parts of a limb, and the joint that each begins at."""
CHAINS = ("pelvis", "trunk", "neck", "head") + tuple(
    f"{side}_{part}" for side in ("left", "right") for part in ("collar", *LIMBS, "toes", *FINGERS)
)
"""The parts of a body that bones turn."""

Bone = tuple[str, str]  # bone name, and its end where the joint lies


@dataclass(frozen=True)
class Bones:
    """For each joint, the bones that may carry it, best first; for the parts of the body that have other bones than the
    one at their joint, all of them, from the pelvis outwards."""

    joints: Mapping[str, Sequence[Bone]]
    chains: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Rig(Bones):
    """A rig family; `where` has what is otherwise in a rig that also has a bone of this name."""

    name: str
    about: str
    where: Mapping[str, Bones]


@dataclass(frozen=True)
class RigMatch:
    """A rig found in an armature: `joints` and `chains` name the armature's own bones; `prefix` is their common prefix.
    A part (one of CHAINS) without a bone is not in `chains`; the last bone of one is turned as the whole part is."""

    rig: str
    prefix: str
    joints: Mapping[str, Bone]
    chains: Mapping[str, Sequence[str]]


def detect(bone_names: Sequence[str], tails_trusted: bool = False) -> RigMatch:
    """The rig map that fits an armature: all REQUIRED joints found, then the most joints, then the shortest prefix.

    Case, separators (`.`, `-`, space, `_`), any common prefix (`mixamorig:`, `Armature|`) and, where nothing fits
    without, a number that a tool put behind the names (`.001`, `_07`) do not matter. `tails_trusted` says that bone
    tails are their author's, as in a .blend; FBX and glTF have none, so importers guess them and joints at tails stay
    not annotated.
    Raises PoseFactoryError if no map fits.
    """
    if not bone_names:
        raise PoseFactoryError(
            "The armature has no bones, so no rig can be found in it; export the character with its rig."
        )
    matches: list[RigMatch] = []
    for bones in (_index(bone_names), _index(bone_names, numbered=True)):
        matches += [match for rig in rigs() for match in _matches(rig, bones, tails_trusted)]
        fits = [match for match in matches if not _lacking(match)]
        if fits:
            return min(fits, key=lambda match: (-len(match.joints), len(match.prefix), match.rig))
    closest = min(matches, key=lambda match: (len(_lacking(match)), -len(match.joints)), default=None)
    lacking = (
        f"the closest, {closest.rig}, lacks {', '.join(_lacking(closest))}" if closest else "not one joint matches"
    )
    some = ", ".join([*bone_names[:3], "..."] if len(bone_names) > 3 else bone_names)
    raise PoseFactoryError(
        f"No rig map fits the {len(bone_names)} bones ({some}): {lacking}; "
        "add a map as a JSON file in src/pose_factory/rigs/ (see docs/rigs.md)."
    )


@cache
def rigs() -> tuple[Rig, ...]:
    """All rig maps, by name."""
    return tuple(load(path) for path in sorted(Path(__file__).parent.glob("*.json")))


def load(path: Path) -> Rig:
    """The rig map in a JSON file; raises PoseFactoryError if it is not a valid one."""
    try:
        data = read_json(path)
        where = {bone: Bones(*_bones(other)) for bone, other in data.get("where", {}).items()}
        rig = Rig(*_bones(data), data["name"], data["about"], where)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PoseFactoryError(f"Rig map {path} does not have the form told in docs/rigs.md ({error!r}).") from error
    faults = [f"{joint} is required" for joint in REQUIRED if not rig.joints.get(joint)]
    for bones in (rig, *rig.where.values()):
        faults += [f"{joint} is not a canonical joint" for joint in bones.joints if joint not in JOINTS]
        faults += [f"{part} is not a part of a body" for part in bones.chains if part not in CHAINS]
        ends = [bone for candidates in bones.joints.values() for bone in candidates]
        faults += [f"{bone} has no end {end!r}" for bone, end in ends if end not in ENDS]
    if rig.name != path.stem:
        faults.append(f"the name {rig.name!r} is not the file's")
    if faults:
        raise PoseFactoryError(f"Rig map {path} is not valid: {'; '.join(faults)} (see docs/rigs.md).")
    return rig


def _bones(data: Mapping) -> tuple[dict[str, list[Bone]], dict[str, list[str]]]:
    """The joints and chains of a map, or of one of its exceptions."""
    joints = {joint: [(bone["bone"], bone["end"]) for bone in bones] for joint, bones in data.get("joints", {}).items()}
    return joints, {part: [str(bone) for bone in bones] for part, bones in data.get("chains", {}).items()}


def _plain(name: str) -> str:
    """`name` in lower case with one kind of separator; as long as `name`, so that prefixes keep their length."""
    return "".join("_" if letter in ".- " else letter.lower()[0] for letter in name)


def _index(bone_names: Sequence[str], numbered: bool = False) -> dict[str, str]:
    """Actual bone name by plain name, and where `numbered` also by plain name without its last number."""
    index = {}
    for name in bone_names:
        index.setdefault(_plain(name), name)
    if numbered:
        for name in bone_names:
            index.setdefault(re.sub(r"_\d+$", "", _plain(name)), name)
    return index


def _matches(rig: Rig, bones: Mapping[str, str], tails_trusted: bool) -> Iterator[RigMatch]:
    """A match (not always with all joints) for each prefix under which some required joint has a bone."""
    wanted = {_plain(bone) for joint in REQUIRED for bone, _ in rig.joints[joint]}
    for prefix in sorted({name.removesuffix(bone) for name in bones for bone in wanted if name.endswith(bone)}):
        own, parts = dict(rig.joints), dict(rig.chains)
        for bone, other in rig.where.items():
            if prefix + _plain(bone) in bones:
                own |= other.joints
                parts |= other.chains
        joints = {}
        for joint, candidates in own.items():
            for bone, end in candidates:
                actual = bones.get(prefix + _plain(bone))
                if actual is not None and (end == "head" or tails_trusted):
                    joints[joint] = (actual, end)
                    break
        chains = {part: [bone] for part, bone in _parts_at_joints(joints)}
        for part, names in parts.items():
            if actual := [bones[prefix + _plain(name)] for name in names if prefix + _plain(name) in bones]:
                chains[part] = actual
        yield RigMatch(rig.name, joints[next(j for j in REQUIRED if j in joints)][0][: len(prefix)], joints, chains)


def _parts_at_joints(joints: Mapping[str, Bone]) -> Iterator[tuple[str, str]]:
    """The parts that begin at one of these joints, each with the bone whose head the joint is."""
    limbs = {f"{side}_{part}": f"{side}_{joint}" for part, joint in LIMBS.items() for side in ("left", "right")}
    others = {
        "pelvis": "pelvis",
        "trunk": "spine",
        "neck": "neck",
        "left_toes": "left_foot",
        "right_toes": "right_foot",
    }
    for part, joint in (limbs | others).items():
        if joints.get(joint, ("", ""))[1] == "head":
            yield part, joints[joint][0]


def _lacking(match: RigMatch) -> list[str]:
    return [joint for joint in REQUIRED if joint not in match.joints]
