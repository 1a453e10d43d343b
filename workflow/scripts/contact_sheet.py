"""The middle frame of every view of one character -> its contact sheet."""

from pose_factory.files import read_json, read_table
from pose_factory.job import job
from pose_factory.review.sheet import contact_sheet, middle_view, write_sheet

with job(snakemake):
    views = []
    given = snakemake.input
    rows = (snakemake.params.angles, given.frames, given.facts, given.labels, given.tracks, given.validations)
    for angle, frames, facts, labels, tracks, validation in zip(*rows, strict=True):
        scores = read_json(validation)
        scores |= scores["as_labelled"]
        rendered = read_json(facts)["frames"]
        views.append(middle_view(angle, frames, rendered, read_table(labels), read_table(tracks), scores))
    write_sheet(snakemake.output[0], contact_sheet(snakemake.wildcards.character, views))
