"""Checks of a table by Great Expectations, its only importer: a list of `Check` in, a list of `Finding` out.

Everything is built in code on each run, without files or a project. Severity is ours to judge: GX's own `success` is
false for a warning too. A check that GX could not carry out counts as critical, whatever it was meant to be. Checks of
single rows pass on an empty table and on nulls: a suite also asks for rows, and that no value is missing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["critical", "warning", "info"]
SAMPLE = 12  # rows of a failed check that are named


@dataclass(frozen=True)
class Check:
    """`expectation` is the name of a class of GX, `arguments` what it is called with."""

    name: str
    severity: Severity
    says: str  # what is asked, for people
    advice: str  # what to do if it fails
    expectation: str
    arguments: Mapping[str, object]
    share: bool = False  # the number found is a share, told in percent


@dataclass(frozen=True)
class Finding:
    """What became of a check; `rows` is how many failed (None: it is about the whole table), `sample` names some."""

    name: str
    severity: Severity
    says: str
    advice: str
    passed: bool
    found: str
    rows: int | None
    sample: tuple[str, ...]


def examine(frame: pd.DataFrame, checks: Sequence[Check]) -> list[Finding]:
    """Carry out `checks` on `frame`; failing rows are named by its column image_id."""
    found = {result.expectation_config.meta["name"]: result for result in _results(frame, checks)}
    return [_finding(check, found[check.name]) for check in checks]


def _results(frame: pd.DataFrame, checks: Sequence[Check]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GX warns of its own deprecated parts
        import great_expectations as gx
        from great_expectations import expectations
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        suite = gx.ExpectationSuite(
            name="suite",
            expectations=[
                getattr(expectations, check.expectation)(
                    **check.arguments, severity=check.severity, meta={"name": check.name}
                )
                for check in checks
            ],
        )
        asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
        definition = gx.ValidationDefinition(
            name="definition", data=asset.add_batch_definition_whole_dataframe("all"), suite=context.suites.add(suite)
        )
        run = context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame},
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": ["image_id"] if "image_id" in frame else [],
                "partial_unexpected_count": SAMPLE,
            },
        )
        return list(run.results)


def _finding(check: Check, result: Any) -> Finding:
    problem = _exception(result.exception_info or {})
    if problem:
        found = f"could not be checked: {problem}"
        return Finding(check.name, "critical", check.says, check.advice, False, found, None, ())
    values = result.result
    rows = values.get("unexpected_count")
    sample = tuple(str(row.get("image_id")) for row in values.get("partial_unexpected_index_list") or ())
    passed = bool(result.success)
    return Finding(
        check.name, check.severity, check.says, check.advice, passed, _found(values, check.share), rows, sample
    )


def _exception(info: Mapping[str, Any]) -> str | None:
    """The message in GX's `exception_info`, which comes in two shapes: one exception, or several by metric."""
    if "raised_exception" in info:
        return str(info["exception_message"] or "no reason given") if info["raised_exception"] else None
    return next((str(each.get("exception_message")) for each in info.values()), None)


def _found(values: Mapping[str, Any], share: bool) -> str:
    """What GX saw, in words; numpy's own way to print numbers is kept out."""
    if "unexpected_count" in values:
        failing = values["unexpected_count"] / max(values["element_count"], 1)
        return f"{values['unexpected_count']:,} of {values['element_count']:,} ({failing:.1%})"
    observed = values.get("observed_value")
    if observed is None:
        return "nothing to look at"
    if isinstance(observed, list):
        return ", ".join(map(str, observed))
    return f"{observed:.1%}" if share else f"{observed:,.4g}"
