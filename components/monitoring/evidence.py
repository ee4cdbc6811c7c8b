"""Reference, window and verdict -> one HTML page that shows people what drifted; the only importer of Evidently.

In: the signals of both and what `components.monitoring.drift` decided. Out: a page that loads nothing from elsewhere.
Evidently draws the distributions and says of each signal what our verdict says; it decides nothing. Its HTML is
injectable (a class named `</script>...` runs), so that it never sees a class or a format, only c0, c1, ... and f0, f1,
...; our own, escaped part of the page tells what they stand for, and a content security policy keeps the page from
reaching any address.
"""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.monitoring.drift import SignalDrift, WindowVerdict
from components.monitoring.letters import plain
from components.monitoring.window import Signals
from components.workspace import replace_file

Column = NDArray[np.float64] | NDArray[np.str_]
Pair = tuple[Column, Column]  # of the reference, of the window

OPAQUE = {"predicted_class": "c", "format": "f"}
METHOD = "visionloop"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
STYLE = (
    "<style>.verdict{font:14px sans-serif;margin:24px;overflow-x:auto}"
    ".verdict td,.verdict th{padding:2px 12px 2px 0;text-align:left;vertical-align:top}</style>"
)
EMPTY = '<!DOCTYPE html><html lang="en"><head><meta charset="UTF-8"></head><body></body></html>'


@dataclass(frozen=True)
class _Shown:
    """Columns fit to draw, why others are not, and what the opaque ids stand for."""

    columns: Mapping[str, Pair]
    left_out: Mapping[str, str]
    legend: Mapping[str, str]


def write_evidence(reference: Signals, window: Signals, verdict: WindowVerdict, path: Path) -> Path:
    """Write the page about `verdict` to `path`, whole or not at all, and return `path`. Takes seconds and 4 MB.

    Signals that are empty, NaN throughout or the same in every image are left out of the charts, and named.
    """
    shown = _shown(reference, window)
    ordered = sorted(verdict.signals, key=lambda each: not each.drifted)  # what drifted comes first
    judged = {each.name: each for each in ordered if each.name in shown.columns}
    page = _drawn(shown.columns, judged) if judged else EMPTY
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">{STYLE}'
    page = page.replace("<head>", "<head>" + policy, 1).replace("<body>", "<body>" + _summary(verdict, shown), 1)
    with replace_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _shown(reference: Signals, window: Signals) -> _Shown:
    columns: dict[str, Pair] = {}
    left_out: dict[str, str] = {}
    legend: dict[str, str] = {}
    for name, known in reference.categorical.items():
        values = sorted({*known.tolist(), *window.categorical[name].tolist()})
        opaque = {value: f"{OPAQUE[name]}{number}" for number, value in enumerate(values)}
        legend |= {opaque[value]: value for value in values}
        columns[name] = (_renamed(known, opaque), _renamed(window.categorical[name], opaque))
    columns |= {name: (_finite(known), _finite(window.numeric[name])) for name, known in reference.numeric.items()}
    for name, pair in list(columns.items()):
        if reason := _unfit(pair):
            left_out[name] = reason
            del columns[name]
    return _Shown(columns, left_out, legend)


def _renamed(values: NDArray[np.str_], opaque: Mapping[str, str]) -> NDArray[np.str_]:
    return np.array([opaque[value] for value in values.tolist()], dtype=np.str_)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _unfit(pair: Pair) -> str | None:
    """Why Evidently cannot draw the pair, or need not; None when it can."""
    if not all(len(column) for column in pair):
        return "no values"
    return "the same in every image" if len(np.unique(np.concatenate(pair))) == 1 else None


def _drawn(columns: Mapping[str, Pair], judged: Mapping[str, SignalDrift]) -> str:
    """Evidently's page about the signals in `judged`; the vendor's warnings say nothing about our data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift
        from pandas import DataFrame, Series

        _register(judged)
        definition = DataDefinition(
            numerical_columns=[name for name in judged if name not in OPAQUE],
            categorical_columns=[name for name in judged if name in OPAQUE],
        )
        # As Series of unequal length: pandas fills up with NaN, which Evidently leaves out.
        frames = (DataFrame({name: Series(columns[name][side]) for name in judged}) for side in (0, 1))
        known, current = (Dataset.from_pandas(frame, data_definition=definition) for frame in frames)
        metrics = [ValueDrift(column=each.name, method=METHOD, threshold=each.floor) for each in judged.values()]
        return str(Report(metrics, include_tests=True).run(current, known).get_html_str(as_iframe=False))


def _register(judged: Mapping[str, SignalDrift]) -> None:
    """Make METHOD a drift method of Evidently that answers what we decided.

    Its own methods ask for a distance or for a p value, never for both, and so would contradict us.
    """
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from pandas import Series

    def answer(_known: Series, current: Series, _kind: ColumnType, _floor: float) -> tuple[float, bool]:
        found = judged[str(current.name)]
        return abs(found.effect), found.drifted

    title = "effect, to reach its floor beyond chance (visionloop)"
    register_stattest(StatTest(METHOD, title, [ColumnType.Numerical, ColumnType.Categorical]), answer)


def _summary(verdict: WindowVerdict, shown: _Shown) -> str:
    """Our part of the page; every word that a user could have chosen is escaped here."""
    rows = [
        (
            each.name,
            "drifted" if each.drifted else "",
            f"{each.p:.2g}",
            f"{each.effect:+.3f}",
            f"{each.floor:.3f}",
            each.words,
        )
        for each in verdict.signals
    ]
    return (
        f'<section class="verdict"><h1>Verdict of the window: {verdict.verdict}</h1>'
        + _table(("signal", "", "p", "effect", "floor", "in words"), rows)
        + (_table(("not in the charts", "because"), shown.left_out.items()) if shown.left_out else "")
        + "<details><summary>What c0, f0 and so on stand for in the charts</summary>"
        + _table(("in the charts", "stands for"), shown.legend.items())
        + "</details></section>"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["<tr>" + "".join(f"<td>{html.escape(plain(cell))}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{''.join(lines)}</table>"
