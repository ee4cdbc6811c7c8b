"""The model that the stages made -> champion, if the gate says so; and the way back.

In: a workspace whose stages have run. Out: a bundle, an MLflow model version, a verdict, and for a winner one row in
the ledger. That row is the cause. Its effects, MLflow's aliases and a mail, are replayed by `replay_effects` until they
have happened, so a process killed at any point is mended by running the same command again. The serving process
follows the ledger by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from components.params import Params
from components.registry import tracking
from components.registry.bundle import Bundle, find_bundle, make_bundle, open_bundle
from components.registry.gate import Judged, Verdict, judge
from components.registry.tracking import TrackingError
from components.report import Report
from components.settings import Settings
from components.state import ledger
from components.state.database import StateError
from components.state.ledger import Promotion
from components.tasks import classes_of, task_named
from components.workspace import Workspace

if TYPE_CHECKING:
    from components.data.dataset import ImageSet
    from components.launcher import Launcher

Tell = Callable[[Connection, Promotion], None]  # writes the mail about a decision
ENGINE = ("target", "precision", "provider", "batch", "speedup")  # of engine.json, kept in the ledger


class NoSuchModel(StateError):
    """There is no such model to roll back to; the message says which there are."""


@dataclass(frozen=True)
class Outcome:
    version: int
    verdict: Verdict
    promoted: bool

    @property
    def lines(self) -> list[str]:
        """What happened, for people."""
        fate = "is the new champion" if self.promoted else "was not promoted"
        return [f"Model v{self.version} {fate}.", *self.verdict.reasons]


def promote_candidate(
    workspace: Workspace,
    settings: Settings,
    params: Params,
    state: Engine,
    run_id: str,
    launcher: Launcher,
    report: Report,
    actor: str,
    now: datetime,
    tell: Tell | None = None,
) -> Outcome:
    """Judge the workspace's model against the champion, register it in MLflow run `run_id`, promote it if it wins.

    Raises TrackingError before anything is decided when MLflow is away, LostRace when another model was promoted
    meanwhile, and what bundle, engine and gate raise. When MLflow goes away after the decision, the effects wait.
    """
    bundle = find_bundle(workspace) or _bundle(workspace, params, launcher, report)
    serving = ledger.champion(state)
    outcome = _settled(state, bundle, params)
    if outcome is None:
        rival = open_bundle(workspace.models, serving.digest) if serving else None
        challenger, champion, data_version = _examine(workspace, params, bundle, rival, launcher, report)
        verdict = judge(challenger, champion, params.promote)
        version = _register(settings, run_id, bundle, challenger, verdict, data_version)
        facts = (version, bundle.digest, run_id, data_version, challenger.metrics)
        ledger.record_model(state, *facts, {name: bundle.engine_info[name] for name in ENGINE}, now)
        outcome = Outcome(version, verdict, verdict.decision == "promote")
        if outcome.promoted:
            seen = serving.id if serving else ledger.NOBODY
            ledger.promote(state, version, bundle.digest, seen, actor, verdict.as_dict(), now)
        else:
            ledger.record_verdict(state, version, verdict.as_dict())
    try:
        replay_effects(settings, state, now, tell)
    except TrackingError as error:
        report.line(f"{error} The decision stands; its alias and mail follow with the next run.")
    return outcome


def replay_effects(settings: Settings, state: Engine, now: datetime, tell: Tell | None = None) -> list[Promotion]:
    """Do what follows from decisions that were not announced yet; return those announced now.

    May be called at any time by any number of processes: aliases end at the newest champion, and `tell` is called once
    for each decision, inside the transaction that notes it. Raises TrackingError when MLflow is away; then nothing is
    noted.
    """
    waiting = ledger.unannounced(state)
    if waiting:
        _point_aliases(settings, state)
    return [decision for decision in waiting if ledger.mark_announced(state, decision, now, tell)]


def rollback(workspace: Workspace, state: Engine, version: int | None, actor: str, now: datetime) -> Promotion:
    """Let `version` serve again, or the model before the champion; its effects are left to `replay_effects`.

    Raises NoSuchModel for a version that never served, BundleError when its files are not what they were, LostRace
    when another decision came first.
    """
    serving = ledger.champion(state)
    if serving is None:
        raise NoSuchModel("There is no champion yet, so there is nothing to roll back.")
    served = {each.version: each for each in ledger.history(state) if each.version != serving.version}
    target = ledger.predecessor(state) if version is None else served.get(version)
    if target is None:
        others = ", ".join(f"v{each}" for each in sorted(served)) or "none"
        wanted = "No model served before it" if version is None else f"v{version} is not one that served before"
        raise NoSuchModel(f"The champion is v{serving.version}. {wanted}; there is to choose from: {others}.")
    open_bundle(workspace.models, target.digest)
    verdict = {"decision": "rollback", "reasons": [f"{actor} went back from v{serving.version}."]}
    return ledger.promote(state, target.version, target.digest, serving.id, actor, verdict, now, action="rollback")


def _settled(state: Engine, bundle: Bundle, params: Params) -> Outcome | None:
    """The outcome for a model that needs no judging: it serves, or people have taken it out of service."""
    served = {row.digest: row.version for row in ledger.history(state)}
    serving = ledger.champion(state)
    if serving and serving.digest == bundle.digest:
        reason = "It is the champion already."
    elif bundle.digest in ledger.withdrawn(state):
        reason = f"A rollback took it out of service; `visionloop rollback {served[bundle.digest]}` puts it back."
    else:
        return None
    verdict = Verdict("not_enough_evidence", [reason], params.promote.metric, 0)
    return Outcome(served[bundle.digest], verdict, promoted=False)


def _bundle(workspace: Workspace, params: Params, launcher: Launcher, report: Report) -> Bundle:
    from components.data.dataset import load_images
    from components.data.tables import MANIFEST, read_table
    from components.engine import load_engine
    from components.model.card import read_card
    from components.registry.reference import make_reference

    card = read_card(workspace.export / "model.json")
    images = load_images(workspace, card.image, params.ingest, ["val", "test"], launcher, report)
    manifest = read_table(workspace.manifest, MANIFEST)
    engine = load_engine(workspace.engine)
    task = task_named(card.task, card.thresholds)
    return make_bundle(workspace, make_reference(engine, card.classes, images, manifest, task))


def _examine(
    workspace: Workspace, params: Params, bundle: Bundle, rival: Bundle | None, launcher: Launcher, report: Report
) -> tuple[Judged, Judged | None, str]:
    """Challenger and champion on the test split as it is now, and the version of the data it is from."""
    from components.data.dataset import load_images
    from components.registry.examine import examine

    def test_images(of: Bundle) -> ImageSet:
        return load_images(workspace, of.card.image, params.ingest, ["test"], launcher, report)

    task, images = task_named(params.task), test_images(bundle)
    shown = classes_of(task, images.labels)
    known = {*bundle.card.classes, *(rival.card.classes if rival else ()), *shown}
    classes = tuple(sorted(known))
    challenger = examine(bundle, images, classes, params, limits=True)
    champion = examine(rival, test_images(rival), classes, params, limits=False) if rival else None
    return challenger, champion, images.data_version


def _register(
    settings: Settings, run_id: str, bundle: Bundle, challenger: Judged, verdict: Verdict, data_version: str
) -> int:
    """Tell MLflow all about the candidate; return its version."""
    engine = ("latency_p50_ms", "latency_p99_ms", "size_mb")
    named = {f"{'engine' if name in engine else 'test'}/{name}": value for name, value in challenger.metrics.items()}
    tracking.log_metrics(settings, run_id, named)
    tracking.log_table(settings, run_id, "verdict", [verdict.as_dict()])
    tracking.log_dataset(settings, run_id, data_version, settings.remote, {"test": verdict.n})
    tags = {"data_version": data_version, "verdict": verdict.decision, "precision": bundle.engine_info["precision"]}
    version = tracking.register(settings, bundle, run_id, tags)
    tracking.set_alias(settings, version, "challenger")
    return version


def _point_aliases(settings: Settings, state: Engine) -> None:
    """Let the aliases say what the ledger says; whoever sets them last has looked after setting them."""
    while serving := ledger.champion(state):
        newest = ledger.newest_model(state)
        tracking.set_alias(settings, serving.version, "champion")
        challenger = newest.version if newest and newest.version != serving.version else None
        tracking.set_alias(settings, challenger, "challenger")
        now_serving = ledger.champion(state)
        if now_serving and now_serving.id == serving.id:
            return
