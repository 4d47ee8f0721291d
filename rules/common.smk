"""The configured study, checked before anything runs, and helper functions of the rules."""

import re
import shlex
import sys
from functools import cache
from pathlib import Path

# use the sources beside the rules; a workflow read from a remote host uses those of pip
sys.path.insert(0, str(Path(str(workflow.current_basedir)).resolve().parent / "src"))

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.common.files import WORKFLOW, of_workflow
from compression_order.study import hub_tasks
from compression_order.study import parse as study_file
from compression_order.workflow import environments, resources, slurm
from compression_order.workflow import sources as watched
from snakemake.exceptions import WorkflowError

if workflow.modifier.path_modifier.prefix:
    sys.exit(
        "error: module: prefix: results lie in results/<study>/ of the working directory; "
        "leave prefix out, and run a second study in a folder of its own"
    )
try:
    STUDY = study_file.build(
        config, " + ".join(map(str, workflow.configfiles)), WORKFLOW
    )
    environments.require(STUDY.stages.values(), WORKFLOW, judge=STUDY.judge is not None)
    # resources: asked("NAME") gives memory and time of the planned job of that name
    asked = resources.asker(STUDY, WORKFLOW)
except HarnessError as fault:
    sys.exit(f"error: {fault}")


wildcard_constraints:
    study=re.escape(STUDY.name),
    seed="|".join(map(str, STUDY.seeds)),
    pipeline=r"[^/]+",


# one JSON file of each kind per checkpoint
SCORES = ["perplexity", "fidelity", "lm_eval", "size"]
if STUDY.judge:
    SCORES.append("judge")
# the environment: another library version may give other numbers
LOCK = of_workflow("envs/core.lock")
PUBLISHED = of_workflow("published/published.csv")
BASE = f"results/{STUDY.name}/seed{STUDY.seeds[0]}/checkpoints/base"
# a study on a GPU waits for this file before it fetches anything
DEVICE = [ancient(f"results/{STUDY.name}/device.json")] if STUDY.gpus else []
# `compute: auto`: what it came to is an input of whatever computes
ARITHMETIC = [STUDY.lock] if STUDY.file.compute == "auto" else []


def one_of(names):
    """A wildcard constraint: one of these names; it matches nothing if there are none."""
    return "|".join(map(re.escape, sorted(names))) or r"(?!)"


def folder_of(name):
    """Params function: the folder of the input of that name."""
    return lambda wildcards, input: str(Path(input[name]).parent)


def stage_devices(wildcards):
    """The devices, and processes, that a pipeline's last stage runs on."""
    return STUDY.devices(orderings.last(wildcards.pipeline))


def every_core(wildcards):
    """All cores of this run, so that no job runs beside this one; on a cluster, one core."""
    try:
        return workflow.cores
    except WorkflowError:  # jobs go to a cluster: there is no number of local cores
        return 1


def sources_of(script):
    """The digest of the sources that determine a script's result."""
    return watched.digest(watched.of_script(script))


def stage_sources(wildcards):
    """The digest of the sources that determine a stage's result."""
    return watched.digest(watched.of_stage(STUDY, wildcards.pipeline))


def sources_of_reader(script, modules=()):
    """Params function: the same of a script that loads the checkpoint of a pipeline."""
    return lambda w: watched.digest(
        watched.of_reader(STUDY, w.pipeline, script, modules)
    )


def stage_script(wildcards):
    """The script of a pipeline's last stage."""
    kind = STUDY.stages[orderings.last(wildcards.pipeline)].kind
    return of_workflow(f"src/{kind}.py")


def stage_method(wildcards):
    """The method of a pipeline's last stage."""
    return STUDY.stages[orderings.last(wildcards.pipeline)].method


def stage_lock(wildcards):
    """The lock of the environment that the last stage's method runs in."""
    return environments.lock(stage_method(wildcards))


def teacher_input(wildcards):
    """The teacher's outputs, where the last stage is a distillation."""
    token = orderings.last(wildcards.pipeline)
    if token not in STUDY.of_kind("distill"):
        return {}
    return {"teacher": STUDY.teacher_outputs(token, wildcards.seed)}


def caches(of_each_seed):
    """The tokens whose teacher's outputs lie in a folder of each seed, or of the study."""
    tokens = map(STUDY.cache_token, STUDY.of_kind("distill"))
    return [token for token in tokens if STUDY.of_each_seed(token) == of_each_seed]


def seed_of(wildcards):
    """The seed of a job; the first where it serves all of them."""
    return wildcards.get("seed", STUDY.seeds[0])


def teacher_weights(wildcards):
    """The teacher's own model, where the uncompressed model does not teach."""
    folder = STUDY.teacher_folder(wildcards.token, seed_of(wildcards))
    if folder is None:
        return {}
    manifest = "checkpoint" if wildcards.token in STUDY.taught else "asset"
    weights = ancient(f"{folder}/model.safetensors")
    return {"its_manifest": f"{folder}/{manifest}.json", "its_model": weights}


def teacher_flags(wildcards):
    """Everything that determines a teacher's outputs, in one list."""
    return STUDY.teacher_flags(wildcards.token, seed_of(wildcards))


def teacher_sources(wildcards):
    """The digest of the sources that determine a teacher's outputs."""
    pipeline = STUDY.taught.get(wildcards.token, orderings.BASE)
    return watched.digest(watched.of_reader(STUDY, pipeline, "teach.py"))


def parent_folder(wildcards):
    """The folder of a pipeline's parent."""
    folder = f"results/{STUDY.name}/seed{wildcards.seed}/checkpoints"
    return f"{folder}/{orderings.parent(wildcards.pipeline)}"


def parent_manifest(wildcards):
    """The parent's manifest: small, compared by its bytes."""
    return f"{parent_folder(wildcards)}/checkpoint.json"


def parent_weights(wildcards):
    """The parent's weights: the manifest tells whether they changed."""
    return ancient(f"{parent_folder(wildcards)}/model.safetensors")


def stage_flags(wildcards):
    """Everything that determines a stage's result, in one list."""
    token = orderings.last(wildcards.pipeline)
    teacher = [
        f"--teacher-outputs={path}" for path in teacher_input(wildcards).values()
    ]
    return sorted([*STUDY.flags(token), *teacher])


def every(*patterns):
    """Input function: paths of every checkpoint and seed, such as "costs/{pipeline}/a.json"."""
    rows = [p for p in STUDY.plan.rows if p not in STUDY.plan.refused]
    paths = [f"results/{STUDY.name}/seed{{seed}}/{pattern}" for pattern in patterns]
    return lambda wildcards: expand(paths, seed=STUDY.seeds, pipeline=rows)


@cache
def swaps():
    """Every two pipelines of the study that differ by two neighbouring stages alone."""
    return orderings.swaps(p for p in STUDY.plan.rows if p not in STUDY.plan.refused)


def of_swaps(*paths):
    """Input function: these paths of every swap and seed."""
    return lambda wildcards: list(
        dict.fromkeys(
            f"results/{STUDY.name}/seed{seed}/"
            + path.format(first=first, second=second)
            for path in paths
            for first, second in swaps()
            for seed in STUDY.seeds
        )
    )
