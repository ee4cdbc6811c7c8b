"""The `visionloop` command: words on a command line -> one call into the flows or the components.

In: arguments. Out: text for people, or JSON; exit code 0, or 1 with one message. Nothing is decided here. What a
command needs is imported inside it, so that `visionloop --help` answers at once.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from getpass import getuser
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperGroup

from components.workspace import STAGES, TaskName, create_workspace
from flows import workbench
from flows.opening import HERE, Folder, opened
from flows.show import on_terminal, show_finding, show_lines, show_subjects, show_table


class Commands(TyperGroup):
    """All commands; an error with a message of ours ends as that message and exit code 1."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the command; with --debug every error keeps its traceback."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            message = message_of(error)
            if message is None or ctx.params["debug"]:
                raise
            typer.echo(f"visionloop: {message}", err=True)
            raise typer.Exit(1) from None


def message_of(error: Exception) -> str | None:
    """What to tell a user about `error`; None when it is a mistake of ours, which needs its traceback."""
    origin, name = type(error).__module__, type(error).__name__
    if origin.startswith(("components.", "flows.")):
        return str(error)
    if (origin, name) == ("sqlalchemy.exc", "OperationalError"):
        return f"the database failed: {getattr(error, 'orig', error)}. `visionloop doctor` looks at it."
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return f"{error} (--debug shows where)"
    return None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich doubles the time to the first word
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: visionloop ingest ~/photos && visionloop run && visionloop predict photo.jpg",
)
Debug = Annotated[bool, typer.Option("--debug", envvar="VISIONLOOP_DEBUG", help="Show where an error arose.")]
BenchPart = Literal["engine", "scan", "drift", "promotion", "data_path", "step"]
Port = Annotated[int | None, typer.Option(metavar="N", help="Port of the prediction service on 127.0.0.1.")]


@app.callback()
def everywhere(
    context: typer.Context,
    workspace: Folder = HERE,
    debug: Debug = False,  # noqa: ARG001 - Commands.invoke reads it
) -> None:
    """A folder of labelled images -> a validated, compiled, served, watched and retrained vision model."""
    # --workspace before the command is the default of --workspace behind it
    names = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    context.default_map = {name: {"workspace": workspace} for name in names}


@app.command(epilog="Example: visionloop demo")
def demo(workspace: Folder = HERE) -> None:
    """Tell the whole story on digits: model, drift, recovery."""
    from components.settings import quiet_vendors
    from flows.demo import demo

    folder = workspace.resolve() / ".visionloop" / "demo"
    quiet_vendors(folder / ".visionloop")
    raise typer.Exit(demo(folder))


@app.command(epilog="Example: visionloop init ~/birds --task classification")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it does not exist.")],
    task: Annotated[TaskName, typer.Option(help="What the model will do.")] = "classification",
) -> None:
    """Make a workspace: commented params.yaml and dvc.yaml."""
    created = create_workspace(folder, task)
    typer.echo(f"{created.root} is a workspace for {task}. Look at its params.yaml, then:")
    typer.echo(f"  visionloop --workspace {folder} ingest FOLDER_OF_IMAGES")


@app.command(epilog="Example: visionloop ingest ~/photos   (~/photos/<label>/*.jpg)")
def ingest(
    path: Annotated[
        str,
        typer.Argument(help="Folder, table, COCO, VOC, YOLO or Label Studio files, .zip, .tar, s3://bucket/prefix."),
    ],
    layout: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="F",
            help="folder, table, coco, voc, yolo, masks, labelstudio, inbox; else recognised.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Of an inbox: go on until Ctrl-C.")] = False,
    workspace: Folder = HERE,
) -> None:
    """Add images to the dataset; known ones add nothing."""
    place, _ = opened(workspace)
    if watch:
        from flows.watching import watch_inbox

        show_lines(watch_inbox(place, Path(path)))
        return
    from flows.ingesting import ingest_source

    typer.echo(ingest_source(place, path, format=layout))


@app.command(epilog="Example: visionloop run")
def run(workspace: Folder = HERE) -> None:
    """Bring the model up to date; promote it if it is better."""
    place, _ = opened(workspace)
    from flows.by_hand import run_training

    show_lines(run_training(place))


@app.command(epilog="Example: visionloop up")
def up(port: Port = None, workspace: Folder = HERE) -> None:
    """Run services and schedules until Ctrl-C, at printed URLs."""
    place, _ = opened(workspace)
    from flows.up import up

    up(place, port=port)


@app.command(epilog="Example: visionloop predict photo.jpg folder/ --output predictions.csv")
def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Image files, and folders of them.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="A .csv, .parquet or .json to write.")] = None,
    draw: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw each answer over its image there.")] = None,
    workspace: Folder = HERE,
) -> None:
    """Label images with the champion."""
    place, settings = opened(workspace)
    from components.launcher.local import LocalLauncher
    from components.params import load_params
    from components.report import Silent, Terminal
    from components.serving.predictor import load_champion
    from components.serving.score import predict_paths, write_rows
    from components.state.database import open_state

    champion = load_champion(place.models, open_state(settings.database_url))
    report = Terminal() if output or on_terminal() else Silent()
    rows = predict_paths(paths, champion, load_params(place.params), LocalLauncher(settings.workers), report, draw)
    if output:
        typer.echo(f"{write_rows(rows, output):,} predictions in {output}")
    else:
        show_table([{name: value for name, value in asdict(row).items() if name != "answer"} for row in rows])


def known_stage(name: str) -> str:
    if name not in STAGES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(STAGES)}.")
    return name


@app.command(epilog="Example: visionloop stage train")
def stage(
    name: Annotated[str, typer.Argument(callback=known_stage, metavar="NAME", help=", ".join(STAGES))],
    workspace: Folder = HERE,
) -> None:
    """Bring one stage up to date by hand."""
    place, settings = opened(workspace)
    from components.versioning import ensure_dvc, reproduce, workspace_lock

    with workspace_lock(place):
        ensure_dvc(place, settings)
        done = reproduce(place, name, {}, typer.echo)
    typer.echo(f"{name} ran in {done.seconds:.1f} s" if done.changed else f"{name}: nothing changed")


@app.command(epilog="Example: visionloop serve --port 8080")
def serve(port: Port = None, workspace: Folder = HERE) -> None:
    """Answer POST /predict with the champion until Ctrl-C."""
    place, _ = opened(workspace)
    from components.serving.server import serve

    with suppress(KeyboardInterrupt):  # the service has stopped cleanly and passes the signal on
        serve(place, port)


@app.command(epilog="Example: visionloop bench --only engine")
def bench(
    only: Annotated[BenchPart | None, typer.Option(help="One part alone.")] = None,
    workspace: Folder = HERE,
) -> None:
    """Measure speed and wrong verdicts on this machine."""
    place, settings = opened(workspace)
    from flows.bench import run_bench

    run_bench(place, settings, only)


@app.command(epilog="Example: visionloop monitor")
def monitor(workspace: Folder = HERE) -> None:
    """Judge predictions since the last look; alert on drift."""
    place, _ = opened(workspace)
    from flows.by_hand import run_monitoring

    show_lines(run_monitoring(place).lines)


@app.command(epilog="Example: visionloop retrain")
def retrain(workspace: Folder = HERE) -> None:
    """Merge new labels, train a challenger, promote if better."""
    place, _ = opened(workspace)
    from flows.by_hand import run_retraining

    show_lines(run_retraining(place))


@app.command(epilog="Example: visionloop rollback 3")
def rollback(
    version: Annotated[int | None, typer.Argument(help="Of a model; without one, that before the champion.")] = None,
    workspace: Folder = HERE,
) -> None:
    """Let an earlier model serve again."""
    place, settings = opened(workspace)
    from components.monitoring.alerts import announce
    from components.monitoring.mail import send_waiting
    from components.params import load_params
    from components.registry.promote import replay_effects, rollback
    from components.state.database import open_state

    state, now, alert = open_state(settings.database_url), datetime.now(UTC), load_params(place.params).alert
    decision = rollback(place, state, version, getuser(), now)
    typer.echo(f"Model v{decision.version} serves again.")
    replay_effects(settings, state, now, partial(announce, params=alert, now=now))
    send_waiting(state, settings, place, alert, now)


@app.command(epilog="Example: visionloop status --json")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False, workspace: Folder = HERE
) -> None:
    """Tell how data, model, drift, alerts and services stand."""
    place, settings = opened(workspace)
    from flows.status import in_words, read_status

    found = read_status(place, settings)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        show_subjects(in_words(found))


@app.command(epilog="Example: visionloop explain 01JD3M0Q6Z")
def explain(
    request_id: Annotated[str, typer.Argument(help="As POST /predict returned it.")], workspace: Folder = HERE
) -> None:
    """Trace an answer back to its model, data and labels."""
    place, settings = opened(workspace)
    from components.registry.lineage import explain

    show_lines(explain(place, settings, request_id))


@app.command(epilog="Example: visionloop doctor")
def doctor(workspace: Folder = HERE) -> None:
    """Tell what this machine has, and how to get what it lacks."""
    place, settings = opened(workspace)
    from flows.doctor import examine

    broken = 0
    for finding in examine(place, settings):
        show_finding(finding)
        broken += finding.state == "broken"
    raise typer.Exit(1 if broken else 0)


compare = app.command(epilog="Example: visionloop compare resnet18 convnext_tiny --epochs 5")(workbench.compare)
tune = app.command(epilog="Example: visionloop tune --trials 30 --over lr=1e-4:1e-2:log")(workbench.tune)
lr_find = app.command("lr-find", epilog="Example: visionloop lr-find --write")(workbench.lr_find)
synthesize = app.command(epilog="Example: visionloop synthesize --prove")(workbench.synthesize)
export_dataset = app.command("export-dataset", epilog="Example: visionloop export-dataset --format coco OUT")(
    workbench.export_dataset
)


def main() -> None:
    """The entry point of the `visionloop` script."""
    app()
