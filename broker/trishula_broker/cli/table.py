"""Rows for people: with ``rich`` on a terminal, plain aligned columns everywhere else."""

from __future__ import annotations

from collections.abc import Sequence

from trishula_broker.cli.output import Output
from trishula_broker.cli.text import visible


def show_table(out: Output, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A header and a line a row."""
    shown = [[visible(cell) for cell in row] for row in rows]
    if out.terminal:
        _rich(columns, shown)
    else:
        out.lines(*aligned([[column.upper() for column in columns], *shown]))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells under one another, two spaces apart; an empty one is a dash, so that columns count."""
    filled = [[cell or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in filled
    ]


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # As Text, so that nothing in it is taken for markup.
        table.add_row(*(Text(cell or "-") for cell in row))
    Console().print(table)
