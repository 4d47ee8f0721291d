"""The entry point `compression-order`: one subcommand for each tool outside the workflow.

compression-order plan --study config.yaml
compression-order COMMAND --help
"""

import importlib
import sys

from compression_order.common import declare, errors

# subcommand -> its module (flags and work), and what it does
COMMANDS = {
    "plan": ("plan_study", "say what a study will take, before anything runs"),
    "summary": ("print_summary", "print what a finished study says"),
    "verdict": ("judge_claims", "hold a finished study against the published one that it names"),
    "why": ("explain_cell", "say where one cell of a table comes from"),
    "changes": ("print_changes", "print what each stage of a finished study changed"),
    "costs": ("sum_costs", "sum what making the checkpoints of a study took"),
    "utilization": ("draw_utilization", "draw how busy the device was along each order"),
    "tune": ("tune_settings", "choose settings on the dev split, before orders are compared"),
    "record": ("pack_record", "pack or unpack what a table is made from, without weights"),
}


def main() -> None:
    """Run one command."""
    errors.run(run)


def run(argv: list[str] | None = None) -> None:
    """Run the command that the arguments name.

    Raises:
        HarnessError: no such command, a wrong flag, or an error of the command itself.
    """
    given = sys.argv[1:] if argv is None else argv
    parser = declare.Parser(__doc__, prog="compression-order")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for word, (name, meaning) in COMMANDS.items():
        if not given or given[0] != word:
            commands.add_parser(word, help=meaning)
            continue
        module = importlib.import_module(f"compression_order.commands.{name}")
        module.add_flags(commands.add_parser(word, doc=module.__doc__, help=meaning))
    args = parser.parse_args(given)
    module.run(args)
