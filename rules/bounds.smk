# Once per character, for all cameras present and future: the convex hull of everything it sweeps.


rule bounds:
    input:
        blend=rules.prepare.output.blend,
        facts=rules.prepare.output.facts,
    output:
        f"{RESULTS}/{{character}}/bounds.json",
    log:
        f"{RESULTS}/{{character}}/logs/bounds.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/bounds.tsv"
    conda:
        "../envs/blender.yaml"
    params:
        code=code("bounds.py"),
    script:
        "../workflow/scripts/bounds.py"
