"""params.yaml for each task: that of classification, with the values that another task wants put in.

In: the name of a task. Out: the text of a params.yaml, comments and all. What differs stands in a YAML file of this
folder, one a task, under the same keys; what it was measured with stands beside it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parent
CLASSIFICATION = FOLDER.parent.parent / "params.yaml"


def params_text(task: str) -> str:
    """The params.yaml that a new workspace for `task` starts with."""
    text = CLASSIFICATION.read_text(encoding="utf-8")
    if task == "classification":
        return text
    yaml = YAML()
    yaml.width = 200  # columns: long comments stay on their line
    yaml.preserve_quotes = True
    params = yaml.load(text)
    _put(params, yaml.load((FOLDER / f"{task}.yaml").read_text(encoding="utf-8")), task)
    written = io.StringIO()
    yaml.dump(params, written)
    return written.getvalue()


def _put(params: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    for name, value in changes.items():
        if name not in params:
            raise KeyError(f"{where}.{name} is in presets, but not in params.yaml")
        if isinstance(value, dict) and isinstance(params[name], dict):
            _put(params[name], value, f"{where}.{name}")
        else:
            params[name] = value
