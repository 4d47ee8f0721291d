#!/bin/bash
# What a container runs, under tini: the paper study, or the command that it was given.
#
# A container that starts as root goes on as the owner of /workspace, so that files written
# belong to the caller; one that was started with --user stays who it is.
set -euo pipefail
image=/opt/compression-order

fail() {
    echo "error: $*" >&2
    exit 1
}

if [ "$(id -u)" -eq 0 ] && [ -z "${ENTERED:-}" ]; then
    owner=$(stat --format=%u /workspace) group=$(stat --format=%g /workspace)
    export ENTERED=1
    # a root-owned folder is root's; with a rootless engine, root in here is the caller
    [ "$owner" -eq 0 ] || exec setpriv --reuid="$owner" --regid="$group" --clear-groups \
        --no-new-privs -- "$0" "$@"
fi
unset ENTERED
# no line of /etc/passwd need know this user; torch asks for a name all the same
export USER=${USER:-$(id --user --name 2>/dev/null || true)}
export LOGNAME=$USER

# The workflow runs in the checkout that is mounted. An empty folder gets the image's sources.
need_sources() {
    [ ! -e /workspace/Snakefile ] || return 0
    local mount='-v "$PWD:/workspace"'
    grep --quiet ' /workspace ' /proc/self/mountinfo ||
        fail "nothing is mounted at /workspace, so results would go with the container;" \
            "start it in a checkout or an empty folder with $mount"
    [ -z "$(ls --almost-all /workspace)" ] ||
        fail "the folder mounted at /workspace has files but no Snakefile;" \
            "start it in a checkout or an empty folder with $mount"
    cp --recursive "$image/." /workspace || fail "no file can be written to /workspace"
    echo "copied the image's sources to /workspace" >&2
}

if [ $# -eq 0 ]; then
    need_sources
    study=${STUDY:-studies/qwen2.5-3b.yaml}
    gpus=$(python "$image/docker/gpus.py" "$study")
    set -- snakemake results/table.csv --cores all --configfile "$study" \
        --resources "mem_mb=$(python "$image/docker/memory_mb.py")" "gpu=$gpus"
elif [ "$1" = snakemake ]; then
    need_sources
fi
exec "$@"
