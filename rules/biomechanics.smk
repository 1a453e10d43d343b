# The exact motion of each person, whatever is filmed of it: read off Blender once per character, then written for other
# programs, `snakemake --cores 1 results/export/motion/ada.bvh` or .trc, .c3d, .body.npz; ada.1.bvh is person 1 of a scene.


rule record_motion:
    input:
        blend=rules.prepare.output.blend,
        facts=rules.prepare.output.facts,
    output:
        f"{RESULTS}/{{character}}/motion.npz",
    log:
        f"{RESULTS}/{{character}}/logs/record_motion.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/record_motion.tsv"
    conda:
        "../envs/blender.yaml"
    params:
        code=code("record_motion.py"),
    script:
        "../workflow/scripts/record_motion.py"


rule export_person:
    input:
        rules.record_motion.output[0],
    output:
        f"{RESULTS}/export/motion/{{character}}{{person}}.{{suffix}}",
    log:
        f"{RESULTS}/export/logs/{{character}}{{person}}.{{suffix}}.log",
    wildcard_constraints:  # not among the output's, whose "?" a storage provider takes for a query
        person="(\\.[0-9]+)?",
        suffix="|".join(re.escape(suffix) for suffix in FORMS.values()),
    localrule: True  # done in a second
    conda:
        "../envs/analysis.yaml"
    params:
        anny=lambda wildcards: described(wildcards.character, wildcards.person),
        code=code("export_person.py"),
    script:
        "../workflow/scripts/export_person.py"
