"""One answer -> the model that gave it, the data that the model learned from, and who said what those images show.

In: a request id. Out: lines for people. Everything is read from the prediction log, the ledger and the model's bundle;
the tables of an older data version are found by the digests in the bundle's dvc.lock, in the workspace, in DVC's cache
or in a remote that is a folder. Nothing is fetched or changed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML
from sqlalchemy import Engine

from components.data.tables import LABELS, SPLITS, read_table
from components.registry import tracking
from components.registry.bundle import Bundle, BundleError, open_bundle
from components.registry.tracking import TrackingError
from components.settings import Settings
from components.state import ledger
from components.state.database import StateError, open_predictions, open_state
from components.state.feedback import labelled
from components.state.image_store import ImageStore
from components.state.predictions import Logged, by_request
from components.workspace import Workspace

VOICES = 10  # authors of labels to name
LONGEST = 120  # letters of a label


class UnknownRequest(StateError):
    """No answer with this id is in the prediction log."""


def explain(workspace: Workspace, settings: Settings, request_id: str) -> list[str]:
    """Trace every image of one request; raise UnknownRequest when it is not in the log."""
    state, log = open_state(settings.database_url), open_predictions(settings.predictions_url)
    answers = by_request(log, request_id)
    if not answers:
        raise UnknownRequest(f"No request {request_id!r} is in the prediction log. Its id is in the service's answer.")
    lines = [f"Request {request_id}, {answers[0].at:%Y-%m-%d %H:%M:%S} UTC"]
    for version in dict.fromkeys(answer.model_version for answer in answers):
        given = [answer for answer in answers if answer.model_version == version]
        truths = labelled(state, log, version, given[0].id - 1)
        said = {each.prediction.id: each.truth for each in truths}
        lines += [_answer(answer, said.get(answer.id), workspace) for answer in given]
        lines += _model(workspace, settings, state, given)
    return lines


def _answer(answer: Logged, truth: str | None, workspace: Workspace) -> str:
    name = f" ({answer.name})" if answer.name else ""
    said = f", a person says {_short(truth)}" if truth else ", nobody has labelled it"
    file = ImageStore(workspace.images).path(answer.image_id).relative_to(workspace.root)
    return (
        f"Image {answer.item}{name}: {answer.label} {answer.confidence:.3f}, margin {answer.margin:.3f}{said}; {file}"
    )


def _model(workspace: Workspace, settings: Settings, state: Engine, answers: Sequence[Logged]) -> list[str]:
    version, digest = answers[0].model_version, answers[0].engine_digest
    lines = [f"Model v{version}, bundle {digest[:12]}"]
    decisions = [row for row in ledger.history(state) if row.version == version and row.at <= answers[0].at]
    lines += [f"  {row.action} by {row.actor}, {row.at:%Y-%m-%d %H:%M} UTC" for row in decisions[-1:]]
    if known := ledger.model(state, version):
        lines += [f"  {reason}" for reason in (known.verdict or {}).get("reasons", [])]
        lines += _run(settings, known.run_id)
    try:
        bundle = open_bundle(workspace.models, digest)
    except BundleError as error:
        return [*lines, f"  {error}"]
    data_version = known.data_version if known else bundle.card.data_version
    return [*lines, *_engine(bundle), *_data(workspace, settings, bundle, data_version, answers)]


def _run(settings: Settings, run_id: str) -> list[str]:
    try:
        return [f"  MLflow run: {tracking.run_url(settings, run_id)}"]
    except TrackingError as error:
        return [f"  MLflow run {run_id}; {error}"]


def _engine(bundle: Bundle) -> list[str]:
    info, card = bundle.engine_info, bundle.card
    return [f"  {card.arch}, {card.size} px, {len(card.classes)} classes; {info['target']} {info['precision']}"]


def _data(
    workspace: Workspace, settings: Settings, bundle: Bundle, data_version: str, answers: Sequence[Logged]
) -> list[str]:
    """The data version of the model: its splits, who labelled it, and whether the images answered are part of it."""
    lines = [f"Data version {data_version}; `dvc pull` beside its dvc.yaml, dvc.lock and params.yaml restores it:"]
    lines.append(f"  {bundle.path}")
    paths = [find_output(workspace, settings, bundle, f"data/{name}.parquet") for name in ("labels", "splits")]
    if not all(paths):
        return [*lines, "  Its tables are not on this machine any more."]
    labels, splits = (read_table(path, schema) for path, schema in zip(paths, (LABELS, SPLITS), strict=True) if path)
    rows = {row["image_id"]: row for row in labels.to_pylist()}
    split = dict(zip(splits["image_id"].to_pylist(), splits["split"].to_pylist(), strict=True))
    lines.append(f"  {', '.join(f'{count:,} {name}' for name, count in sorted(Counter(split.values()).items()))}")
    voices = Counter((row["kind"], row["author"] or "the source") for row in rows.values())
    lines += [f"  {count:,} labels by {author} ({kind})" for (kind, author), count in voices.most_common(VOICES)]
    for answer in answers:
        if row := rows.get(answer.image_id):
            where = split.get(answer.image_id, "no split")
            lines.append(f"  Image {answer.item} is part of it, in {where}: {_short(row['label'])} ({row['source']})")
    return lines


def find_output(workspace: Workspace, settings: Settings, bundle: Bundle, name: str) -> Path | None:
    """The file `name` as it was when the bundle was made, wherever it lies on this machine; None when nowhere."""
    stages = YAML(typ="safe").load(bundle.path / "dvc.lock").get("stages", {})
    entries = [entry for stage in stages.values() for kind in ("deps", "outs") for entry in stage.get(kind, [])]
    md5 = next((entry["md5"] for entry in entries if entry["path"] == name), None)
    if md5 is None:
        return None
    stored = Path("files", "md5", md5[:2], md5[2:])
    places = (workspace.root / name, workspace.root / ".dvc" / "cache" / stored, Path(settings.remote) / stored)
    return next((place for place in places if place.is_file() and _md5(place) == md5), None)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _short(label: str) -> str:
    """A label on one line: one of many objects is a long text."""
    return label if len(label) <= LONGEST else f"{label[:LONGEST]}…"
