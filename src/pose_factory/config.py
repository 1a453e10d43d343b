"""The config: checked against its schema, defaults filled in, every mistake told in one sentence.

This runs each time Snakemake starts, so it imports nothing heavy.
"""

import difflib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema

from pose_factory.errors import PoseFactoryError
from pose_factory.export.splits import SPLITS, assign
from pose_factory.sources import MOTION_SUFFIXES, SUFFIXES, motion_of
from pose_factory.variation import IMAGES, PANORAMAS, images_in

SCHEMA_PATH = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "config.schema.json"

_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "empty",
}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
_NAME_RULE = "use at most 64 letters, digits, '_' and '-' ('dataset', 'export', 'review' and 'videos' are taken)"
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv")

Problem = tuple[tuple, str]  # the path of keys and indices in the config, and the sentence without its full stop


def load(config: dict, root: Path, all_here: bool = True) -> dict:
    """The config of a run: validated, with every default filled in and only what is chosen of characters and videos.

    Relative files are looked for in the folder `root`; unless they are `all_here`, as where a job runs that needs but
    some, those that are missing are no problem. In the result `characters` maps each chosen name to
    {name, file (absolute path; of a `remote` one, where it is fetched to) or None, anny (full description) or None,
    motion ({file (absolute path), action}, as that of an anny body) or None,
    action, scale, yaw (degrees)} or, where it is a scene, to {name, people: [{character, from
    (metres)}]} with `to` (metres) and `facing` (degrees) of a person, `fps` and `frames` where they are set; `members`
    are the characters that are not chosen but stand in a chosen scene; `cameras` maps each camera angle's name to
    {name, azimuth, elevation (degrees), focal_length, sensor_width (mm), margin, resolution, framing}; `videos` maps
    each chosen name to its file's absolute path; `only` lists the chosen names; `variation.background` has `files`, the
    names of the images in its folder, too; `terms` has {source, licence, motion ({file (name), licence} or None)} of
    every character but scenes, and `splits` has train, val or test of every character; of all of them, chosen or not,
    so that a choice changes none. Raises PoseFactoryError for the mistake that comes first in the file, with the number
    of the others.
    """
    schema = json.loads(SCHEMA_PATH.read_text())
    problems = _schema_problems(config, schema) + list(_name_problems(config))
    problems += [*_character_problems(config, root, all_here), *(_video_problems(config, root) if all_here else [])]
    problems += [*_frames_problems(config), *_tracking_problems(config, schema), *_export_problems(config, schema)]
    if not problems:  # these look at settings together, which must each be well-formed
        problems += _variation_problems(_fill(config, schema, schema["$defs"]), schema, root, all_here)
    if problems:
        _, sentence = min(problems, key=lambda problem: _position(config, problem[0]))
        others = len(problems) - 1
        more = f" (and {others} more problem{'s' if others > 1 else ''})" if others else ""
        raise PoseFactoryError(f"Config: {sentence}{more}.")
    filled = _fill(config, schema, schema["$defs"])
    characters = filled["characters"]
    videos = filled["videos"]
    results = os.path.normpath(os.path.expanduser(filled["results"]))
    chosen = _chosen(config) or [*characters, *videos]
    members = [name for name in _with_members(characters, chosen) if name not in chosen]
    described = {name: _character(name, character, root, results) for name, character in characters.items()}
    terms = {name: _terms(character) for name, character in described.items() if "people" not in character}
    return {
        **filled,
        "results": results,
        "only": chosen,
        "characters": {name: described[name] for name in chosen if name in characters},
        "members": {name: described[name] for name in members},
        "videos": {name: str(_resolve(videos[name], root)) for name in chosen if name in videos},
        "cameras": _cameras(filled["cameras"], _angles(schema)),
        "variation": _variation(filled["variation"], root),
        "terms": terms,
        "splits": assign(described, filled["export"]["seed"], filled["export"]["shares"]),
    }


def _character(name: str, character: dict, root: Path, results: str) -> dict:
    if "people" in character:
        return {"name": name, **character}
    file = None
    if "file" in character:
        file = str(_resolve(character["file"], root))
    elif "remote" in character:
        file = f"{results}/{name}/source/{character['remote']}"
    character = {"name": name, "anny": None, **deepcopy(character), "file": file}
    if motion := motion_of(character):
        motion["file"] = str(_resolve(motion["file"], root))
    return character


def _terms(character: dict) -> dict:
    """Take out of a character what says where it and its motion come from, which nothing of it is made of."""
    motion = motion_of(character)
    of_motion = {"file": Path(motion["file"]).name, "licence": motion.pop("licence")} if motion else None
    return {"source": character.pop("source"), "licence": character.pop("licence"), "motion": of_motion}


def _angles(schema: dict) -> dict[str, float]:
    """The azimuths, degrees, of the eight names that angles can be listed by."""
    return schema["properties"]["cameras"]["properties"]["angles"]["default"]


def _cameras(cameras: dict, known: dict[str, float]) -> dict[str, dict]:
    angles = cameras["angles"]
    if isinstance(angles, list):
        angles = {name: float(known[name]) for name in angles}
    shared = {key: value for key, value in cameras.items() if key != "angles"}
    return {
        name: {"name": name, **shared, **(angle if isinstance(angle, dict) else {"azimuth": angle})}
        for name, angle in angles.items()
    }


def _variation(variation: dict, root: Path) -> dict:
    background = variation["background"]
    if "images" not in background["kinds"]:
        return {**variation, "background": {**background, "files": []}}
    folder = str(_resolve(background["folder"], root))
    return {**variation, "background": {**background, "folder": folder, "files": images_in(folder)}}


def _resolve(file: str, root: Path) -> Path:
    return Path(os.path.abspath(root / os.path.expanduser(file)))


def _chosen(config: dict) -> list:
    only = config.get("only", [])
    names = [only] if isinstance(only, str) else only if isinstance(only, list) else []
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _with_members(characters: dict, names: Iterable[str]) -> list[str]:
    """The `names`, and the characters that stand in those of them that are scenes."""
    members = [member for name in names for _, member in _people(characters.get(name))]
    return list(dict.fromkeys([*names, *members]))


def _people(character: Any) -> Iterator[tuple[int, str]]:
    """The index and character of each person of a scene, as far as it is well-formed; nobody of other characters."""
    people = character.get("people") if isinstance(character, dict) else None
    for index, person in enumerate(people if isinstance(people, list) else []):
        if isinstance(person, dict) and isinstance(person.get("character"), str):
            yield index, person["character"]


def _fill(value: Any, schema: dict, definitions: dict) -> Any:
    """`value` with the schema's defaults, its keys in the schema's order, and one Python type per kind of number."""
    schema = _dereference(schema, definitions)
    if "else" in schema:
        branch = "then" if all(key in value for key in schema["if"]["required"]) else "else"
        schema = _dereference(schema[branch], definitions)
    types = schema.get("type", [])
    if isinstance(value, dict):
        known = {key: _dereference(item, definitions) for key, item in schema.get("properties", {}).items()}
        pattern = next(iter(schema.get("patternProperties", {}).values()), {})
        defaults = {key: deepcopy(item["default"]) for key, item in known.items() if "default" in item}
        ordered = {key: value.get(key, defaults.get(key)) for key in known if key in value or key in defaults}
        return {key: _fill(item, known.get(key, pattern), definitions) for key, item in {**ordered, **value}.items()}
    if isinstance(value, list):
        return [_fill(item, schema.get("items", {}), definitions) for item in value]
    if _is_number(value) and "number" in types:
        return float(value)
    return int(value) if _is_number(value) and "integer" in types else value


def _dereference(schema: dict, definitions: dict) -> dict:
    if "$ref" not in schema:
        return schema
    return {**definitions[schema["$ref"].removeprefix("#/$defs/")], **schema}


# Finding the problems


def _name_problems(config: dict) -> Iterator[Problem]:
    """Names that only others show to be wrong. As with all that a schema cannot see, the config may be of any shape:
    what is malformed is the schema's to report."""
    angles = _inside(config, ("cameras", "angles"))
    angles = [name for name in angles if isinstance(name, str)] if isinstance(angles, dict) else []
    for index, name in enumerate(angles):
        if name.lower() in [other.lower() for other in angles[:index]]:
            path = ("cameras", "angles", name)
            yield path, f"{_dotted(path)} differs from another angle only in upper and lower case"
    only = config.get("only", [])
    sections = {section: config.get(section, {}) for section in ("characters", "videos")}
    if not all(isinstance(named, dict) for named in sections.values()) or not isinstance(only, list | str):
        return
    names = [(section, name) for section, named in sections.items() for name in named if isinstance(name, str)]
    # results/ada and results/Ada are one folder on the file systems of macOS and Windows
    for index, (section, name) in enumerate(names):
        earlier = [other for _, other in names[:index]]
        if name in earlier:
            yield (section, name), f"{section}.{name} has the name of a character; give it another"
        elif name.lower() in [other.lower() for other in earlier]:
            yield (section, name), f"{section}.{name} differs from another name only in upper and lower case"
    for index, name in enumerate([only] if isinstance(only, str) else only):
        valid = [known for _, known in names]
        if isinstance(name, str) and name not in valid:
            path, what = ("only",) if isinstance(only, str) else ("only", index), "not a character or a video"
            yield path, f"{_dotted(path)} names '{name}', which is {what}; {_nearest(name, valid)}"


def _video_problems(config: dict, root: Path) -> Iterator[Problem]:
    videos, chosen = config.get("videos"), _chosen(config)
    for name, file in videos.items() if isinstance(videos, dict) else ():
        if isinstance(file, str) and file and (not chosen or name in chosen):
            yield from _file_problems(("videos", name), file, root, _VIDEO_SUFFIXES)


def _character_problems(config: dict, root: Path, all_here: bool) -> Iterator[Problem]:
    characters = config.get("characters")
    if not isinstance(characters, dict):
        return
    names = [name for name in characters if isinstance(name, str)]
    scenes = [name for name in names if isinstance(characters[name], dict) and "people" in characters[name]]
    alone = [name for name in names if name not in scenes]
    needed = _with_members(characters, _chosen(config) or names)
    for name, character in characters.items():
        for index, member in _people(character):
            path = ("characters", name, "people", index, "character")
            if member in scenes:
                yield path, f"{_dotted(path)} is '{member}', which is a scene itself; name the characters in it"
            elif member not in names:
                advice = _nearest(member, alone) if alone else "add it beside the scene"
                yield path, f"{_dotted(path)} is '{member}', which is not a character; {advice}"
        file = character.get("file") if isinstance(character, dict) else None
        if isinstance(file, str) and file and name in needed and all_here:
            yield from _file_problems(("characters", name, "file"), file, root, SUFFIXES)
        for keys in (("motion", "file"), ("anny", "motion", "file")):
            motion = _inside(character, keys)
            if isinstance(motion, str) and motion and name in needed and all_here:
                yield from _file_problems(("characters", name, *keys), motion, root, MOTION_SUFFIXES)
        if _inside(character, ("motion", "file")) and character.get("action"):
            path = ("characters", name, "action")
            yield path, f"{_dotted(path)} names the file's own motion, but `motion` another; remove one of them"
        remote = character.get("remote") if isinstance(character, dict) else None
        if isinstance(remote, str) and remote and name in needed:
            yield from _remote_problems(("characters", name, "remote"), remote, config.get("storage"))


def _inside(value: Any, keys: Iterable[str]) -> Any:
    """What a mapping has under these keys, one inside the other; None where it is not of that shape."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _frames_problems(config: dict) -> Iterator[Problem]:
    frames = ("render", "frames")
    first, last = (_inside(config, (*frames, end)) for end in ("first", "last"))
    if _is_number(first) and _is_number(last) and first > last:
        yield frames, f"{_dotted(frames)} has its first, {first}, above its last, {last}; swap them"


def _tracking_problems(config: dict, schema: dict) -> Iterator[Problem]:
    match _fill(config.get("tracking"), schema["properties"]["tracking"], schema["$defs"]):
        case {"mode": "causal", "smoothing": {"filter": "savitzky_golay" as name}}:
            path = ("tracking", "smoothing", "filter")
            advice = "with tracking.mode causal use one_euro or none"
            yield path, f"{_dotted(path)} is {name}, which looks into the future; {advice}"


def _variation_problems(filled: dict, schema: dict, root: Path, all_here: bool) -> Iterator[Problem]:
    """What is wrong with a variation whose settings are each well-formed, as are those of cameras and render."""
    section, variation = schema["properties"]["variation"], filled["variation"]
    for path, (low, high) in _ranges(variation, section, schema["$defs"]):
        if low > high:
            yield path, f"{_dotted(path)} is {_shown([low, high])}, whose low end is above its high end; swap them"
    if filled["render"]["engine"] == "workbench":
        off = _fill({}, section, schema["$defs"])
        for name in ("light", "background", "ground", "motion_blur"):
            if variation[name] != off[name]:
                advice = "take it out, or use cycles or eevee"
                yield ("variation", name), f"variation.{name} is nothing that render.engine workbench shows; {advice}"
    if "images" in variation["background"]["kinds"]:
        yield from _folder_problems(variation["background"]["folder"], root, all_here)
    low, high = variation["camera"]["elevation"]
    for name, angle in _cameras(filled["cameras"], _angles(schema)).items():
        if not -90 < angle["elevation"] + low <= angle["elevation"] + high < 90:
            told = f"adds {_shown([low, high])} to {_shown(angle['elevation'])} of the angle {name}"
            advice = "keep their sum above -90 and below 90"
            yield ("variation", "camera", "elevation"), f"variation.camera.elevation {told}; {advice}"
            break


def _ranges(value: dict, schema: dict, definitions: dict, path: tuple = ("variation",)) -> Iterator[tuple[tuple, list]]:
    """The path and value of each [low, high]."""
    for name, inner in schema["properties"].items():
        inner = _dereference(inner, definitions)
        if "properties" in inner:
            yield from _ranges(value[name], inner, definitions, (*path, name))
        elif inner.get("maxItems") == 2:
            yield (*path, name), value[name]


def _folder_problems(folder: str, root: Path, all_here: bool) -> Iterator[Problem]:
    path, resolved = ("variation", "background", "folder"), _resolve(folder, root)
    key = _dotted(path)
    if not folder:
        yield path, f"{key} is empty, but variation.background.kinds has images; name a folder of them"
    elif all_here and not os.path.isdir(resolved):
        yield path, f"{key} is a folder that does not exist: {resolved}"
    elif all_here and not images_in(str(resolved)):
        yield path, f"{key} is {resolved}, which has no {', '.join((*IMAGES, *PANORAMAS))} in it; put some there"
    elif all_here:
        files = (str(resolved / name) for name in images_in(str(resolved)))
        if braced := next((file for file in files if "{" in file or "}" in file), None):
            yield path, f"{key} has {braced}, whose braces Snakemake takes for a wildcard; rename it"


def _export_problems(config: dict, schema: dict) -> Iterator[Problem]:
    match _fill(config.get("export"), schema["properties"]["export"], schema["$defs"]):
        case {"shares": {"train": float(train), "val": float(val), "test": float(test), **unknown}} if not unknown:
            possible = min(train, val, test) >= 0 and max(train, val, test) <= 1
            if possible and abs((total := train + val + test) - 1) > 1e-6:
                path = ("export", "shares")
                yield path, f"{_dotted(path)} adds up to {total:g} over {', '.join(SPLITS)}, but must add up to 1"


def _remote_problems(path: tuple, remote: str, storage: Any) -> Iterator[Problem]:
    if not storage or isinstance(storage, dict) and not storage.get("remote"):
        advice = "set that, to NAME:BUCKET/FOLDER such as r2:my-bucket/pose-factory"
        yield path, f"{_dotted(path)} is a path below storage.remote, which is empty; {advice}"
    if (suffix := Path(remote).suffix.lower()) not in SUFFIXES:
        yield path, f"{_dotted(path)} is '{remote}', whose suffix is not supported; {_nearest(suffix, SUFFIXES)}"


def _file_problems(path: tuple, file: str, root: Path, suffixes: Iterable[str]) -> Iterator[Problem]:
    key, resolved = _dotted(path), _resolve(file, root)
    suffix = resolved.suffix.lower()
    if suffix not in suffixes:
        yield path, f"{key} is '{file}', whose suffix is not supported; {_nearest(suffix, suffixes)}"
    elif os.path.isdir(resolved):
        yield path, f"{key} is the folder {resolved}; name a file in it"
    elif not os.path.isfile(resolved):
        siblings = [item.name for item in resolved.parent.glob("*") if item.suffix.lower() in suffixes]
        matches = difflib.get_close_matches(resolved.name, siblings, n=1)
        hint = f"; the nearest there is '{matches[0]}'" if matches else ""
        yield path, f"{key} is a file that does not exist: {resolved}{hint}"


def _schema_problems(config: dict, schema: dict) -> list[Problem]:
    problems = list(_key_problems(config))
    if problems:
        return problems  # jsonschema stumbles over keys that are not text
    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("number", lambda _, value: _is_number(value))
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=checker)
    return [problem for error in validator(schema).iter_errors(config) for problem in _tell(error)]


def _key_problems(value: Any, path: tuple = ()) -> Iterator[Problem]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(value, dict) and not isinstance(key, str):
            yield (*path, key), f"the key {key!r} in {_dotted(path) or 'the config'} is not text; put it in quotes"
        yield from _key_problems(item, (*path, key))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


# Telling the problems


def _tell(error: jsonschema.ValidationError) -> Iterator[Problem]:
    """The problems in a schema error, which may name several keys at once."""
    path, schema, value = tuple(error.absolute_path), error.schema, error.instance
    key, is_now = _dotted(path) or "the config", f"is {_shown(value)}"
    about = f" ({schema['description']})" if "description" in schema else ""
    match error.validator:
        case "additionalProperties":
            yield from _unknown_keys(path, value, schema)
        case "required":
            missing = next(name for name in error.validator_value if name not in value)
            yield (*path, missing), f"{_dotted((*path, missing))} is missing"
        case "anyOf":
            setting = error.schema_path[-2]  # one that wants a file: [..., dependentSchemas, setting, anyOf]
            yield (*path, setting), f"{_dotted((*path, setting))} is for characters from files; remove it"
        case "oneOf":
            if isinstance(value, dict):  # anything else is a wrong type already
                given = [name for name in ("file", "remote", "anny") if name in value]
                fault = f"has both {given[0]} and {given[1]}" if given else "has none of file, remote, anny and people"
                yield path, f"{key} {fault}; give it one of them"
        case "type":
            types = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
            hint = _as_yaml_number(value) if {"number", "integer"} & set(types) else ""
            yield path, f"{key} {is_now}, but must be {' or '.join(_TYPE_NAMES[name] for name in types)}{about}{hint}"
        case "enum":
            yield path, f"{key} {is_now}; {_nearest(value, error.validator_value)}"
        case "minItems" | "maxItems" if "maxItems" in schema:
            yield path, f"{key} {is_now}, but must have {schema['maxItems']} values{about}"
        case "minItems" | "minProperties":
            yield path, f"{key} is empty; name at least one"
        case "uniqueItems":
            yield path, f"{key} names one twice"
        case "pattern":
            yield path, f"{key} {is_now}, but must be {schema['description']}"
        case _:
            limits = " and ".join(text.format(schema[name]) for name, text in _LIMITS.items() if name in schema)
            yield path, f"{key} {is_now}, but must be {limits}{about}"


def _unknown_keys(path: tuple, value: dict, schema: dict) -> Iterator[Problem]:
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in value:
        if name not in known and not any(re.search(pattern, name) for pattern in patterns):
            key = _dotted((*path, name))
            if known:
                yield (*path, name), f"{key} is not a known key; {_nearest(name, known)}"
            else:
                yield (*path, name), f"{key} is not a valid name; {_NAME_RULE}"


def _as_yaml_number(value: Any) -> str:
    """The advice for a number like 1e-9, which YAML takes for text as it has no point or its exponent no sign."""
    number = re.fullmatch(r"([-+]?[0-9]+)(\.[0-9]*)?[eE]([-+]?)([0-9]+)", value) if isinstance(value, str) else None
    if not number:
        return ""
    whole, fraction, sign, power = number.groups()
    return f"; write it as {whole}{fraction or '.0'}e{sign or '+'}{power}"


def _nearest(value: Any, valid: Iterable[str]) -> str:
    """The advice that follows a wrong key or value: the valid one most like it, else all of them if they are few."""
    valid = list(valid)
    matches = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.6 if len(valid) <= 30 else 0.0)
    return f"the nearest valid one is '{matches[0]}'" if matches else f"use one of {', '.join(valid)}"


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    return f"'{_printable(value)}'" if isinstance(value, str) else json.dumps(value, default=str)


def _dotted(path: tuple) -> str:
    """('cameras', 'resolution', 0) as cameras.resolution[0]."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{_printable(str(key))}" for key in path).removeprefix(".")


def _printable(text: str) -> str:
    """With line ends and their like as \\n, as a sentence is one line."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _position(config: dict, path: tuple) -> list[int]:
    """Where in the file a path is, for sorting; a key that is missing comes after those that are there."""
    position, value = [], config
    for key in path:
        if isinstance(value, dict) and key not in value:
            return [*position, len(value)]
        position.append(list(value).index(key) if isinstance(value, dict) else key)
        value = value[key]
    return position
