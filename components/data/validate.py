"""Is this data fit to train on? Two Great Expectations suites, a verdict, and a report with pictures of what failed.

In: the tables that ingest wrote, and the last verdict. Out: verdict.json (the same for the same data, no times) and
report.html. Only critical findings stop the run; warnings are shown. What is asked is in `components.data.suites`; the
splits suite is called by the split stage, before it writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.annotations import Shown, alone
from components.data.expectations import Finding, examine
from components.data.suites import (
    MEASURED,
    class_sizes,
    manifest_frame,
    manifest_suite,
    schema_suite,
    splits_frame,
    splits_suite,
)
from components.data.tables import CONFLICTS, LABELS, MANIFEST, QUARANTINE, TableError, read_table
from components.data.validation_report import Pictures, write_report
from components.params import IngestParams, SplitParams, ValidateParams
from components.report import Report
from components.workspace import replace_folder

if TYPE_CHECKING:
    import pandas as pd

VERDICT = "verdict.json"
NAMED = 20  # classes in a message


class ValidationFailed(ValueError):
    """A critical check failed; the message names all that did and what to do."""


@dataclass(frozen=True)
class Verdict:
    """What verdict.json holds. `grown_from`: images of the last version that passed, None for the first."""

    passed: bool
    images: int
    quarantined: int
    in_conflict: int
    classes: dict[str, int]
    grown_from: int | None
    dataset: str  # names the set of images
    findings: list[Finding]


def validate(
    manifest: Path,
    labels: Path,
    quarantine: Path,
    conflicts: Path,
    shards: Path,
    out: Path,
    params: ValidateParams,
    ingest: IngestParams,
    duplicates: SplitParams,
    report: Report,
    shown: Shown = alone,
) -> dict[str, int | float]:
    """Write `out`/verdict.json and report.html; raise ValidationFailed after that if something critical failed."""
    if not manifest.is_file():
        raise TableError(f"No {manifest.name} in {manifest.parent}. Run `visionloop ingest FOLDER` first.")
    images = pq.read_table(manifest)
    refused, disputed = read_table(quarantine, QUARANTINE), read_table(conflicts, CONFLICTS)
    verdict = _judge(examine(images.slice(0, 0).to_pandas(), schema_suite()), images, refused, disputed, {})
    if verdict.passed:
        past = _before(out, verdict.dataset)
        tables = (images.cast(MANIFEST), read_table(labels, LABELS), disputed, refused)
        frame = manifest_frame(*tables, past, duplicates, shown)
        sizes = class_sizes(frame["label"].dropna(), shown)
        findings = verdict.findings + examine(frame, manifest_suite(params, ingest))
        verdict = _judge(_named(findings, frame, sizes, params), images, refused, disputed, sizes, past)
    with replace_folder(out) as folder:
        (folder / VERDICT).write_text(json.dumps(asdict(verdict), indent=1), encoding="utf-8")
        write_report(folder / "report.html", verdict, refused, disputed, Pictures(images, shards, ingest))
    _tell(verdict.findings, report)
    _stop_if_critical(verdict.findings, f"Pictures of what failed: {out / 'report.html'}")
    warnings = sum(not finding.passed for finding in verdict.findings if finding.severity == "warning")
    return {
        "images": verdict.images,
        "classes": len(verdict.classes),
        "quarantined": verdict.quarantined,
        "in conflict": verdict.in_conflict,
        "warnings": warnings,
    }


def check_splits(splits: pa.Table, labels: pa.Table, shown: Shown = alone) -> None:
    """Raise ValidationFailed unless `splits` passes the splits suite; `labels` are those of images that we have."""
    _stop_if_critical(examine(splits_frame(splits, labels, shown), splits_suite()), "No splits were written.")


def require_passed(validation: Path) -> None:
    """Raise ValidationFailed unless the last verdict in the folder `validation` lets training go on."""
    path = validation / VERDICT
    if not path.is_file() or not json.loads(path.read_text(encoding="utf-8"))["passed"]:
        raise ValidationFailed("The data has not passed validation. Run `visionloop stage validate` first.")


def _judge(
    findings: list[Finding],
    images: pa.Table,
    refused: pa.Table,
    disputed: pa.Table,
    sizes: Mapping[str, int],
    grown_from: int | None = None,
) -> Verdict:
    ids = images["image_id"].to_pylist() if "image_id" in images.column_names else []
    return Verdict(
        passed=all(finding.passed for finding in findings if finding.severity == "critical"),
        images=images.num_rows,
        quarantined=refused.num_rows,
        in_conflict=len(set(disputed["image_id"].to_pylist())),
        classes=dict(sorted(sizes.items())),
        grown_from=grown_from,
        dataset=hashlib.sha256("\n".join(sorted(map(str, ids))).encode()).hexdigest()[:12],
        findings=findings,
    )


def _before(out: Path, dataset: str) -> int | None:
    """Images of the last version that passed; looking at the same images again does not count as a version."""
    if not (out / VERDICT).is_file():
        return None
    past = json.loads((out / VERDICT).read_text(encoding="utf-8"))
    found: int | None = past["images"] if past["passed"] and past["dataset"] != dataset else past["grown_from"]
    return found


def _named(
    findings: list[Finding], frame: pd.DataFrame, sizes: Mapping[str, int], params: ValidateParams
) -> list[Finding]:
    """The findings, with the names of classes that are too small and of measurements that are missing."""
    missing = frame[list(MEASURED)].isna().sum()
    found = {
        "images_per_class": [
            f"{name!r} has {n}" for name, n in sorted(sizes.items()) if n < params.min_images_per_class
        ],
        "measured": [f"no {name} in {n} images" for name, n in missing.items() if n],
    }
    return [replace(each, found=_list(found.get(each.name) or [each.found])) for each in findings]


def _list(words: Sequence[str]) -> str:
    return ", ".join(words[:NAMED]) + (f" and {len(words) - NAMED} more" if len(words) > NAMED else "")


def _tell(findings: Sequence[Finding], report: Report) -> None:
    for each in findings:
        if not each.passed:
            report.line(f"{each.severity}: {each.says}; found {each.found}")
    shown = ("name", "severity", "passed", "says", "found")
    report.table("validation", [{name: getattr(each, name) for name in shown} for each in findings])


def _stop_if_critical(findings: Sequence[Finding], ending: str) -> None:
    failed = [each for each in findings if each.severity == "critical" and not each.passed]
    if failed:
        lines = [f"  {each.name}: {each.says}; found {each.found}. {each.advice}" for each in failed]
        raise ValidationFailed(f"{len(failed)} critical check(s) failed:\n" + "\n".join(lines) + f"\n{ending}")
