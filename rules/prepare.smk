# Once per character: any source becomes a metric, upright character on the floor, with its own frame range.


rule prepare:
    input:
        lambda wildcards: sources_of(wildcards.character),
    output:
        blend=f"{RESULTS}/{{character}}/character.blend",
        facts=f"{RESULTS}/{{character}}/character.json",
    log:
        f"{RESULTS}/{{character}}/logs/prepare.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/prepare.tsv"
    conda:
        "../envs/blender.yaml"
    params:
        source=lambda wildcards: CHARACTERS[wildcards.character],
        # A file replaced by an older one, as from a backup, is not newer than what was made of it.
        sizes=lambda wildcards: [os.path.getsize(file) for file in sources_of(wildcards.character)],
        code=code("prepare.py"),
    script:
        "../workflow/scripts/prepare.py"
