"""The comparison table, what its numbers mean, and what the terminal shows at the end."""


rule table:
    """One row a pipeline, with scores and their uncertainty; and what each stage changed."""
    input:
        manifests=every("checkpoints/{pipeline}/checkpoint.json"),
        evaluations=every(*(f"evaluations/{{pipeline}}/{s}.json" for s in SCORES)),
        published=PUBLISHED,
        script=of_workflow("src/table.py"),
    output:
        csv="results/{study}/table.csv",
        markdown="results/{study}/table.md",
        changes="results/{study}/changes.csv",
    log:
        "logs/{study}/table.log",
    resources:
        **asked(),
    params:
        flags=[*STUDY.table_flags(), *STUDY.row_flags()],
        sources=sources_of("table.py"),
    shell:
        r"""
        python {input.script:q} \
            {params.flags:q} \
            --csv {output.csv:q} \
            --markdown {output.markdown:q} \
            --changes {output.changes:q} \
            2>&1 | tee {log:q}
        """


rule analysis:
    """Interpretation: every comparison with its interval and verdict, also in sentences."""
    input:
        manifests=every("checkpoints/{pipeline}/checkpoint.json"),
        evaluations=every(*(f"evaluations/{{pipeline}}/{s}.json" for s in SCORES)),
        published=PUBLISHED,
        script=of_workflow("src/findings.py"),
    output:
        json="results/{study}/analysis.json",
        markdown="results/{study}/findings.md",
    log:
        "logs/{study}/analysis.log",
    resources:
        **asked(),
    params:
        flags=[
            *STUDY.table_flags(),
            *STUDY.row_flags(),
            *STUDY.comparison_flags(),
        ],
        sources=sources_of("findings.py"),
    shell:
        r"""
        python {input.script:q} \
            {params.flags:q} \
            --json {output.json:q} \
            --markdown {output.markdown:q} \
            2>&1 | tee {log:q}
        """


rule main_table:
    """Copy the configured study's table and findings to the place common to all studies."""
    input:
        csv=f"results/{STUDY.name}/table.csv",
        markdown=f"results/{STUDY.name}/table.md",
        findings=f"results/{STUDY.name}/findings.md",
    output:
        csv="results/table.csv",
        markdown="results/table.md",
        findings="results/findings.md",
    log:
        f"logs/{STUDY.name}/main_table.log",
    localrule: True
    shell:
        r"""
        cp --verbose {input.csv:q} {output.csv:q} | tee {log:q}
        cp --verbose {input.markdown:q} {output.markdown:q} | tee --append {log:q}
        cp --verbose {input.findings:q} {output.findings:q} | tee --append {log:q}
        """


onstart:
    try:
        slurm.require_none(Path.cwd())
    except HarnessError as fault:
        sys.exit(f"error: {fault}")


onsuccess:
    made = f"results/{STUDY.name}/table.csv"
    if Path(made).exists():
        src = of_workflow("src")
        told = " ".join(map(shlex.quote, [*STUDY.table_flags(), f"--table={made}"]))
        # on a login node the `python` at hand has no libraries; the jobs' environment does
        shell(
            'PATH="${{CORE_ENV:-.venv}}/bin:$PATH" PYTHONPATH={src:q} '
            "python -m compression_order.commands summary {told}"
        )
