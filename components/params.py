"""params.yaml -> one frozen `Params`: everything that can change a result, and nothing else.

In: the path of a params.yaml. Out: `Params`, one section for each stage, or a `ParamsError` that lists every
mistake at once, by key. There are no defaults here: DVC hashes params.yaml alone, so a default in Python would be
a setting that no version records. What each value means stands beside it in params.yaml. Where things are
(addresses, credentials) is left to `components.settings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components.workspace import TaskName

T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Triple = tuple[float, float, float]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
Loss = Literal["auto", "cross_entropy", "bce", "focal", "asymmetric", "dice", "iou", "dice_cross_entropy"]


class ParamsError(ValueError):
    """params.yaml cannot be used; the message names every key that is wrong and what was expected."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(cls: type[T]) -> type[T]:
    """Freeze `cls`, forbid unknown keys and check types (a dataclass: pydantic's models own the name `validate`)."""
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return cast("type[T]", dataclass(frozen=True, kw_only=True, config=config)(cls))


@section
class ImageParams:
    size: Annotated[int, Field(ge=8, le=2048)]
    fit: Literal["stretch", "crop"]
    mean: Triple
    std: tuple[Positive, Positive, Positive]


@section
class IngestParams:
    formats: tuple[Literal["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"], ...]
    max_pixels: AtLeastOne
    min_side: AtLeastOne
    shard_mb: AtLeastOne
    max_bad_share: Share


@section
class ValidateParams:
    min_images: AtLeastOne
    min_classes: AtLeastOne
    min_images_per_class: AtLeastOne
    max_growth: Positive
    max_dark_share: Share
    max_bright_share: Share
    max_low_entropy_share: Share
    max_blurry_share: Share
    max_odd_aspect_share: Share
    max_duplicate_share: Share
    min_class_ratio: Share


@section
class Fractions:
    train: Share
    val: Share
    test: Share

    @model_validator(mode="after")
    def sum_to_one(self) -> Fractions:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + val + test is {total:.3f}; it must be 1")
        return self


@section
class SplitParams:
    seed: Count
    fractions: Fractions
    feedback_fractions: Fractions
    near_duplicate_bits: Annotated[int, Field(ge=0, le=16)]
    near_duplicate_distance: Share
    max_group: AtLeastOne


@section
class AugmentParams:
    policy: Literal["none", "randaugment", "trivialaugment"]
    shift: Share
    flip: bool
    flip_vertical: bool
    rotate: Annotated[float, Field(ge=0, le=180)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    crop: Share
    mosaic: Share
    brightness: Share
    contrast: Share
    saturation: Share
    hue: Annotated[float, Field(ge=0, le=180)]
    blur: Share
    erase: Share
    mixup: NotNegative
    cutmix: NotNegative


@section
class Thaw:
    """From `epoch` (the first is 1) on the last `blocks` learn too, at `rate` times the rate of the head."""

    epoch: AtLeastOne
    blocks: AtLeastOne
    rate: Positive


@section
class TrainParams:
    arch: str
    weights: str
    seed: Count
    epochs: AtLeastOne
    folds: Count
    freeze_epochs: Count
    unfreeze: tuple[Thaw, ...]
    batch_size: Annotated[int, Field(ge=2)]
    accumulate: AtLeastOne
    sampler: Literal["shuffle", "balanced", "oversample", "undersample"]
    optimizer: Literal["adamw", "sgd"]
    lr: Positive
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    momentum: Share
    weight_decay: NotNegative
    clip_norm: NotNegative
    schedule: Literal["cosine", "step", "onecycle"]
    warmup_epochs: NotNegative
    loss: Loss
    gamma: NotNegative
    label_smoothing: Share
    class_weights: Literal["none", "balanced"]
    dropout: Annotated[float, Field(ge=0, lt=1)] | None
    ema: Annotated[float, Field(ge=0, lt=1)]
    patience: Count
    precision: Literal["auto", "fp32", "bf16"]
    launcher: Literal["local", "torchrun"]
    processes: Count
    augment: AugmentParams

    @model_validator(mode="after")
    def fold_twice_at_least(self) -> TrainParams:
        if self.folds == 1:
            raise ValueError("folds is 1; give 2 or more, or 0 for none")
        return self

    @model_validator(mode="after")
    def thaw_in_order(self) -> TrainParams:
        epochs = [stage.epoch for stage in self.unfreeze]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"unfreeze names epochs {epochs}; each stage must begin after the one before it")
        if self.unfreeze and self.freeze_epochs:
            raise ValueError("freeze_epochs and unfreeze are both set; set freeze_epochs to 0 to thaw in stages")
        return self


@section
class EvaluateParams:
    topk: AtLeastOne
    calibration_bins: Annotated[int, Field(ge=2)]
    mistakes: Count
    beat_baselines: bool


@section
class ExportParams:
    opset: Annotated[int, Field(ge=18, le=25)]
    max_difference: Positive
    parity_images: AtLeastOne


@section
class RungGate:
    min_agreement: Share
    max_loss: Share
    max_class_loss: Share


@section
class CompileParams:
    target: Literal["auto", "openvino", "onnxruntime", "tensorrt"]
    precisions: tuple[Precision, ...]
    batch: AtLeastOne
    min_speedup: Positive
    calibration_images: AtLeastOne
    gates: dict[Precision, RungGate]

    @model_validator(mode="after")
    def gate_every_precision(self) -> CompileParams:
        missing = [name for name in self.precisions if name not in self.gates]
        if missing:
            raise ValueError(f"no gate for {', '.join(missing)}; add it under compile.gates")
        return self


@section
class PromoteParams:
    metric: str
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    margin: Share
    max_class_loss: Share
    min_class_images: AtLeastOne
    max_latency_ms: Positive
    max_size_mb: Positive
    kpis: dict[str, float]


@section
class ServeParams:
    batch_window_ms: NotNegative
    max_batch: AtLeastOne
    max_body_mb: Positive
    poll_s: Positive


@section
class MonitorParams:
    window: Annotated[int, Field(ge=200)]
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    effect_floor: Positive
    categorical_floor: Positive
    wobble_multiple: Positive
    history: AtLeastOne
    alert_after: AtLeastOne
    of_last: AtLeastOne
    min_labelled: AtLeastOne
    max_accuracy_drop: Share
    quiet_hours_without_requests: Positive


@section
class AlertParams:
    to: tuple[str, ...]
    sender: str
    cooldown_hours: NotNegative
    max_attempts: AtLeastOne


@section
class RetrainParams:
    signals: tuple[str, ...]
    min_new_labels: AtLeastOne
    start: Literal["champion", "scratch"]
    cooldown_hours: NotNegative
    ask_for: AtLeastOne


@section
class SynthesizeParams:
    seed: Count
    images: AtLeastOne
    objects: tuple[AtLeastOne, AtLeastOne]
    classes: tuple[str, ...]
    size: tuple[Annotated[float, Field(gt=0, le=2)], Annotated[float, Field(gt=0, le=2)]]
    plane: Literal["none", "standing", "lying"]
    horizon: tuple[Share, Share]
    rotate: Annotated[float, Field(ge=0, le=180)]
    flip: bool
    colour: Share
    blur: NotNegative
    shadow: Share
    blend: Literal["auto", "alpha", "poisson"]
    feather: NotNegative
    max_side: AtLeastOne
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)]
    seeds: AtLeastOne
    confidence: Annotated[float, Field(gt=0.5, lt=1)]

    @model_validator(mode="after")
    def low_before_high(self) -> SynthesizeParams:
        for name in ("objects", "size", "horizon"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low:g}, {high:g}]; give the smaller number first")
        return self


@section
class ScheduleParams:
    timezone: str
    monitoring: str
    retraining: str


@section
class Params:
    """The whole of params.yaml; `task` names one module of `components.tasks`."""

    task: TaskName
    image: ImageParams
    ingest: IngestParams
    validate: ValidateParams
    split: SplitParams
    train: TrainParams
    evaluate: EvaluateParams
    export: ExportParams
    compile: CompileParams
    promote: PromoteParams
    serve: ServeParams
    monitor: MonitorParams
    alert: AlertParams
    retrain: RetrainParams
    synthesize: SynthesizeParams
    schedule: ScheduleParams


def load_params(path: Path) -> Params:
    """Read `path`; raise ParamsError with every mistake in it, or with what to do when it is missing."""
    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"No params.yaml at {path}. Make a workspace with `visionloop init {path.parent}`.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(found, dict):
        raise ParamsError(f"{path} holds {type(found).__name__}; expected sections such as `train:` and `image:`.")
    try:
        return TypeAdapter(Params).validate_python(found)
    except ValidationError as error:
        lines = [f"  {_key(each['loc'])}: {_text(each)}" for each in error.errors()]
        raise ParamsError(f"{path} has {len(lines)} problem(s):\n" + "\n".join(lines)) from None


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(whole file)"


def _text(problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "unexpected_keyword_argument":
        return "unknown key; remove it or correct its spelling"
    if problem["type"] in {"missing", "missing_argument"}:
        return "missing; every key must be given (see the params.yaml that `visionloop init` writes)"
    return f"{message}, found {problem['input']!r}"
