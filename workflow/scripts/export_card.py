"""What the shards tell of themselves -> the dataset's card; shards that are no longer part of it are deleted."""

from pathlib import Path

from pose_factory.export.card import card
from pose_factory.export.folders import TREES, remove_motions, remove_others, size_of
from pose_factory.files import atomic, read_json
from pose_factory.job import job

with job(snakemake):
    path, params = Path(snakemake.output[0]), snakemake.params
    splits = dict(params.splits)
    for tree in ["shards", *[tree for name in params.formats for tree in TREES[name]]]:
        folder = path.parent / tree
        for gone in remove_others(folder, [folder / split / name for name, split in splits.items()]):
            print(f"{gone} is no longer part of the dataset: deleted.")
    for gone in remove_motions(path.parent / "motion", splits):
        print(f"{gone} is no longer part of the dataset: deleted.")
    told = dict(zip(splits, map(read_json, snakemake.input.facts), strict=True))
    sizes = {name: size_of(path.parent / name) for name in [*params.formats, *params.motions]}
    with atomic(path) as temporary:
        temporary.write_text(card(told, splits, sizes, params.settings))
