"""Fixtures that many tests share: a workspace of their own, small params, and a Report that remembers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from components.params import Params, load_params
from components.report import Row
from components.settings import quiet_vendors
from components.workspace import Workspace, create_workspace

quiet_vendors(Path(tempfile.mkdtemp(prefix="visionloop-tests-")))
for name in [name for name in os.environ if name.startswith(("VISIONLOOP_", "MLFLOW_TRACKING", "PREFECT_API"))]:
    del os.environ[name]

# What makes a test fast: tiny pictures, a tiny net, few epochs.
SMALL = {
    "image": {"size": 32},
    "train": {"arch": "resnet9", "epochs": 2, "batch_size": 32, "precision": "fp32", "warmup_epochs": 0},
    "export": {"parity_images": 16},
    "compile": {"calibration_images": 32},
}


def change_params(workspace: Workspace, **sections: object) -> Params:
    """Write new values into the workspace's params.yaml, section by section, and load it."""
    yaml = YAML()
    found = yaml.load(workspace.params)
    for name, values in sections.items():
        if isinstance(values, dict):
            found[name].update(values)
        else:
            found[name] = values
    yaml.dump(found, workspace.params)
    return load_params(workspace.params)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = create_workspace(tmp_path / "workspace")
    change_params(workspace, **SMALL)
    return workspace


@pytest.fixture
def params(workspace: Workspace) -> Params:
    return load_params(workspace.params)


@dataclass
class ReportInMemory:
    """A Report that keeps what it was told."""

    lines: list[str] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def progress(self, done: int, total: int, what: str) -> None: ...

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:  # noqa: ARG002
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def picture(self, name: str, png: bytes) -> None:
        self.pictures[name] = png

    def table(self, name: str, rows: Sequence[Row]) -> None:
        self.tables[name] = list(rows)

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def report() -> ReportInMemory:
    return ReportInMemory()
