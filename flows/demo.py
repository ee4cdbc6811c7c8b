"""The whole story on one machine: a first model, good traffic, a changed camera, an alert, labels, a recovered model.

In: a folder to tell it in. Out: a workspace that every command takes, `report.json` with what was measured and
`report.html` with the same in plots. Every step goes through the product: HTTP requests, the prediction log, the
monitoring flow, the Prefect automation. Nothing is trained on the images that `accuracy_recovered` is measured on.
"""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from components.settings import Settings, load_settings
from components.workspace import Workspace, WorkspaceError, create_workspace, replace_file
from flows.digits import POOLS, Photo, photograph, pools, write_folder
from flows.processes import free_port
from flows.traffic import Answer, MemoryWatch, accuracy, give_feedback, send, wait_for_version

if TYPE_CHECKING:
    from flows.monitoring import MonitoringResult

SEED = 7
WINDOW = 200  # predictions
# What differs from the params.yaml that `visionloop init` writes, and why.
PARAMS: dict[str, dict[str, Any]] = {
    "image": {"size": 32},
    "validate": {"max_duplicate_share": 0.5},  # hand-written digits look alike
    "split": {  # a drift reference of 450 images; few labels of the new world, so most of them teach
        "fractions": {"train": 0.5, "val": 0.25, "test": 0.25},
        "feedback_fractions": {"train": 0.6, "val": 0.1, "test": 0.3},
        "max_group": 10,
    },
    "train": {"arch": "resnet9", "epochs": 10, "lr": 0.003, "batch_size": 32},
    "monitor": {"window": WINDOW},
    "alert": {"cooldown_hours": 0},
    "retrain": {"cooldown_hours": 0},  # the story takes minutes
    "schedule": {"monitoring": "0 4 * * *"},  # the story looks when it wants to
}
AUGMENT = {"flip": False, "rotate": 10}  # a mirrored digit is another sign


@dataclass
class Story:
    """What happened so far; becomes report.json."""

    began: float = field(default_factory=time.monotonic)
    report: dict[str, Any] = field(default_factory=dict)
    traffic: list[tuple[str, list[Answer]]] = field(default_factory=list)

    def say(self, text: str) -> None:
        print(f"\n[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)

    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 1)

    def tell(self, **values: Any) -> None:
        self.report |= values


def demo(folder: Path) -> int:
    """Tell the story in `folder`; 0 when the model recovered, 1 when it did not."""
    story = Story()
    with MemoryWatch() as memory:
        workspace = prepare(folder)
        settings = load_settings(workspace).model_copy(
            update={name: free_port() for name in ("prefect_port", "serve_port")}
        )
        tell_story(story, workspace, settings)
    story.tell(wall_s=story.seconds(), peak_rss_mb=round(memory.peak_mb))
    return close(story, workspace)


def prepare(folder: Path) -> Workspace:
    """A new workspace in `folder`, in place of an earlier demo's; raise WorkspaceError if anything else is there."""
    if folder.exists() and not (folder / ".visionloop").is_dir():
        raise WorkspaceError(f"{folder} exists and is no earlier demo; move it away or name another folder.")
    shutil.rmtree(folder, ignore_errors=True)
    workspace = create_workspace(folder)
    yaml = YAML()
    found = yaml.load(workspace.params)
    for section, values in PARAMS.items():
        found[section].update(values)
    found["train"]["augment"].update(AUGMENT)
    yaml.dump(found, workspace.params)
    return workspace


def tell_story(story: Story, workspace: Workspace, settings: Settings) -> None:
    from flows.ingesting import ingest_source
    from flows.up import find, running

    sources = pools(SEED)
    story.tell(pool_sizes=POOLS)
    story.say("Images: 900 photographed digits, ingested, versioned and pushed; services start beside it.")
    photos = write_folder(photograph(sources["training"], 1, changed=False, seed=SEED), workspace.root / "photos")
    with ThreadPoolExecutor(1) as pool:
        ingested = pool.submit(ingest_source, workspace, photos)
        with running(workspace, settings, mlflow=False) as services:
            print(ingested.result())
            url = find(services, "predictions").url
            first_model(story, workspace, url)
            good_traffic(story, workspace, url, photograph(sources["good"], 2, changed=False, seed=SEED))
            labelled = photograph(sources["drifted_labelled"], 2, changed=True, seed=SEED)
            unlabelled = photograph(sources["drifted_unlabelled"], 1, changed=True, seed=SEED)
            answers = changed_camera(story, workspace, url, labelled, unlabelled)
            recover(story, workspace, url, answers, unlabelled)


def first_model(story: Story, workspace: Workspace, url: str) -> None:
    from flows.by_hand import run_training

    story.say("First model: validate, split, train, evaluate, export, compile, gate, promote.")
    print("\n".join(run_training(workspace, "demo")))
    wait_for_version(url, 1)
    story.tell(time_to_first_model_s=story.seconds(), champion_before=champion_of(workspace))


def good_traffic(story: Story, workspace: Workspace, url: str, photos: list[Photo]) -> None:
    story.say(f"Good traffic: {len(photos)} pictures by the same camera. To stay quiet is right.")
    answers, alarms = [], 0
    for start in range(0, len(photos), WINDOW):
        answers += send(url, photos[start : start + WINDOW])
        alarms += len(watch(workspace).alerts)
    story.traffic.append(("good camera, v1", answers))
    story.tell(accuracy_before=accuracy(answers), false_alarms_on_good_traffic=alarms)


def changed_camera(
    story: Story, workspace: Workspace, url: str, labelled: list[Photo], unlabelled: list[Photo]
) -> list[Answer]:
    """Send the drifted pools through the old champion until the monitor alerts; the answers that will get labels."""
    story.say("The camera changes: inverted, tilted, out of focus, darker.")
    answers: list[Answer] = []
    alerts: list[int] = []
    while not alerts and len(answers) < len(labelled):
        answers += send(url, labelled[len(answers) : len(answers) + WINDOW])
        alerts = watch(workspace).alerts
    story.tell(windows_to_alert=len(answers) // WINDOW if alerts else None)
    answers += send(url, labelled[len(answers) :])
    story.traffic.append(("changed camera, v1", answers))
    damage = send(url, unlabelled)
    story.traffic.append(("changed camera, never labelled, v1", damage))
    story.tell(accuracy_under_drift=accuracy(damage))
    return answers


def recover(story: Story, workspace: Workspace, url: str, answers: list[Answer], unlabelled: list[Photo]) -> None:
    """The alert finds no labels and asks for some; they arrive; the automation retrains; the challenger takes over."""
    story.say("The automation starts the retraining, which finds no labels: it asks for some by mail.")
    wait_for_retraining(runs=1)
    story.say(f"{len(answers)} labels arrive through POST /feedback; the next look wakes the retraining again.")
    story.tell(labels_used=give_feedback(url, answers, "demo"))
    woken = watch(workspace).woken_at
    run = wait_for_retraining(runs=2)
    story.tell(flow_run_id=run["id"], automation_id=run["automation_id"], champion_after=champion_of(workspace))
    if woken:
        story.tell(event_to_retrain_s=round((run["started"] - woken).total_seconds(), 1))
    wait_for_version(url, champion_of(workspace)["version"])
    story.say("The same never labelled pictures again.")
    recovered = send(url, unlabelled)
    story.traffic.append((f"changed camera, never labelled, v{recovered[0].version}", recovered))
    story.tell(accuracy_recovered=accuracy(recovered))


def watch(workspace: Workspace) -> MonitoringResult:
    """One look of the monitoring flow."""
    from flows.by_hand import run_monitoring

    result = run_monitoring(workspace)
    print("\n".join(result.lines))
    return result


def wait_for_retraining(runs: int, timeout_s: float = 600) -> dict[str, Any]:
    """The newest of `runs` finished retraining runs that the automation started; raise TimeoutError without them."""
    from flows.deployments import automated_runs

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = automated_runs("retraining/on-alert")
        if sum(run["finished"] for run in found) >= runs:
            return found[-1]
        time.sleep(0.5)
    raise TimeoutError(f"The automation finished fewer than {runs} retraining runs in {timeout_s:.0f} s.")


def champion_of(workspace: Workspace) -> dict[str, Any]:
    from flows.status import read_status

    return dict(read_status(workspace, load_settings(workspace))["champion"])


def close(story: Story, workspace: Workspace) -> int:
    """Write report.json and report.html, say where everything is, and whether the model recovered."""
    from flows.demo_page import write_page

    report = story.report | {"engine": story.report["champion_after"]["engine"]}
    with replace_file(workspace.root / "report.json") as path:
        path.write_text(json.dumps(report, indent=2, default=str), encoding="utf-8")
    page = write_page(workspace, report, story.traffic)
    story.say("Done.")
    print(
        json.dumps({key: value for key, value in report.items() if not isinstance(value, dict)}, indent=2, default=str)
    )
    here = f"--workspace {workspace.root}"
    print(
        f"The story in plots   {page}\n"
        f"Mails                {workspace.outbox}\n"
        f"Drift reports        {workspace.reports}\n"
        f"Status               visionloop status {here}\n"
        f"Prefect, MLflow, API visionloop up {here}"
    )
    return 0 if report["accuracy_recovered"] >= report["accuracy_before"] - 0.03 else 1
