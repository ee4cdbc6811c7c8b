"""Checkpoints of a training: tensors and plain values -> one .safetensors file an epoch, and back.

A file is written whole or not at all, holds its values as JSON in its header, and carries the sha256 of its bytes in
its name, so that a damaged one is known and the one before it is taken. Nothing is pickled. Checkpoints lie in a folder
named by a digest of everything that went into the training: another training never resumes from them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.workspace import replace_file

if TYPE_CHECKING:
    from torch import Tensor

KEEP = 2  # the newest, and one to go back to


class Checkpoints:
    """Those of the training named `digest`; opening them removes those of every other training in `folder`."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder / digest
        for other in folder.glob("*") if folder.is_dir() else ():
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def write(self, epoch: int, tensors: Mapping[str, Tensor], values: Any) -> None:
        """Keep what is needed to go on after `epoch` epochs; `values` is anything that JSON holds."""
        from safetensors.torch import save

        content = save({name: each.contiguous() for name, each in tensors.items()}, {"values": json.dumps(values)})
        name = f"{epoch:05d}-{hashlib.sha256(content).hexdigest()}.safetensors"
        with replace_file(self.folder / name) as temporary:
            temporary.write_bytes(content)
        for old in [path for path in self._files() if path.name != name][KEEP - 1 :]:
            old.unlink()

    def newest(self) -> tuple[dict[str, Tensor], Any] | None:
        """Tensors and values of the newest checkpoint that is undamaged; None when there is none."""
        from safetensors import safe_open
        from safetensors.torch import load_file

        for path in self._files():
            if hashlib.sha256(path.read_bytes()).hexdigest() == path.stem.partition("-")[2]:
                with safe_open(path, framework="pt") as opened:
                    values = json.loads(opened.metadata()["values"])
                return load_file(path), values
        return None

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("?????-*.safetensors"), reverse=True)
