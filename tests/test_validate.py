"""Promises of components.data.validate: what stops a run, what only warns, and a report that is safe to open."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.expectations import Check, examine
from components.data.shards import write_shard
from components.data.suites import MEASURED, manifest_frame, manifest_suite, schema_suite
from components.data.tables import CONFLICTS, MANIFEST, QUARANTINE, TableError, empty_table, write_table
from components.data.validate import ValidationFailed, require_passed, validate
from components.params import load_params
from components.workspace import TEMPLATE, Workspace, open_workspace
from tests.conftest import ReportInMemory
from tests.drawing import SHAPES, draw, encode
from tests.tables import image_row, label_row, labels_of, manifest_of

PARAMS = load_params(TEMPLATE / "params.yaml")
HOSTILE = "</script><img src=x onerror=alert(1)> \N{RIGHT-TO-LEFT OVERRIDE}gpj.exe"
Rows = list[dict[str, object]]


@dataclasses.dataclass
class Data:
    """The tables of a workspace, 24 pictures of four shapes, to be spoilt by a test."""

    workspace: Workspace
    images: Rows
    labels: Rows
    quarantine: Rows = dataclasses.field(default_factory=list)
    conflicts: Rows = dataclasses.field(default_factory=list)

    def validate(self, report: ReportInMemory) -> dict[str, int | float]:
        at = self.workspace
        write_table(manifest_of(self.images), at.manifest)
        write_table(labels_of(self.labels), at.labels)
        write_table(pa.Table.from_pylist(self.quarantine, schema=QUARANTINE), at.quarantine)
        write_table(pa.Table.from_pylist(self.conflicts, schema=CONFLICTS), at.conflicts)
        return self.again(report)

    def again(self, report: ReportInMemory) -> dict[str, int | float]:
        at = self.workspace
        tables = (at.manifest, at.labels, at.quarantine, at.conflicts)
        return validate(*tables, at.shards, at.validation, PARAMS.validate, PARAMS.ingest, PARAMS.split, report)

    def verdict(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.workspace.validation / "verdict.json").read_text())
        return found

    def failed(self) -> set[str]:
        return {each["name"] for each in self.verdict()["findings"] if not each["passed"]}  # type: ignore[attr-defined]

    def page(self) -> str:
        return (self.workspace.validation / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def data(workspace: Workspace) -> Data:
    names = [f"{shape}/{number}.png" for shape in SHAPES for number in range(6)]
    pictures = [encode(draw(shape, number)) for shape in SHAPES for number in range(6)]
    images = [image_row(name, row=row) for row, name in enumerate(names)]
    stored = [(str(row["image_id"]), data) for row, data in zip(images, pictures, strict=True)]
    shard = write_shard(workspace.shards, stored)
    for row in images:
        row["shard"] = shard
    return Data(workspace, images, [label_row(name, name.split("/")[0]) for name in names])


def test_good_data_passes_with_a_verdict_that_is_the_same_each_time(data: Data, report: ReportInMemory) -> None:
    counts = data.validate(report)
    assert counts == {"images": 24, "classes": 4, "quarantined": 0, "in conflict": 0, "warnings": 0}
    assert data.failed() == set()
    require_passed(data.workspace.validation)
    first = (data.workspace.validation / "verdict.json").read_bytes()
    data.again(report)
    assert (data.workspace.validation / "verdict.json").read_bytes() == first


def _no_label(data: Data) -> None:
    del data.labels[0]


def _twice(data: Data) -> None:
    data.images.append(dict(data.images[0]))


def _no_name(data: Data) -> None:
    data.images[0]["image_id"] = None


def _few(data: Data) -> None:
    del data.images[19:]


def _one_class(data: Data) -> None:
    for row in data.labels:
        row["label"] = "circle"


def _small_class(data: Data) -> None:
    data.labels[0]["label"] = "ellipse"


def _other_format(data: Data) -> None:
    data.images[0]["format"] = "TGA"


def _quarantine(data: Data) -> None:
    data.quarantine = [
        {"path": f"{number}", "reason": "truncated", "detail": "", "sha256": None} for number in range(2)
    ]


PLANTED: dict[str, Callable[[Data], None]] = {
    "images": _few,
    "image_id_filled": _no_name,
    "unique": _twice,
    "format": _other_format,
    "label_filled": _no_label,
    "classes": _one_class,
    "images_per_class": _small_class,
    "quarantine": _quarantine,
    "measured": lambda data: data.images[0].update({"phash": None}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_failure_stops_the_run_and_is_in_the_report(name: str, data: Data, report: ReportInMemory) -> None:
    PLANTED[name](data)
    with pytest.raises(ValidationFailed, match=rf"(?s)critical check.*\b{name}: .*report.html"):
        data.validate(report)
    assert name in data.failed()
    assert "Not fit to train on" in data.page()
    with pytest.raises(ValidationFailed, match="visionloop stage validate"):
        require_passed(data.workspace.validation)


def test_missing_measurements_are_named_and_what_is_not_a_number_is_missing(data: Data, report: ReportInMemory) -> None:
    data.images[0]["brightness"] = float("nan")
    data.images[1] |= {"brightness": None, "thumbnail": None}
    with pytest.raises(ValidationFailed, match="found no brightness in 2 images, no thumbnail in 1 images"):
        data.validate(report)


@pytest.mark.parametrize("column", MEASURED)
def test_every_measurement_counts(column: str, data: Data) -> None:
    data.images[0][column] = None
    labels, none = labels_of(data.labels), empty_table(CONFLICTS)
    frame = manifest_frame(manifest_of(data.images), labels, none, empty_table(QUARANTINE), None, PARAMS.split)
    assert list(frame.loc[~frame["measured"], "image_id"]) == [data.images[0]["image_id"]]


@pytest.mark.parametrize("spoil", ["dropped", "added"])
def test_a_manifest_with_other_columns_stops_the_run(spoil: str, data: Data, report: ReportInMemory) -> None:
    data.validate(report)
    table = manifest_of(data.images)
    other = table.drop_columns(["phash"]) if spoil == "dropped" else table.append_column("x", pa.nulls(len(table)))
    pq.write_table(other, data.workspace.manifest)
    with pytest.raises(ValidationFailed, match=r"schema: .*Ingest again"):
        data.again(report)


def test_every_critical_expectation_has_a_planted_failure() -> None:
    suite = [*schema_suite(), *manifest_suite(PARAMS.validate, PARAMS.ingest)]
    assert {check.name for check in suite if check.severity == "critical"} == {
        *PLANTED,
        "schema",
    }


def test_no_images_at_all_are_critical_though_checks_of_rows_pass_on_an_empty_table(
    data: Data, report: ReportInMemory
) -> None:
    data.images, data.labels = [], []
    with pytest.raises(ValidationFailed, match=r"images: At least 20 images; found 0\. Ingest more"):
        data.validate(report)


def test_what_cannot_be_checked_is_critical_whatever_it_was_meant_to_be() -> None:
    import pandas as pd

    check = Check("odd", "info", "", "", "ExpectColumnValuesToNotBeNull", {"column": "not there"})
    finding = examine(pd.DataFrame({"image_id": ["a"]}), [check])[0]
    assert (finding.passed, finding.severity) == (False, "critical")
    assert "not there" in finding.found


def test_too_small_classes_are_named(data: Data, report: ReportInMemory) -> None:
    _small_class(data)
    with pytest.raises(ValidationFailed, match=r"found 'circle' has 5, 'ellipse' has 1\. Ingest more of these"):
        data.validate(report)


DOUBTFUL: dict[str, dict[str, object]] = {
    "dark_image": {"dark": 0.2},
    "bright_image": {"bright": 0.97},
    "low_entropy": {"entropy": 2.0},
    "blurry": {"sharpness": 0.01},
    "odd_aspect": {"height": 10},
    "near_duplicate": {"phash": 1, "thumbnail": bytes(256)},
    "rotated": {"orientation": 6},
}


def test_doubtful_pictures_are_shown_and_do_not_stop_the_run(data: Data, report: ReportInMemory) -> None:
    for place, values in enumerate(DOUBTFUL.values()):
        for row in data.images[2 * place : 2 * place + 2]:
            row |= values
    data.validate(report)
    failed = {each["name"]: each["sample"] for each in data.verdict()["findings"] if not each["passed"]}  # type: ignore[attr-defined]
    planted = [str(row["image_id"]) for row in data.images]
    assert {name: set(sample) for name, sample in failed.items()} == {
        name: set(planted[2 * place : 2 * place + 2]) for place, name in enumerate(DOUBTFUL)
    }
    assert data.page().count("data:image/jpeg;base64,") == 2 * len(DOUBTFUL)
    assert sum(line.startswith("warning: ") for line in report.lines) == len(DOUBTFUL) - 1


def test_growth_is_a_warning_and_is_measured_against_the_last_version_that_passed(
    data: Data, report: ReportInMemory
) -> None:
    data.validate(report)
    names = [f"{shape}/new {number}" for shape in SHAPES for number in range(20)]
    first, labels = list(data.images), list(data.labels)
    data.images = [*first, *(image_row(name, shard=first[0]["shard"]) for name in names)]
    data.labels = [*labels, *(label_row(name, name.split("/")[0]) for name in names)]
    for _ in range(2):  # looking again does not make it old
        data.validate(report)
        assert data.failed() == {"growth"}
        assert data.verdict()["grown_from"] == 24


def test_unequal_classes_are_a_warning(data: Data, report: ReportInMemory) -> None:
    names = [f"circle/more {number}" for number in range(60)]
    data.images += [image_row(name) for name in names]
    data.labels += [label_row(name, "circle") for name in names]
    data.validate(report)
    assert data.failed() == {"class_ratio"}


def test_conflicts_and_quarantine_are_in_the_report_with_their_pictures_and_reasons(
    data: Data, report: ReportInMemory
) -> None:
    extra = image_row("circle/0.png again", shard=data.images[0]["shard"], row=0)
    data.images.append(extra)
    data.conflicts = [
        {"image_id": extra["image_id"], "label": label, "path": f"{label}/0.png"} for label in ("circle", "moon")
    ]
    data.quarantine = [{"path": "bad.jpg", "reason": "truncated", "detail": "ends after 3 bytes", "sha256": None}]
    counts = data.validate(report)
    assert (counts["in conflict"], counts["quarantined"]) == (1, 1)
    assert data.failed() == {"conflicts"}
    for text in ("moon", "moon/0.png", "bad.jpg", "truncated", "ends after 3 bytes", "data:image/jpeg;base64,"):
        assert text in data.page()


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_hostile_names_and_labels_stay_text_and_the_page_needs_no_network(data: Data, report: ReportInMemory) -> None:
    for row in data.labels[:6]:
        row["label"] = HOSTILE
    for row in data.images[:4]:
        row |= {"source_path": HOSTILE, "dark": 0.1}
    data.quarantine = [{"path": HOSTILE, "reason": "corrupt", "detail": HOSTILE, "sha256": None}]
    data.conflicts = [{"image_id": "0" * 64, "label": HOSTILE, "path": HOSTILE}]
    data.validate(report)
    tags = Tags(data.page()).seen
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in data.page()
    assert not {"script", "iframe", "object", "link"} & {tag for tag, _ in tags}
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    addresses = [attributes.get(name) for _, attributes in tags for name in ("src", "href", "action", "srcset")]
    assert all(each.startswith("data:image/jpeg") for each in addresses if each is not None)
    assert "default-src 'none'" in data.page()


def test_a_picture_that_cannot_be_read_any_more_leaves_a_gap_in_the_report_only(
    data: Data, report: ReportInMemory
) -> None:
    data.images[0] |= {"dark": 0.1, "row": 999}
    data.images[1] |= {"dark": 0.1}
    data.validate(report)
    assert data.page().count("no picture") == 1


def test_without_a_dataset_the_next_step_is_named(workspace: Workspace, report: ReportInMemory) -> None:
    data = Data(open_workspace(workspace.root), [], [])
    with pytest.raises(TableError, match="visionloop ingest"):
        data.again(report)


def test_numbers_of_numpy_are_told_like_any_others() -> None:
    import pandas as pd

    frame = pd.DataFrame({"x": np.array([1.5, 2.5])})
    check = Check("x", "critical", "", "", "ExpectColumnMaxToBeBetween", {"column": "x", "max_value": 2})
    assert examine(frame, [check])[0].found == "2.5"


def test_the_manifest_suite_asks_for_every_column_that_is_measured() -> None:
    assert set(MANIFEST.names) - set(MEASURED) == {
        "image_id",
        "source_path",
        "source_split",
        "origin",
        "format",
        "mode",
        "orientation",
    }
