"""Rankings of teachers against closed forms, naive loops, scipy and simulation."""

import numpy as np
import pytest
import scipy.stats

from nt_lightning.data import teacher_ranking
from nt_lightning.data.score_warnings import (
    confounded,
    families_of,
    same_family,
    step_length_correlation,
    uncertain,
)
from nt_lightning.data.teacher_ranking import (
    bootstrap,
    grid_of,
    kendall,
    rank_teachers,
    spearman,
)
from nt_lightning.traces.scores import Ratio

RNG = np.random.default_rng(11)


def plain(grid):
    grid = np.asarray(grid, dtype=float)
    return Ratio(grid, np.where(np.isfinite(grid), 1.0, np.nan))


def ranked(grid, **options):
    return rank_teachers({"score": plain(grid)}, **options)["score"]


def test_a_cell_is_the_mean_of_its_responses():
    """The first teacher has answered the first question twice, the second one not at all."""
    ratio = Ratio(np.array([1.0, 3.0, 5.0, np.nan, 7.0]), np.array([1.0, 2.0, 1.0, np.nan, 1.0]))
    grid = grid_of(ratio, np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 1]), 2, 2)
    np.testing.assert_array_equal(grid.numerator, [[2, np.nan], [5, 7]])
    np.testing.assert_array_equal(grid.denominator, [[1.5, np.nan], [1, 1]])


def test_only_questions_that_all_have_count():
    grid = [[1, 2], [3, np.nan], [5, 8], [np.nan, 100]]
    found = ranked(grid, draws=10)
    assert found.num_prompts == 2
    assert found.mean.tolist() == [3, 5]
    assert found.order.tolist() == [1, 0]
    assert found.gap.value == 2
    assert rank_teachers({"none": plain([[1, np.nan], [np.nan, 2]])}) == {}


def test_the_bootstrap_is_the_naive_one():
    numerator, denominator = RNG.normal(size=(7, 3)), RNG.uniform(1, 2, (7, 3))
    found = bootstrap(Ratio(numerator, denominator), draws=50, seed=3)
    generator = np.random.default_rng(3)
    for draw in found:
        places = generator.integers(0, 7, 7)
        expected = numerator[places].sum(0) / denominator[places].sum(0)
        np.testing.assert_allclose(draw, expected, rtol=1e-12)


def test_blocks_do_not_change_the_draws(monkeypatch):
    parts = plain(RNG.normal(size=(9, 2)))
    whole = bootstrap(parts, draws=101, seed=0)
    monkeypatch.setattr(teacher_ranking, "WEIGHTS", 40)
    np.testing.assert_allclose(bootstrap(parts, draws=101, seed=0), whole, rtol=1e-12)
    assert (bootstrap(parts, draws=101, seed=1) != whole).any()


def test_the_spread_is_the_closed_form():
    """Of a mean: the standard deviation with P in the denominator over the root of P."""
    grid = RNG.normal(size=(400, 2)) * [1, 3]
    drawn = bootstrap(plain(grid), draws=20_000, seed=0)
    np.testing.assert_allclose(drawn.mean(0), grid.mean(0), atol=0.005)
    np.testing.assert_allclose(drawn.std(0), grid.std(0) / 20, rtol=0.02)
    found = ranked(grid, draws=20_000)
    half = 1.96 * grid.std(0) / 20
    np.testing.assert_allclose(found.high - found.low, 2 * half, rtol=0.03)


def test_the_probability_of_being_best_is_the_normal_one():
    grid = RNG.normal(size=(300, 2))
    grid[:, 1] += grid[:, 0].mean() - grid[:, 1].mean() + 0.08
    difference = grid[:, 1] - grid[:, 0]
    expected = scipy.stats.norm.cdf(difference.mean() / (difference.std() / np.sqrt(300)))
    found = ranked(grid)
    assert found.best[1] == pytest.approx(expected, abs=0.01)
    assert found.best.sum() == pytest.approx(1)


def test_equals_share_the_first_place():
    one = RNG.normal(size=(20, 1))
    found = ranked(np.hstack([one, one, one - 1]), draws=100)
    assert found.best.tolist() == [0.5, 0.5, 0]
    assert (found.gap.value, found.gap.low, found.gap.high) == (0, 0, 0)


def test_differences_are_paired():
    """Questions differ a hundred times more than teachers do: unpaired nothing would be seen."""
    hard = 100 * RNG.normal(size=(60, 1))
    found = ranked(hard + [[0.5, 0.0]] + 0.1 * RNG.normal(size=(60, 2)), draws=2_000)
    assert found.low[0] < found.high[1]
    assert 0.4 < found.gap.low < found.gap.high < 0.6
    assert found.best.tolist() == [1, 0]


def test_rsr_is_the_ratio_of_the_sums():
    ranks, surprisal = RNG.uniform(1, 100, (80, 2)), RNG.uniform(0.1, 50, (80, 2))
    found = rank_teachers({"rsr": Ratio(-ranks, surprisal)}, draws=500)["rsr"]
    np.testing.assert_allclose(found.mean, -ranks.sum(0) / surprisal.sum(0))
    assert np.abs(found.mean - (-ranks / surprisal).mean(0)).max() > 1
    drawn = bootstrap(Ratio(-ranks, surprisal), draws=500, seed=0)
    np.testing.assert_allclose(found.low, np.quantile(drawn, 0.025, axis=0))


@pytest.mark.parametrize("total", [1_500, 12_345])
def test_groups_of_questions_spread_as_questions_do(total, monkeypatch):
    """Intervals, the gap and the probability to be best, of a mean and of a ratio of sums."""
    hard = 5 * RNG.normal(size=(total, 1))
    grid = hard + RNG.normal(size=(total, 3)) * [1, 2, 3]
    grid += [0.02, 0.0, -0.1] - grid.mean(0)
    grids = {"mean": plain(grid), "rsr": Ratio(grid + 40, RNG.uniform(1, 9, (total, 3)))}
    monkeypatch.setattr(teacher_ranking, "MOST_DRAWN", total)
    plainly = rank_teachers(grids, draws=3_000)
    monkeypatch.setattr(teacher_ranking, "MOST_DRAWN", 1_000)
    for name, found in rank_teachers(grids, draws=3_000).items():
        wanted = plainly[name]
        assert found.num_prompts == total
        np.testing.assert_array_equal(found.mean, wanted.mean)
        width = wanted.high - wanted.low
        assert (np.abs(found.high - found.low - width) < 0.12 * width).all()
        assert (np.abs(found.high - wanted.high) < 0.1 * width).all()
        assert found.gap.high - found.gap.low == pytest.approx(
            wanted.gap.high - wanted.gap.low, rel=0.12
        )
        np.testing.assert_allclose(found.best, wanted.best, atol=0.06)


def test_many_questions_take_little_time(monkeypatch):
    weights = teacher_ranking._bootstrap_weights
    drawn = []
    monkeypatch.setattr(
        teacher_ranking,
        "_bootstrap_weights",
        lambda total, *rest: (drawn.append(total), weights(total, *rest))[1],
    )
    one = RNG.normal(size=(50_000, 1))
    found = ranked(np.hstack([one, one, one - 1]), draws=50)
    assert drawn == [teacher_ranking.MOST_DRAWN]
    assert found.best.tolist() == [0.5, 0.5, 0]
    assert found.num_prompts == 50_000


def test_a_rank_correlation_of_many_is_that_of_a_sample(monkeypatch):
    one = RNG.normal(size=30_000)
    two = one + RNG.normal(size=30_000)
    whole = spearman(one, two)
    monkeypatch.setattr(teacher_ranking, "MOST_PAIRS", 10_000)
    sizes = []
    ranks = teacher_ranking._ranks
    monkeypatch.setattr(
        teacher_ranking, "_ranks", lambda values: (sizes.append(len(values)), ranks(values))[1]
    )
    assert spearman(one, two) == spearman(one, two) == pytest.approx(whole, abs=0.02)
    assert sizes == [10_000] * 4


def test_scores_with_the_same_questions_have_the_same_draws():
    one, two = RNG.normal(size=(30, 3)), RNG.normal(size=(30, 3))
    holes = np.where(np.arange(30)[:, None] == 4, np.nan, two)
    found = rank_teachers({"a": plain(one), "b": plain(two), "c": plain(holes)}, draws=200)
    assert list(found) == ["a", "b", "c"]
    for name, grid in (("a", one), ("b", two), ("c", np.delete(two, 4, axis=0))):
        alone = ranked(grid, draws=200)
        np.testing.assert_allclose(found[name].low, alone.low)
        assert found[name].num_prompts == alone.num_prompts


def test_intervals_cover_what_they_promise():
    """In 300 worlds with a known difference of 0.3, 95 % of the intervals hold it."""
    rng = np.random.default_rng(0)
    hit = 0
    for world in range(300):
        hard = rng.normal(size=(80, 1))
        grid = hard + rng.normal(size=(80, 2)) + [0.3, 0.0]
        drawn = bootstrap(plain(grid), draws=400, seed=world)
        low, high = np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])
        hit += low <= 0.3 <= high
    assert 0.915 <= hit / 300 <= 0.98


def test_one_teacher_has_a_ranking_of_one():
    found = ranked(RNG.normal(size=(60, 1)), draws=100)
    assert (found.gap, found.best.tolist(), found.order.tolist()) == (None, [1], [0])
    (warning,) = uncertain("lalp_4", found, ["QwQ"])
    assert warning == ("one_teacher", "'QwQ' is the only teacher: none was chosen")


def test_rank_correlations_are_scipys():
    for _ in range(30):
        one, two = RNG.integers(0, 6, (2, 12)).astype(float)
        assert spearman(one, two) == pytest.approx(scipy.stats.spearmanr(one, two).statistic)
        assert kendall(one, two) == pytest.approx(scipy.stats.kendalltau(one, two).statistic)
    holes = np.array([1, np.nan, 3, 2.0]), np.array([5, 1, np.nan, 9.0])
    assert spearman(*holes) == pytest.approx(1)
    for one in (np.ones(4), np.ones(1)):
        assert spearman(one, np.arange(len(one)) * 1.0) is None
        assert kendall(one, np.arange(len(one)) * 1.0) is None


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("Qwen/Qwen2.5-7B", {"Qwen"}),
        ("QwQ-32B", {"Qwen"}),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", {"Qwen", "DeepSeek"}),
        ("DeepSeek-R1-Distill-Llama-70B", {"Llama", "DeepSeek"}),
        ("meta-llama/Llama-3.1-8B-Instruct", {"Llama"}),
        ("models/qwen/gemma-2-9b/", {"Gemma"}),
        ("simplescaling/s1.1-32B", {"Qwen"}),
        ("microsoft/Phi-4-reasoning", {"Phi"}),
        ("delphi-7b", set()),
        ("step_by_step", set()),
        ("gpt-5", set()),
    ],
)
def test_families_by_name(name, families):
    assert families_of(name) == families


def test_teachers_of_the_students_family_are_named():
    teachers = ["DeepSeek-R1", "QwQ-32B", "human"]
    found = list(same_family("Qwen/Qwen2.5-7B", teachers))
    assert [one.code for one in found] == ["same_family"]
    assert "teacher 'QwQ-32B' and student 'Qwen/Qwen2.5-7B' are both of the family Qwen" in (
        found[0].text
    )
    assert not list(same_family("smollm2-135m-instruct", teachers))


def test_step_length_between_teachers_alone_and_within():
    """Two teachers of their own step lengths: across it goes with the score, within it does not."""
    teachers = np.repeat([0, 1], 400)
    lengths = 10 + 10 * teachers + RNG.random(800)
    between = step_length_correlation(teachers + 0.1 * RNG.random(800), lengths, teachers)
    assert between.across > 0.7
    assert abs(between.within) < 0.15
    (warning,) = confounded("lalp_4", between)
    assert warning.code == "step_length"
    assert "over all responses" in warning.text
    assert "within" not in warning.text
    within = step_length_correlation(-(lengths - 20 * teachers), lengths, teachers)
    assert within.within == pytest.approx(-1)
    assert not list(confounded("x", step_length_correlation(RNG.random(800), lengths, teachers)))
    one = step_length_correlation(np.array([1.0, np.nan]), np.ones(2), np.zeros(2, int))
    assert one == (None, None)


def test_few_questions_and_no_clear_best_are_said():
    grid = RNG.normal(size=(49, 2))
    grid[:, 1] += (grid[:, 0] - grid[:, 1]).mean() - 0.01
    found = list(uncertain("galp", ranked(grid, draws=500), ["a", "b"]))
    assert [one.code for one in found] == ["few_prompts", "no_clear_best"]
    assert found[0].text.startswith("questions with galp for all teachers: 49; under 50")
    assert found[1].text.startswith("'a' is not clearly better than 'b' by galp: the 95 % interval")
    clear = np.hstack([RNG.normal(size=(50, 1)), 9 + RNG.normal(size=(50, 1))])
    assert not list(uncertain("galp", ranked(clear, draws=500), ["a", "b"]))


def test_the_architecture_tells_the_family_where_the_name_does_not():
    teachers = ["QwQ-32B", "Llama-3.3-70B"]
    found = list(same_family("runs/export", teachers, "qwen2"))
    assert ["QwQ-32B" in one.text for one in found] == [True]
    assert not list(same_family("runs/export", teachers))
    assert not list(same_family("smollm2-135m-instruct", teachers, "llama"))
