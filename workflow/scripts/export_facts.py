"""The labels of all views of one character -> facts.json: what the dataset's card tells of it."""

from pose_factory.export.card import facts
from pose_factory.export.folders import withdraw
from pose_factory.export.views import read_views
from pose_factory.files import read_json, write_json
from pose_factory.job import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    views = read_views(snakemake.wildcards.character, params.angles, given)
    told = facts(read_json(given.character), views, map(read_json, given.rendered), params.bodies, params.terms)
    withdraw(params.gathered)
    write_json(snakemake.output[0], told)
