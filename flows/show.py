"""Rows and findings as people see them: tables and colours on a terminal, plain lines for pipes and files.

In: values. Out: text on stdout. Control characters in names and labels are shown escaped, never obeyed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from flows.doctor import Finding

COLOURS = {"ok": typer.colors.GREEN, "missing": typer.colors.YELLOW, "broken": typer.colors.RED}


def on_terminal() -> bool:
    return sys.stdout.isatty()


def show_lines(lines: Iterable[object]) -> None:
    for line in lines:
        typer.echo(line)


def show_table(rows: Sequence[Mapping[str, object]], title: str = "") -> None:
    """One line a row under the names of its columns; separated by tabs where there is no terminal."""
    columns = list(rows[0]) if rows else []
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    if title:
        typer.echo(typer.style(title, bold=True) if on_terminal() else title)
    if not on_terminal():
        show_lines("\t".join(line) for line in [columns, *cells])
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD)
    for line in cells:
        table.add_row(*line)
    Console(markup=False, emoji=False, highlight=False).print(table)


def show_subjects(subjects: Sequence[tuple[str, str]]) -> None:
    """One subject a line, what is said of it in a column beside it."""
    width = max(len(subject) for subject, _ in subjects) + 2
    for subject, words in subjects:
        bold = typer.style(f"{subject:<{width}}", bold=True) if on_terminal() else f"{subject:<{width}}"
        typer.echo(bold + _cell(words))


def show_finding(finding: Finding) -> None:
    """One line, and a second one with what to do."""
    state = typer.style(f"{finding.state:<8}", fg=COLOURS[finding.state]) if on_terminal() else f"{finding.state:<8}"
    typer.echo(f"{state}{finding.about:<13}{_cell(finding.found)}")
    if finding.remedy:
        typer.echo(f"{'':21}{finding.remedy}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, float):
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
