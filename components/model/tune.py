"""Which recipe is best for these images: a search over values of `train:` in params.yaml (Optuna).

In: what to vary, a study in a database, and how one set of values is judged. Out: trials, the best of them, how much
each value matters. params.yaml as it stands is judged first, so that a winner is better than that. A study goes on
where it was left: trials of a process that is gone are tried again, and several processes may work on one at once.
Trials that fall behind the median of the others are given up. Training is left to the caller.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import psutil

from components.params import TrainParams
from components.report import Silent

if TYPE_CHECKING:
    from optuna import Study, Trial

Value = str | float | int | bool
Values = Mapping[str, Value]
Judge = Callable[[TrainParams, int, "Pruning"], float]  # params and number of a trial -> its metric, higher is better
AS_IT_STANDS = "as it stands"  # attribute of a study: the metric of params.yaml before any change
PROCESS = "process"  # attribute of a trial: where it is worked on
FIRST, PATIENT = 5, 2  # trials before any is given up, and epochs of each that are not looked at


class TuneError(ValueError):
    """What is to be varied cannot be; the message names it and says what can."""


class GivenUp(Exception):
    """A trial fell behind; nothing is wrong."""


@dataclass(frozen=True)
class Choice:
    """One of `values`, or a number from `low` to `high`, on a logarithmic scale where `log`."""

    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False


Space = Mapping[str, Choice]


def usual_space(params: TrainParams) -> Space:
    """What is worth a search in most trainings: the rate up to ten times lower and higher, and what regularises."""
    return {
        "lr": Choice(low=params.lr / 10, high=params.lr * 10, log=True),
        "weight_decay": Choice(low=1e-4, high=0.3, log=True),
        "label_smoothing": Choice(values=(0.0, 0.05, 0.1)),
        "ema": Choice(values=(0.0, 0.99, 0.998)),
        "augment.scale": Choice(values=(0.0, 0.1, 0.25)),
        "augment.erase": Choice(values=(0.0, 0.25)),
    }


def space_in(words: Sequence[str], params: TrainParams) -> Space:
    """`KEY=LOW:HIGH`, `KEY=LOW:HIGH:log` or `KEY=A,B,C` each -> a space; raise TuneError for what cannot be."""
    return dict(_choice(word, params) for word in words) if words else usual_space(params)


def _choice(word: str, params: TrainParams) -> tuple[str, Choice]:
    key, _, said = word.partition("=")
    now = value_of(params, key)
    span = re.fullmatch(r"([^:,]+):([^:,]+)(:log)?", said)
    try:
        if span:
            return key, Choice(low=float(span[1]), high=float(span[2]), log=bool(span[3]))
        return key, Choice(values=tuple(_like(now, each) for each in said.split(",")))
    except ValueError:
        raise TuneError(f"{word!r} is not understood; write KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=A,B,C.") from None


def _like(now: object, said: str) -> Value:
    """`said` in the type of the value that stands in params.yaml."""
    if isinstance(now, bool):
        if said not in {"true", "false"}:
            raise ValueError(said)
        return said == "true"
    return type(now)(said) if isinstance(now, int | float) else said


def value_of(params: TrainParams, key: str) -> object:
    """What `key`, such as lr or augment.erase, is in `params`; raise TuneError where there is none."""
    found: Any = params
    for part in key.split("."):
        names = [each.name for each in fields(found)] if is_dataclass(found) else []
        if part not in names:
            raise TuneError(f"train.{key} is not in params.yaml; of {', '.join(names) or 'a single value'} take one.")
        found = getattr(found, part)
    return found


def with_values(params: TrainParams, values: Values) -> TrainParams:
    """`params` with other `values`; raise TuneError for those that params.yaml may not have."""
    from pydantic import ValidationError

    try:
        for key, value in values.items():
            section, _, name = key.rpartition(".")
            change: dict[str, Any] = {name: value}
            if section:
                change = {section: replace(getattr(params, section), **change)}
            params = replace(params, **change)
    except ValidationError as error:
        raise TuneError(f"train: {values} cannot be: {error.errors()[0]['msg']}.") from None
    return params


@dataclass(frozen=True)
class Pruning(Silent):
    """A Report that tells a trial's metric to its study each epoch; raises GivenUp when it has fallen behind."""

    trial: Trial
    metric: str

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        if step is None or self.metric not in values:
            return
        self.trial.report(values[self.metric], step)
        if self.trial.should_prune():
            raise GivenUp(f"{self.metric} {values[self.metric]:.4f} in epoch {step} is under the median of the others")


@contextmanager
def opened_study(url: str, name: str, seed: int | None = None) -> Iterator[Study]:
    """The study `name` in the database `url`, made if need be; trials of processes that are gone are in line again.

    With a `seed` a new study proposes the same values each time, if one process works on it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.RDBStorage(url)
        if name in optuna.get_all_study_names(storage):
            seed = None  # it would propose once more what it proposed before
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST, n_warmup_steps=PATIENT),
        )
        _take_over(study)
        yield study


def _take_over(study: Study) -> None:
    """Put trials back in line whose process, on this machine, is gone."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = trial.user_attrs.get(PROCESS, "").partition(" ")
        if host == os.uname().nodename and not _lives(process):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)


def _lives(process: str) -> bool:
    number, _, start = process.partition(" ")
    try:
        return abs(psutil.Process(int(number)).create_time() - float(start)) < 2
    except (psutil.NoSuchProcess, ValueError):
        return False


def judge_as_it_stands(study: Study, params: TrainParams, judge: Callable[[TrainParams], float]) -> float:
    """The metric of `params` unchanged; judged once a study."""
    if AS_IT_STANDS not in study.user_attrs:
        study.set_user_attr(AS_IT_STANDS, judge(params))
    return float(study.user_attrs[AS_IT_STANDS])


def run_trials(study: Study, params: TrainParams, space: Space, metric: str, judge: Judge, count: int) -> None:
    """Judge `count` more sets of values; those of a trial that is given up count too."""
    import optuna

    def objective(trial: Trial) -> float:
        trial.set_user_attr(PROCESS, f"{os.uname().nodename} {os.getpid()} {psutil.Process().create_time():.0f}")
        tried = with_values(params, {key: _suggested(trial, key, choice) for key, choice in space.items()})
        try:
            return judge(tried, trial.number, Pruning(trial, metric))
        except GivenUp as reason:
            raise optuna.TrialPruned(str(reason)) from None

    study.optimize(objective, n_trials=count)


def _suggested(trial: Trial, key: str, choice: Choice) -> Value:
    if choice.values:
        return cast("Value", trial.suggest_categorical(key, list(choice.values)))
    return _rounded(trial.suggest_float(key, choice.low, choice.high, log=choice.log))


def best_values(study: Study) -> tuple[Values, float] | None:
    """The winner's values and its metric; None while no trial is done."""
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return None
    winner = max(done, key=lambda trial: (trial.value, -trial.number))
    return {key: _rounded(value) for key, value in winner.params.items()}, float(winner.value or 0)


def _rounded(value: Value) -> Value:
    """Three digits: a person is to read them in params.yaml."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def importances(study: Study) -> dict[str, float]:
    """How much of the metric's variance each value explains (fANOVA, Hutter et al. 2014); empty where none can tell."""
    import optuna

    try:
        return dict(optuna.importance.get_param_importances(study))
    except (ValueError, RuntimeError):  # fewer than two trials are done, or all came out the same
        return {}


def draw_importances(found: Mapping[str, float]) -> bytes:
    """A bar for each value, the most important on top; a PNG."""
    from matplotlib.figure import Figure

    from components.tasks.pictures import BLUE, png_of

    names = sorted(found, key=lambda name: found[name])
    figure = Figure(figsize=(6, 1 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [found[name] for name in names], color=BLUE)
    axes.set_xlabel("share of the metric's variance")
    axes.spines[["top", "right"]].set_visible(False)
    return png_of(figure)
