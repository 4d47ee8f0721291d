"""Does the order in which a language model is compressed matter, and by how much?

    snakemake --cores 1 results/table.csv                                  the default study
    snakemake --cores 1 results/table.csv --configfile studies/smoke.yaml  another study

A study (one YAML file) names stages and pipelines. Every prefix of a pipeline is a
checkpoint, every checkpoint is evaluated, and one table compares them.
"""

from snakemake.utils import min_version

min_version("9.27")

# a study file is whole: `--configfile` replaces the default study, it is not laid over it
if not workflow.config_settings.configfiles:

    configfile: workflow.source_path("config.yaml")


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/prepare.smk"
include: "rules/teach.smk"
include: "rules/compress.smk"
include: "rules/measure.smk"
include: "rules/judge.smk"
include: "rules/table.smk"
include: "rules/serving.smk"
include: "rules/commutators.smk"


rule all:
    """The configured study's table."""
    default_target: True
    input:
        "results/table.csv",
