"""The gate: an equal challenger almost never wins, a better one does, and a broken limit always stops it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

from components.params import Params, PromoteParams
from components.registry.gate import (
    FEWEST_DISAGREEMENTS,
    GateError,
    Judged,
    Parity,
    class_losses,
    judge,
    lower_is_better,
)
from components.registry.intervals import exact_bounds, paired_interval, wilson

Z = norm.ppf(0.975)


@pytest.fixture
def rule(params: Params) -> PromoteParams:
    return params.promote


def judged(right: NDArray[np.bool_], classes: int = 2, **metrics: float) -> Judged:
    """A model that is right where `right` says so, on images whose classes take turns."""
    n = len(right)
    known = {"top1": right.mean(), "macro_f1": right.mean(), "latency_p99_ms": 5.0, "size_mb": 40.0, **metrics}
    return Judged(
        image_ids=[f"{number:064x}" for number in range(n)],
        classes=[f"class {number}" for number in range(classes)],
        scores=right.astype(np.float64),
        class_scores=np.where(np.arange(n)[:, None] % classes == np.arange(classes), right[:, None] * 1.0, np.nan),
        metrics=known,
        parity=Parity(256, 256, 0.97),
    )


def pair(both: int, gained: int, lost: int, neither: int = 0, classes: int = 2) -> tuple[Judged, Judged]:
    """Challenger and champion: right on both, on the first only, on the second only, on neither."""
    order = np.random.default_rng(0).permutation(both + gained + lost + neither)
    sides = ([1, 1, 0, 0], [1, 0, 1, 0])
    right = [np.repeat(np.array(side, dtype=bool), [both, gained, lost, neither])[order] for side in sides]
    return judged(right[0], classes), judged(right[1], classes)


def with_metrics(model: Judged, metrics: Mapping[str, float]) -> Judged:
    return replace(model, metrics={**model.metrics, **metrics})


def test_an_image_on_which_one_model_alone_saw_a_class_that_is_not_there_counts_against_it(rule):
    quiet = judged(np.ones(100, dtype=bool))
    loud = replace(quiet, class_scores=np.where(np.isnan(quiet.class_scores), 0.0, quiet.class_scores))
    quiet_then_loud, _ = class_losses(loud, quiet, replace(rule, min_class_images=20))
    assert len(quiet_then_loud) == 2
    assert class_losses(quiet, loud, rule) == ([], [])


def test_a_better_challenger_is_promoted_with_the_numbers_in_words(rule: PromoteParams):
    verdict = judge(*pair(1740, 146, 85, 29), rule)
    assert verdict.decision == "promote"
    assert verdict.difference == pytest.approx(0.0305)
    assert verdict.reasons[0] == (
        "top1 is 0.9430, the champion's is 0.9125: 0.0305 better (95% interval +0.0157 to +0.0456) "
        "on 2,000 test images, of which they score 231 differently."
    )


def test_a_worse_challenger_is_rejected(rule: PromoteParams):
    verdict = judge(*pair(1740, 85, 146, 29), rule)
    assert verdict.decision == "reject"
    assert "worse by more than promote.margin (0.005)" in verdict.reasons[1]


def test_a_challenger_that_is_worse_by_less_than_the_margin_is_not_proven_anything(rule: PromoteParams):
    verdict = judge(*pair(99_700, 50, 250), rule)
    assert verdict.high is not None
    assert -rule.margin < verdict.high < 0
    assert verdict.decision == "not_enough_evidence"


def test_a_small_difference_is_told_how_many_images_would_prove_it(rule: PromoteParams):
    verdict = judge(*pair(870, 70, 60), rule)
    assert verdict.decision == "not_enough_evidence"
    needed = int(verdict.reasons[1].split()[8].replace(",", ""))
    share = needed / 1000
    assert judge(*pair(round(870 * share), round(70 * share), round(60 * share)), rule).low == pytest.approx(
        0, abs=2e-4
    )


def test_the_same_answers_on_every_image_are_no_evidence(rule: PromoteParams):
    verdict = judge(*pair(500, 0, 0, 20), rule)
    assert (verdict.decision, verdict.difference) == ("not_enough_evidence", 0)


def test_four_lucky_images_settle_nothing(rule: PromoteParams):
    four, five = judge(*pair(300, 4, 0), rule), judge(*pair(300, 5, 0), rule)
    assert four.low is not None
    assert four.low > 0
    assert (four.decision, five.decision) == ("not_enough_evidence", "promote")


def test_an_equal_challenger_wins_less_than_4_percent_of_the_time_however_many_images_differ():
    """Exact: of m disagreements an equal challenger wins each with probability 1/2."""
    m = np.arange(FEWEST_DISAGREEMENTS, 5000)
    wins_needed = np.floor((m + Z * np.sqrt(m)) / 2) + 1
    assert binom.sf(wins_needed - 1, m, 0.5).max() < 0.0392
    assert binom.sf(3, 4, 0.5) == 0.0625, "with four it is more than 5%, hence the minimum"


def test_the_interval_is_above_zero_exactly_when_mcnemars_test_rejects():
    gained, lost = np.meshgrid(np.arange(60), np.arange(60))
    low, high = paired_interval(gained, lost, 500, 0.95)
    statistic = (gained - lost) / np.sqrt(np.maximum(gained + lost, 1))
    np.testing.assert_array_equal(low > 1e-12, statistic > Z)
    np.testing.assert_array_equal(high < -1e-12, statistic < -Z)


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 5, 100), (5, 12, 100), (0, 3, 44), (140, 60, 2000), (9, 1, 10)])
def test_the_ends_of_the_interval_are_where_the_likelihood_says(gained: int, lost: int, n: int):
    """Tango's definition, with the likeliest probabilities found by a search instead of his formula."""

    def statistic(difference: float) -> float:
        def unlikely(p: float) -> float:
            cells = np.maximum([p + difference, p, 1 - 2 * p - difference], 1e-12)
            return -float(np.dot([gained, lost, n - gained - lost], np.log(cells)))

        p = minimize_scalar(
            unlikely, bounds=(max(0, -difference), (1 - difference) / 2), method="bounded", options={"xatol": 1e-10}
        ).x
        return (gained - lost - n * difference) / np.sqrt(n * (2 * p + difference - difference**2))

    low, high = (float(end) for end in paired_interval(gained, lost, n, 0.95))
    assert statistic(low) == pytest.approx(Z, abs=1e-3)
    assert statistic(high) == pytest.approx(-Z, abs=1e-3)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    drawn = random.multinomial(300, [0.09, 0.06, 0.85], size=20_000)
    low, high = paired_interval(drawn[:, 0], drawn[:, 1], 300, 0.95)
    assert 0.94 < ((low <= 0.03) & (high >= 0.03)).mean() < 0.96


@pytest.mark.parametrize(
    ("metrics", "kpis", "said"),
    [
        ({"latency_p99_ms": 1001.0}, {}, "latency_p99_ms is 1001; promote.max_latency_ms allows 1000 at most."),
        ({"size_mb": 501.0}, {}, "size_mb is 501; promote.max_size_mb allows 500 at most."),
        ({"macro_f1": 0.94}, {"macro_f1": 0.95}, "macro_f1 is 0.94; promote.kpis.macro_f1 asks for 0.95 at least."),
        ({"latency_p99_ms": 21.0}, {"latency_p99_ms": 20.0}, "promote.kpis.latency_p99_ms allows 20 at most."),
        ({"ece": 0.2}, {"ece": 0.1}, "ece is 0.2; promote.kpis.ece allows 0.1 at most."),
    ],
)
def test_a_broken_limit_rejects_a_better_challenger_and_a_first_one(
    rule: PromoteParams, metrics: dict[str, float], kpis: dict[str, float], said: str
):
    challenger, champion = pair(1740, 146, 85, 29)
    challenger = with_metrics(challenger, metrics)
    for verdict in (
        judge(challenger, champion, replace(rule, kpis=kpis)),
        judge(challenger, None, replace(rule, kpis=kpis)),
    ):
        assert verdict.decision == "reject"
        assert verdict.reasons[-1].endswith(said)


def test_an_engine_that_answers_unlike_its_onnx_file_is_rejected_and_one_within_chance_is_not(rule: PromoteParams):
    challenger, champion = pair(1740, 146, 85, 29)
    for same, decision in ((240, "reject"), (246, "promote")):
        engine = replace(challenger, parity=Parity(same, 256, 0.97))
        assert judge(engine, champion, rule).decision == decision


def test_the_first_model_is_promoted_when_it_keeps_the_limits(rule: PromoteParams):
    verdict = judge(judged(np.arange(270) % 30 > 0), None, rule)
    assert (verdict.decision, verdict.difference) == ("promote", None)
    assert verdict.reasons == ["There is no champion yet. top1 is 0.9667 on 270 test images."]


def test_a_class_that_falls_beyond_chance_rejects_a_challenger_that_is_better_on_the_whole(rule: PromoteParams):
    before = np.arange(1000) % 10 > 0  # all wrong on class 0 of 10
    after = np.ones(1000, dtype=bool)
    after[1::10] = np.arange(100) % 4 > 0  # class 1 falls by a quarter
    verdict = judge(judged(after, 10), judged(before, 10), rule)
    assert verdict.decision == "reject"
    assert verdict.reasons[-1] == (
        "Class 'class 1' fell by 0.250 on 100 images, more than chance explains (promote.max_class_loss allows 0.1)."
    )


def test_a_small_class_that_falls_within_chance_is_mentioned_and_stops_nothing(rule: PromoteParams):
    before, after = np.arange(200) % 10 > 0, np.ones(200, dtype=bool)
    after[1::10] = np.arange(20) % 5 > 0  # 4 of 20 images
    verdict = judge(judged(after, 10), judged(before, 10), replace(rule, max_class_loss=0.15))
    assert verdict.decision == "promote"
    assert "Class 'class 1' fell by 0.200 on 20 images, but within chance" in verdict.reasons[-1]
    verdict = judge(judged(after, 10), judged(before, 10), replace(rule, max_class_loss=0.15, min_class_images=21))
    assert len(verdict.reasons) == 2, "a class with too few images is not judged at all"


def test_another_metric_is_compared_by_resampling_the_images(rule: PromoteParams):
    challenger, champion = pair(1740, 146, 85, 29)
    better = replace(challenger, measure=lambda at: float(challenger.scores[at].mean()))
    worse = replace(champion, measure=lambda at: float(champion.scores[at].mean()))
    exact, drawn = judge(challenger, champion, rule), judge(better, worse, replace(rule, metric="macro_f1"))
    assert drawn.metric == "macro_f1"
    assert drawn.decision == "promote"
    assert (drawn.low, drawn.high) == (pytest.approx(exact.low, abs=2e-3), pytest.approx(exact.high, abs=2e-3))


def test_a_metric_of_which_less_is_better_promotes_the_model_that_has_less(rule: PromoteParams):
    loss = np.random.default_rng(0).uniform(0, 1, 500)
    model = with_metrics(judged(np.ones(500, dtype=bool)), {"loss": 0.5})
    low = replace(model, measure=lambda at: float(loss[at].mean()) / 2)
    high = replace(model, measure=lambda at: float(loss[at].mean()))
    rule = replace(rule, metric="loss")
    assert lower_is_better("loss")
    assert [judge(low, high, rule).decision, judge(high, low, rule).decision] == ["promote", "reject"]


def test_scores_between_right_and_wrong_are_compared_by_resampling(rule: PromoteParams):
    random = np.random.default_rng(0)
    champion = judged(np.ones(400, dtype=bool))
    champion = replace(champion, scores=random.uniform(0.4, 0.8, 400))
    same = replace(champion, scores=np.clip(champion.scores + random.normal(0, 0.1, 400), 0, 1))
    better = replace(champion, scores=np.clip(champion.scores + random.normal(0.05, 0.1, 400), 0, 1))
    assert judge(same, champion, rule).decision == "not_enough_evidence"
    assert judge(better, champion, rule).decision == "promote"


def test_equal_input_gives_an_equal_verdict(rule: PromoteParams):
    champion = replace(judged(np.ones(100, dtype=bool)), scores=np.linspace(0.2, 0.9, 100))
    challenger = replace(champion, scores=np.linspace(0.21, 0.92, 100))
    assert judge(challenger, champion, rule) == judge(challenger, champion, rule)


def test_models_that_saw_other_images_are_not_compared(rule: PromoteParams):
    challenger, champion = pair(90, 5, 5)
    with pytest.raises(GateError, match="not tested on the same images"):
        judge(replace(challenger, image_ids=challenger.image_ids[::-1]), champion, rule)


def test_an_unknown_metric_is_named_with_those_that_there_are(rule: PromoteParams):
    challenger, _ = pair(90, 5, 5)
    with pytest.raises(
        GateError, match=r"promote\.kpis\.f1: there is no metric 'f1'; there are latency_p99_ms, macro_f1"
    ):
        judge(challenger, None, replace(rule, kpis={"f1": 0.9}))


def test_a_cost_is_no_metric_to_compare_answers_by(rule: PromoteParams):
    challenger, champion = pair(90, 5, 5)
    with pytest.raises(GateError, match=r"promote\.metric: there is no metric 'size_mb'; there are macro_f1, top1\."):
        judge(challenger, champion, replace(rule, metric="size_mb"))


def test_without_test_images_nothing_is_judged(rule: PromoteParams):
    with pytest.raises(GateError, match="no test images"):
        judge(replace(judged(np.ones(1, dtype=bool)), scores=np.zeros(0)), None, rule)


def test_bounds_of_a_proportion_are_the_known_ones():
    assert wilson(0, 0, 0.95) == (0.0, 1.0)
    assert wilson(8, 10, 0.95) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert exact_bounds(0, 100) == (0.0, pytest.approx(1 - 0.05 ** (1 / 100)))
    assert exact_bounds(100, 100) == (pytest.approx(0.05 ** (1 / 100)), 1.0)
