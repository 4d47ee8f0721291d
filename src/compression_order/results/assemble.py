"""Write a study's table from its evaluations: for programs, for reading, and stage by stage."""

from pathlib import Path

from compression_order.common import files
from compression_order.results import changes, page, table
from compression_order.results.request import Asked


def write(asked: Asked, csv: Path, markdown: Path, moved: Path | None) -> None:
    """Write the table of a study.

    Args:
        asked: its rows with their measurements.
        csv: every column.
        markdown: the same rows for reading.
        moved: every pipeline against its parent; None: not written.
    """
    made = table.build(
        asked.rows, asked.records, asked.refused, asked.figures, asked.kinds, asked.arms
    )
    files.write_text(csv, table.to_csv(made))
    files.write_text(markdown, page.markdown(asked.study, made, asked.records, asked.figures))
    if moved:
        each = changes.build(asked.rows, asked.records, asked.refused)
        files.write_text(moved, changes.to_csv(each))
    print(f"{csv}: {len(made.rows)} rows, {len(made.columns)} columns")
