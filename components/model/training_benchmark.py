"""How fast images reach the training loop, and what a training step costs, beside what torch alone gives.

In: how many images, workers, pairs. Out: rows for a table. The two sides take turns, each ratio is of two neighbours in
time, and its median comes with an interval, since machines are seldom quiet. Data is made up and thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from components.data.dataset import ImageSet, load_images
from components.launcher.local import LocalLauncher
from components.model.batches import Batches
from components.params import AugmentParams, Params, TrainParams, load_params
from components.report import Row, Silent
from components.tasks import task_named
from components.workspace import Workspace, create_workspace

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

LABELS = tuple("abcdefghij")
JPEG_SIDE, SIDE = 256, 224  # px
CROP = 0.08  # least area, as in the usual recipe for ImageNet
BATCH = 64
EPOCHS = 10  # that the images are decoded for, in the row that counts decoding
ARCH, STEP_SIDE, STEP_BATCH, STEPS = "resnet18", 64, 32, 4


def bench_data_path(workers: int, images: int = 1000, rounds: int = 7) -> list[Row]:
    """Batches of random crops with flips, 224 px from JPEGs of 256: visionloop beside ImageFolder and DataLoader.

    Both have `workers`, and warm page caches. visionloop decodes once, into its pixel cache; the last row counts that.
    """
    with TemporaryDirectory() as folder:
        photos = _photos(Path(folder) / "photos", images)
        loader, batches, decoding = _loader(photos, workers), *_batches(Path(folder), photos, workers)
        sides: dict[str, Callable[[], Any]] = {
            "ImageFolder + DataLoader": lambda: _drain(iter(loader)),
            "visionloop": lambda: _drain(batches.epoch(0, batches.steps)[1]),
        }
        theirs, ours = _take_turns(list(sides.values()), rounds)
    ratio = theirs / ours
    over_all = theirs / (ours + decoding / EPOCHS)
    return [
        _row(f"{next(iter(sides))}, {workers} workers", images / np.median(theirs), np.ones(rounds)),
        _row("visionloop, an epoch", images / np.median(ours), ratio),
        _row(f"visionloop, {EPOCHS} epochs with decoding", images / np.median(ours + decoding / EPOCHS), over_all),
    ]


def bench_step(pairs: int = 20) -> list[Row]:
    """A step of resnet18 at 64 px, batches of 32: visionloop's learner beside a bare loop with the same settings."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        images, params = _noise(STEP_BATCH * STEPS), _step_params()
        ours, theirs = _learner_steps(images, params), _bare_steps(images, params)
        bare, learner = _take_turns([theirs, ours], pairs)
    shown = STEP_BATCH * STEPS
    return [
        _row("bare torch loop", shown / np.median(bare), np.ones(pairs)),
        _row("visionloop", shown / np.median(learner), bare / learner),
    ]


def median_interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float]:
    """Median of `values` and the order statistics that enclose it with 95% (Conover 1999, section 3.2)."""
    from scipy.stats import binom

    first = max(int(binom.ppf(0.025, len(values), 0.5)) - 1, 0)
    ordered = np.sort(values)
    return float(np.median(values)), float(ordered[first]), float(ordered[-1 - first])


def _row(name: str, rate: float, ratios: np.ndarray[Any, np.dtype[np.float64]]) -> Row:
    median, low, high = (round(each, 3) for each in median_interval(ratios))
    return {"what": name, "images_per_s": round(float(rate), 1), "ratio": median, "low": low, "high": high}


def _take_turns(sides: list[Callable[[], Any]], rounds: int) -> Any:
    """(sides, rounds) seconds; each side runs once untimed, and every other round begins with the other side."""
    for side in sides:
        side()
    seconds = np.empty((len(sides), rounds))
    for number in range(rounds):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for place in order:
            began = time.perf_counter()
            sides[place]()
            seconds[place, number] = time.perf_counter() - began
    return seconds


def _drain(batches: Iterator[Any]) -> None:
    for images, targets in batches:
        assert len(images) == len(targets)


def _photos(folder: Path, count: int) -> Path:
    """JPEGs of 256 px, about 20 KB each, in a folder for each label."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        rough = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(rough).resize((JPEG_SIDE, JPEG_SIDE), Image.Resampling.BICUBIC))
        noisy = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / LABELS[number % len(LABELS)] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, quality=90)
    return folder


def _loader(photos: Path, workers: int) -> DataLoader[Any]:
    """As torchvision's own reference recipe reads images."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    crop = transforms.RandomResizedCrop(SIDE, scale=(CROP, 1))
    varied = transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    found = datasets.ImageFolder(str(photos), varied)
    return DataLoader(found, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def _batches(folder: Path, photos: Path, workers: int) -> tuple[Batches, float]:
    """The photos as training gets them, and the seconds that decoding took."""
    import torch

    from components.data.ingest import ingest
    from components.data.sources import open_source
    from components.data.split import split

    workspace = create_workspace(folder / "workspace")
    params, launcher = load_params(workspace.params), LocalLauncher(workers)
    ingest(open_source(photos), workspace, params.ingest, launcher, Silent(), datetime.now(UTC))
    split(workspace.manifest, workspace.labels, workspace.splits, params.split, Silent())
    began = time.perf_counter()
    images = _loaded(workspace, params, launcher)
    seconds = time.perf_counter() - began
    task = task_named("classification")
    train = replace(params.train, batch_size=BATCH, augment=_only(params.train.augment, crop=CROP, flip=True))
    targets = task.targets(images, LABELS)
    return Batches(images, targets, LABELS, train, task, torch.device("cpu"), threads=workers), seconds


def _loaded(workspace: Workspace, params: Params, launcher: LocalLauncher) -> ImageSet:
    image = replace(params.image, size=SIDE)
    return load_images(workspace, image, params.ingest, ("train", "val", "test"), launcher, Silent())


def _only(augment: AugmentParams, **on: Any) -> AugmentParams:
    """`augment` with everything off but `on`."""
    kinds = {bool: False, float: 0.0, str: "none"}
    values: dict[str, Any] = {name: kinds[type(value)] for name, value in vars(augment).items()}
    return replace(augment, **values | on)


def _noise(count: int) -> ImageSet:
    """So many images of noise for each of train and val."""
    pixels = np.random.default_rng(0).integers(0, 256, (2 * count, 3, STEP_SIDE, STEP_SIDE), dtype=np.uint8)
    names = [str(number) for number in range(2 * count)]
    labels = [LABELS[number % len(LABELS)] for number in range(2 * count)]
    return ImageSet(names, labels, ["val"] * count + ["train"] * count, pixels, [(STEP_SIDE, STEP_SIDE)] * len(names))


def _step_params() -> tuple[TrainParams, Params]:
    """params.yaml as it comes, but for the net, the batch, and augmentation, which the bare loop has none of."""
    with TemporaryDirectory() as folder:
        params = load_params(create_workspace(Path(folder) / "workspace").params)
    train = replace(params.train, arch=ARCH, batch_size=STEP_BATCH, augment=_only(params.train.augment))
    return train, params


def _learner_steps(images: ImageSet, params: tuple[TrainParams, Params]) -> Callable[[], Any]:
    from components.model.fitting import new_learner

    train, every = params
    image, task = replace(every.image, size=STEP_SIDE), task_named("classification")
    learner, _ = new_learner(images, Path("nowhere"), train, image, task, Silent())
    return lambda: learner.learn([train.lr] * STEPS, 1.0, 0, 0, lambda _: None)


def _bare_steps(images: ImageSet, params: tuple[TrainParams, Params]) -> Callable[[], Any]:
    """The loop that a tutorial has, with what makes it fast: channels last, autocast, a fused optimizer."""
    import torch
    from torchvision.models import get_model

    from components.model.device import autocast, best_device, fast_precision

    train, every = params
    device = best_device()
    precision = fast_precision(train.precision, device)
    net = get_model(ARCH, num_classes=len(LABELS)).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=train.lr, weight_decay=train.weight_decay, fused=True)
    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (every.image.mean, every.image.std))
    pixels = images.of("train").pixels
    wanted = torch.arange(len(pixels), device=device) % len(LABELS)

    def steps() -> None:
        net.train()
        total = torch.zeros((), device=device)
        for rows in torch.randperm(len(pixels)).tensor_split(STEPS):
            batch = torch.from_numpy(pixels[rows.numpy()]).to(device, memory_format=torch.channels_last)
            optimizer.zero_grad()
            with autocast(precision, device):
                outputs = net((batch.float() / 255 - mean) / std)
            loss = torch.nn.functional.cross_entropy(
                outputs.float(), wanted[rows.to(device)], label_smoothing=train.label_smoothing
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach()
        float(total)

    return steps
