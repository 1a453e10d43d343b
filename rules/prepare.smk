# Once per character: any source becomes a metric, upright character on the floor, with its own frame range.


rule prepare:
    input:
        lambda wildcards: CHARACTERS[wildcards.character]["file"] or [],
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
        code=code("prepare.py"),
    script:
        "../workflow/scripts/prepare.py"
