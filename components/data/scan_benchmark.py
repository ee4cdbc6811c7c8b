"""How fast the scan is: images per CPU-second on 224 px JPEGs, beside CleanVision where that is installed.

In: a number of images. Out: one row for each tool. CPU-seconds of this process, so that neighbours on the machine
count little; CleanVision runs with one job and all its checks. `uv run --group bench visionloop bench` has both.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.scan import scan_image
from components.params import IngestParams

SIDE = 224  # px


def benchmark_scan(params: IngestParams, images: int = 200, rounds: int = 3) -> list[Mapping[str, object]]:
    """Rows of `tool`, `images_per_cpu_s` and `ratio` (ours / theirs; None where there is nothing to compare with)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random = np.random.default_rng(0)
        for number in range(images):
            Image.fromarray(texture(random)).save(folder / f"{number:05d}.jpg", quality=88)
        tools = {"visionloop": partial(_scan, folder, params)}
        if find_spec("cleanvision"):
            tools["cleanvision"] = partial(_cleanvision, folder)
        seconds: dict[str, list[float]] = {tool: [] for tool in tools}
        for _ in range(rounds):  # in turn, so that a busy machine slows both
            for tool, work in tools.items():
                seconds[tool].append(_cpu_s(work))
    best = {tool: images / min(each) for tool, each in seconds.items()}
    ratio = best["visionloop"] / best["cleanvision"] if "cleanvision" in best else None
    return [{"tool": tool, "images_per_cpu_s": rate, "ratio": ratio} for tool, rate in best.items()]


def texture(random: np.random.Generator) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): equal noise in every octave, whose power falls as 1/f², as that of photographs does."""
    picture = np.zeros((SIDE, SIDE, 3))
    for cells in (2, 4, 8, 16, 32, 64, 112):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        picture += np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    scaled: NDArray[np.float64] = 255 * (picture - picture.min()) / np.ptp(picture)
    return scaled.astype(np.uint8)


def _scan(folder: Path, params: IngestParams) -> None:
    for path in folder.iterdir():
        scan_image(path.read_bytes(), params)


def _cleanvision(folder: Path) -> None:
    from cleanvision import Imagelab

    with contextlib.redirect_stdout(io.StringIO()):
        Imagelab(data_path=str(folder), verbose=False).find_issues(n_jobs=1, verbose=False)


def _cpu_s(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
