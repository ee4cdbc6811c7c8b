"""The shape of the repository: imports point one way, each vendor has one door, a stage has one name everywhere."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from components.__main__ import RUN
from components.params import Params
from components.workspace import STAGES
from flows.cli import app

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path.relative_to(ROOT) for folder in ("components", "flows") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").glob("*.py") if path.name != "__init__.py")
DVC_STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]

# From the ground up: a module imports from its own package and from the floors below, on the ground floor also beside.
FLOORS = (
    {
        "workspace",
        "params",
        "settings",
        "report",
        "code_digest",
        "dvc_command",
        "storage",
        "launcher",
        "state",
        "presets",
    },
    {"data"},
    {"tasks", "versioning"},
    {"model"},
    {"engine"},
    {"registry"},
    {"serving", "monitoring", "synthesis"},
    {"__main__"},
)
DOORS = {  # vendor -> where it may be imported
    "mlflow": "components/registry/tracking.py",
    "boto3": "components/storage.py",
    "botocore": "components/storage.py",
    "evidently": "components/monitoring/evidence.py",
    "great_expectations": "components/data/expectations.py",
    "dvc": "components/dvc_command.py",
    "prefect": "flows/*.py",
    "typer": "flows/*.py",
    "nncf": "components/engine/*.py",
}
HEAVY = {
    *("torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "nncf", "tensorrt", "sklearn", "pandas"),
    *("matplotlib", "plotly", "pycocotools", "shapely", "optuna", "moto", "mlflow", "evidently"),
    *("great_expectations", "boto3", "botocore", "dvc"),
}
# Define subclasses of nn.Module; imported inside functions alone.
TORCH_ITSELF = {f"components.model.{name}" for name in ("nets", "detector_nets", "segmenter_nets")}
FORBIDDEN = {"utils", "util", "helpers", "common", "misc", "core", "base", "manager", "handler", "processor", "service"}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Full names of the modules that `nodes` import; of `from a import b` both a and a.b."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: not functions, nor what is under `if TYPE_CHECKING` or `if __name__`."""
    for child in ast.iter_child_nodes(node):
        skipped = isinstance(child, ast.If) and ast.unparse(child.test).startswith(("TYPE_CHECKING", "__name__"))
        if not skipped and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import_time(child)


def part_of(path: Path) -> str:
    """components/data/scan.py -> data"""
    return path.parts[1].removesuffix(".py")


def floor_of(part: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if part in floor)


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] == "components"], ids=str)
def test_imports_point_one_way(path):
    if path.name == "__init__.py" and len(path.parts) == 2:
        return
    mine = part_of(path)
    names = imported(ast.walk(tree_of(path)))
    assert not {name for name in names if name.split(".")[0] in {"flows", "prefect", "typer", "tests"}}
    parts = {name.split(".")[1] for name in names if name.startswith("components.")} - {mine}
    ground = floor_of(mine) == 0
    assert {part for part in parts if floor_of(part) >= floor_of(mine) + ground} == set()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_vendor_is_imported_behind_its_one_door(path):
    vendors = {name.split(".")[0] for name in imported(ast.walk(tree_of(path)))}
    assert {vendor for vendor in vendors if vendor in DOORS and not path.match(DOORS[vendor])} == set()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_importing_a_module_loads_nothing_heavy_and_does_nothing(path):
    tree = tree_of(path)
    heavy = {name for name in imported(at_import_time(tree)) if name.split(".")[0] in HEAVY or name in TORCH_ITSELF}
    assert not heavy or ".".join(path.with_suffix("").parts) in TORCH_ITSELF
    statements = [node for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    assert [ast.unparse(node) for node in statements] == []


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=str)
def test_a_module_opens_by_saying_what_it_is_for(path):
    assert len(ast.get_docstring(tree_of(path)) or "") > 20


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=str)
def test_a_file_is_named_for_a_thing_or_a_deed(path):
    assert FORBIDDEN & {*path.stem.split("_"), *path.parts[:-1]} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name_everywhere(stage):
    assert [path for path in MODULES if path.name == f"{stage}.py" and path.parts[0] == "components"]
    assert stage in {field.name for field in dataclasses.fields(Params)}
    assert DVC_STAGES[stage]["cmd"] == f"python -m components {stage}"
    assert {"task", stage} <= set(DVC_STAGES[stage]["params"])
    assert f".visionloop/code/{stage}" in DVC_STAGES[stage]["deps"]
    assert (ROOT / "tests" / f"test_{stage}.py").is_file()


def test_there_are_no_other_stages_and_their_order_is_one():
    assert tuple(DVC_STAGES) == tuple(RUN) == STAGES


def test_infra_holds_no_python():
    assert list((ROOT / "infra").rglob("*.py")) == []


@pytest.mark.parametrize(
    "command", [each.name or getattr(each.callback, "__name__", "") for each in app.registered_commands]
)
def test_the_readme_names_every_command(command):
    assert re.search(rf"(?m)^\| `{command}\b", (ROOT / "README.md").read_text(encoding="utf-8"))
