"""Made images into the dataset, and out of it again unless they help: `visionloop synthesize`, `synthesize --prove`.

In: a workspace, folders of cut-outs and backgrounds where there are any. Out: lines that say what happened; an MLflow
run of the proof with a child for each training. How images are made and what is proven is `components.synthesis`.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components.launcher.local import LocalLauncher
from components.params import Params, load_params
from components.registry import tracking
from components.report import Report, Terminal
from components.settings import Settings, load_settings
from components.tasks import Task, classes_of, task_named
from components.workspace import Workspace
from flows.ingesting import ingest_locked

if TYPE_CHECKING:
    from components.synthesis.arrange import Stock
    from components.synthesis.findings import Proof


def synthesize_batch(
    workspace: Workspace, cutouts: Path | None, backgrounds: Path | None, report: Report | None = None
) -> list[str]:
    """Make a batch, add it to the dataset in place of the one before; return what happened, in lines."""
    from components.synthesis.batch import BatchSource, write_batch
    from components.synthesis.keeping import made_images, withdraw
    from components.versioning import workspace_lock

    params, settings, heard = load_params(workspace.params), load_settings(workspace), report or Terminal()
    task, folder = task_named(params.task), workspace.state / "synthetic"
    with workspace_lock(workspace):
        _bring_up_to_date(workspace)
        write_batch(_stock(workspace, params, task, cutouts, backgrounds, heard), params.synthesize, folder, heard)
        source = BatchSource(folder, task.label_of)
        ingested = ingest_locked(workspace, source, heard)
        replaced = withdraw(workspace, source.image_ids())
        if replaced:
            _new_version(workspace, settings)
    return [
        f"{len(made_images(workspace.labels)):,} made images are in the dataset, for training alone ({ingested})."
        + (f" {replaced:,} of an earlier batch were withdrawn." if replaced else ""),
        f"Look at them in {folder}, then: visionloop synthesize --prove",
    ]


def prove_batch(workspace: Workspace, report: Report | None = None) -> list[str]:
    """Train with and without the made images, keep what helps, withdraw the rest; return what was found, in lines."""
    from components.synthesis.keeping import withdraw
    from components.versioning import workspace_lock

    params, settings = load_params(workspace.params), load_settings(workspace)
    with workspace_lock(workspace):
        _bring_up_to_date(workspace)
        proof, run_id = _tracked_proof(workspace, params, settings, report or Terminal())
        withdrawn = withdraw(workspace, proof.kept)
        _new_version(workspace, settings)
    shutil.rmtree(workspace.state / "proof", ignore_errors=True)
    kept = f"{len(proof.kept):,} made images stay, {withdrawn:,} were withdrawn."
    return [*proof.lines(), kept, f"MLflow run: {tracking.run_url(settings, run_id)}"]


def _tracked_proof(workspace: Workspace, params: Params, settings: Settings, report: Report) -> tuple[Proof, str]:
    """The proof and its MLflow run, with a child for each training."""
    from components.synthesis.proof_pictures import draw_proof

    run_id = tracking.start_run(settings, "synthesize --prove", {"reason": "prove"}, _settings_of(params))
    status = "FAILED"
    try:
        proof = _prove(workspace, params, settings.model_copy(update={"parent_run": run_id}), report)
        tracking.log_table(settings, run_id, "synthetic", proof.rows())
        tracking.log_table(settings, run_id, "synthetic_per_class", proof.class_rows())
        tracking.log_picture(settings, run_id, "synthetic", draw_proof(proof))
        tracking.log_metrics(settings, run_id, proof.metrics())
        status = "FINISHED"
    finally:
        tracking.end_run(settings, run_id, status)
    return proof, run_id


def _new_version(workspace: Workspace, settings: Settings) -> None:
    from components.data.versions import remember
    from components.versioning import ensure_dvc, push, track

    ensure_dvc(workspace, settings)
    track(workspace)
    remember(workspace)
    push(workspace)


def _bring_up_to_date(workspace: Workspace) -> None:
    """Validate and split: only training images may be taken from, and only val images judge."""
    from components.versioning import ensure_dvc, reproduce
    from components.workspace import WorkspaceError

    if not workspace.manifest.is_file():
        raise WorkspaceError(f"{workspace.root} has no images yet. Add some: `visionloop ingest FOLDER`.")
    ensure_dvc(workspace, load_settings(workspace))
    for stage in ("validate", "split"):
        reproduce(workspace, stage, {}, lambda _: None)


def _stock(
    workspace: Workspace, params: Params, task: Task, cutouts: Path | None, backgrounds: Path | None, report: Report
) -> Stock:
    """What the params and folders ask for, checked."""
    from components.data.annotations import Annotation
    from components.data.sources import takes
    from components.synthesis.arrange import stock_of
    from components.synthesis.backgrounds import own_backgrounds, read_backgrounds
    from components.synthesis.cutouts import of_classes, read_cutouts, refuse_unknown
    from components.synthesis.harvest import harvest
    from components.synthesis.originals import originals

    made, images = params.synthesize, originals(workspace, params.ingest, params.synthesize.seed)
    known = classes_of(task, (image.label for image in images))
    found = read_cutouts(cutouts, params.ingest) if cutouts else harvest(images, made.classes, made.feather)
    refuse_unknown(found, known)
    single = not takes(task.label_of, Annotation(("one", "two"), (), {}, (1, 1)))
    grounds = (
        read_backgrounds(backgrounds, params.image.size, made.max_side, params.ingest, report)
        if backgrounds
        else own_backgrounds(images, made.max_side)
    )
    return stock_of(of_classes(found, made.classes), grounds, single, known)


def _prove(workspace: Workspace, params: Params, settings: Settings, report: Report) -> Proof:
    """In children of the run `settings.parent_run`."""
    from components.data.dataset import load_images
    from components.synthesis.proof import prove

    launcher = LocalLauncher(settings.workers)
    images = load_images(workspace, params.image, params.ingest, ("train", "val"), launcher, report)
    task, child = task_named(params.task), partial(tracking.stage_report, settings)
    return prove(images, params.train, params.image, params.synthesize, task, workspace.state / "proof", report, child)


def _settings_of(params: Params) -> dict[str, str]:
    return {f"synthesize.{name}": str(value) for name, value in asdict(params.synthesize).items()}
