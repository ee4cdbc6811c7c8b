"""A compiled model: uint8 images -> logits, in the runtime and precision that will serve.

In: a folder with engine.json and the files that it lists by sha256. Out: an `Engine`, whose provider and precision were
asked of the runtime after loading, never assumed. Each runtime is one module with the interface `Target`; which of
them and which precision is best for a model is found by `components.engine.compile`. No torch is needed to run one
on a CPU.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from components.data.tables import file_digest
from components.params import Precision
from components.workspace import replace_file

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]
TargetName = Literal["openvino", "onnxruntime", "tensorrt"]

INPUT, OUTPUT = "images", "logits"  # names in the ONNX file and in every engine made from it


class EngineError(RuntimeError):
    """An engine cannot be built, loaded or run here; the message says what was found and what to do."""


class Engine(Protocol):
    """A loaded model. `run` may be called from several threads; calls then wait for each other."""

    @property
    def target(self) -> TargetName: ...

    @property
    def precision(self) -> Precision: ...

    @property
    def provider(self) -> str:
        """What the runtime says it runs on, such as CPU or CPUExecutionProvider."""
        ...

    def run(self, images: Pixels) -> Logits:
        """Logits float32 (N, C) of images uint8 (N, 3, S, S), N at least 1; raise EngineError for anything else."""
        ...


class Target(Protocol):
    """One runtime. Its module is the implementation."""

    NAME: TargetName
    PRECISIONS: tuple[Precision, ...]
    TOOLS: tuple[str, ...]  # packages whose versions shape the engine

    def missing(self) -> str | None:
        """Why this machine cannot use the runtime, and how to get it; None when it can."""
        ...

    def lacks(self, precision: Precision) -> str | None:
        """Why this machine has no use for `precision` in this runtime; None when it has."""
        ...

    def build(self, onnx: Path, precision: Precision, calibration: Pixels, batch: int, out: Path) -> None:
        """Write the engine's files into the folder `out`; `calibration` (N, 3, S, S) is for int8 only."""
        ...

    def load(self, folder: Path, precision: Precision, threads: int | None = None) -> Engine:
        """Load what `build` wrote; raise EngineError when it then runs elsewhere or in another precision."""
        ...


@dataclass(frozen=True)
class EngineInfo:
    """engine.json: what the engine is, what it was made from, with what, and where."""

    target: TargetName
    precision: Precision
    provider: str
    files: Mapping[str, str]  # name -> sha256
    onnx_sha256: str
    calibration_sha256: str | None  # of the ids of the calibration images; int8 only
    images: tuple[str | int, ...]  # shape of the input, uint8
    logits: tuple[str | int, ...]  # shape of the output, float32
    batch: int  # images; the size it was chosen for
    speedup: float  # times the images a second of the same runtime's fp32 at that batch
    made_with: Mapping[str, str]  # package -> version
    hardware: Mapping[str, str | int]

    def write(self, folder: Path) -> None:
        with replace_file(folder / "engine.json") as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def target_named(name: TargetName) -> Target:
    """The module of a runtime; raise EngineError when there is none of that name."""
    from components.engine import onnxruntime, openvino, tensorrt

    targets: dict[TargetName, Target] = {"openvino": openvino, "onnxruntime": onnxruntime, "tensorrt": tensorrt}
    if name not in targets:
        raise EngineError(f"No runtime is called {name!r}; there are {', '.join(targets)}.")
    return targets[name]


def read_info(folder: Path) -> EngineInfo:
    """engine.json of `folder`; raise EngineError when it is missing or of another version of visionloop."""
    path = folder / "engine.json"
    if not path.is_file():
        raise EngineError(f"No engine.json in {folder}; compile the model first: `visionloop run`.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineError(f"{path} is not JSON ({error}); compile again: `visionloop stage compile`.") from None
    expected = [field.name for field in fields(EngineInfo)]
    if not isinstance(found, dict) or sorted(found) != sorted(expected):
        raise EngineError(f"{path} does not have the fields {', '.join(expected)}; compile again.")
    return EngineInfo(**{**found, "images": tuple(found["images"]), "logits": tuple(found["logits"])})


def load_engine(folder: Path, threads: int | None = None) -> Engine:
    """The engine in `folder`, on `threads` CPU threads (all cores by default).

    Raises EngineError when a file differs from its sha256, when this machine lacks the runtime, or when the runtime
    chose another provider or precision than the one that was judged.
    """
    info = read_info(folder)
    for name, sha256 in info.files.items():
        if not (folder / name).is_file() or file_digest(folder / name) != sha256:
            raise EngineError(f"{folder / name} is missing or changed since it was compiled; it must not serve.")
    target = target_named(info.target)
    if reason := target.missing() or target.lacks(info.precision):
        raise EngineError(f"This engine is {info.target} {info.precision}: {reason}. Compile again on this machine.")
    engine = target.load(folder, info.precision, threads)
    if engine.provider != info.provider:
        raise EngineError(f"The engine was judged on {info.provider}, but {info.target} now runs on {engine.provider}.")
    return engine


def run_batches(engine: Engine, images: Pixels, batch: int = 32) -> Logits:
    """Logits of all `images` (N, 3, S, S), `batch` at a time."""
    return np.concatenate([engine.run(images[start : start + batch]) for start in range(0, len(images), batch)])


def check_images(images: Pixels, side: int) -> Pixels:
    """`images` laid out as runtimes read them; raise EngineError unless they are uint8 (N, 3, side, side), N > 0."""
    if images.dtype != np.uint8 or images.shape[1:] != (3, side, side) or not len(images):
        raise EngineError(f"Images are {images.dtype} {images.shape}; expected uint8 (N, 3, {side}, {side}), N > 0.")
    return np.ascontiguousarray(images)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def silence() -> Iterator[None]:
    """Keep a vendor's progress bars, warnings and logs off the terminal; its errors are raised all the same."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
