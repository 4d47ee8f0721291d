# Read by every job on its node, in the folder of the repository, before Snakemake starts there.
# Put a site's `module load ...` here.

# The environment that the stages run in: made once with `make env`, on a file system that all nodes
# see. CORE_ENV=/path/to/it says where, if not here.
CORE_ENV="${CORE_ENV:-$PWD/.venv}"
if [ ! -x "$CORE_ENV/bin/python" ]; then
    echo "error: $CORE_ENV/bin/python is not on the node $(hostname); make the core environment" \
        "with \`make env\` on a file system that the nodes share, or say where it is: CORE_ENV=..." >&2
    exit 1
fi
PATH="$CORE_ENV/bin:$PATH"
export PATH
