"""Bands that are there are found, and bands that are not there are not."""

from functools import cache

import numpy as np
import pytest
from scipy.cluster.hierarchy import dendrogram, fcluster, is_monotonic, is_valid_linkage
from sklearn.metrics import silhouette_score

from painters_utils.engine.bands import (
    Band,
    Bands,
    band_names,
    best_grouping,
    contiguous_merges,
    find_bands,
    how_grouped,
    stability,
)
from painters_utils.errors import InputError


def planted(sizes: list[int], within: float = 0.8, across: float = 0.4) -> np.ndarray:
    """(layers, layers): one similarity inside bands of the given sizes, another between them."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.where(labels[:, None] == labels, within, across)


def fading(depth: int, length: float) -> np.ndarray:
    """Similarity that fades with distance in depth, and knows no bands."""
    return np.exp(-np.abs(np.subtract.outer(np.arange(depth), np.arange(depth))) / length)


def random_walk(depth: int, start: float) -> np.ndarray:
    """Layers that each add a random update: similarity sqrt(i / j), faster drift in low layers, no bands."""
    steps = np.arange(depth) + start
    return np.sqrt(np.minimum.outer(steps, steps) / np.maximum.outer(steps, steps))


def noisy(similarity: np.ndarray, deviation: float, seed: int = 0) -> np.ndarray:
    noise = np.triu(np.random.default_rng(seed).normal(0, deviation, similarity.shape), 1)
    result = np.clip(similarity + noise + noise.T, -1, 1)
    np.fill_diagonal(result, 1)
    return result


@cache
def found_in_four() -> Bands:
    """Four bands under noise, sought once for all tests that look at the answer."""
    return find_bands(noisy(planted([4, 14, 13, 7]), 0.2))


# -- what is there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "sizes, deviation",
    [
        ([4, 14, 13, 7], 0.2),
        pytest.param([3, 13, 3], 0.1, marks=pytest.mark.slow),
        pytest.param([19, 38], 0.2, marks=pytest.mark.slow),
        pytest.param([1, 17, 1], 0.05, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_planted_bands_are_found(sizes, deviation, seed):
    similarity = noisy(planted(sizes), deviation, seed)
    found = find_bands(similarity)
    assert found.grouped and found.p_value == 0.01
    edges = np.cumsum([0, *sizes])
    assert [band.span for band in found.bands] == [[low, high - 1] for low, high in zip(edges, edges[1:], strict=False)]
    assert found.labels.tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()
    spread = similarity[np.triu_indices(sum(sizes), 1)].std()
    assert found.contrast == pytest.approx((0.8 - 0.4) / spread, rel=0.15)


@pytest.mark.slow
def test_bands_inside_which_similarity_fades_are_found():
    similarity = 0.5 * fading(38, 10) + 0.4 * planted([4, 14, 13, 7], 1, 0)
    found = find_bands(noisy(similarity, 0.03))
    assert found.grouped and [len(band.layers) for band in found.bands] == [4, 14, 13, 7]


def test_names():
    assert band_names(1) == ["all"]
    assert band_names(2) == ["first", "last"]
    assert band_names(3) == ["first", "middle", "last"]
    assert band_names(4) == ["first", "middle 1", "middle 2", "last"]
    found = found_in_four()
    assert [band.name for band in found.bands] == ["first", "middle 1", "middle 2", "last"]
    assert found.bands[0].layers == [0, 1, 2, 3]


# -- what is not there ----------------------------------------------------------------------------------------

UNGROUPED = {
    "identity": np.eye(38),
    "constant": np.ones((38, 38)),
    "weak constant": noisy(np.full((38, 38), 0.7), 0),
    "fast fading": fading(38, 3),
    "slow fading": fading(24, 30),
    "random walk": random_walk(38, 5),
}
PLAIN = ("fast fading", "identity", "constant", "weak constant", "slow fading")


@pytest.mark.parametrize("name", ["random walk", *(pytest.param(name, marks=pytest.mark.slow) for name in PLAIN)])
def test_no_bands_are_found_where_there_are_none(name):
    found = find_bands(UNGROUPED[name])
    assert not found.grouped
    assert found.bands == [Band("all", list(range(len(UNGROUPED[name]))))]
    assert not found.labels.any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", UNGROUPED)
def test_nor_under_noise(name, seed):
    assert not find_bands(noisy(UNGROUPED[name], 0.05, seed)).grouped


def test_a_few_layers_are_never_grouped():
    found = find_bands(noisy(planted([2, 2]), 0.01))
    assert not found.grouped and found.p_value > 0.01


# -- asked for ------------------------------------------------------------------------------------------------


def test_the_number_of_bands_can_be_given():
    similarity = noisy(planted([4, 14, 13, 7]), 0.05)
    assert [band.span for band in find_bands(similarity, n_bands=4).bands] == [[0, 3], [4, 17], [18, 30], [31, 37]]
    assert len(find_bands(similarity, n_bands=9).bands) == 9
    faded = find_bands(fading(20, 5), n_bands=3)
    assert not faded.grouped and [band.name for band in faded.bands] == ["first", "middle", "last"]


def test_the_same_matrix_gives_the_same_answer():
    first, second = (find_bands(noisy(fading(20, 5), 0.1), n_bands=3, seed=3) for _ in range(2))
    assert (first.p_value, first.contrast, first.score) == (second.p_value, second.contrast, second.score)


# -- the tree -------------------------------------------------------------------------------------------------


def test_the_grouping_with_the_best_silhouette_is_taken():
    similarity = noisy(planted([5, 8, 6]), 0.3)
    distance = 1 - similarity
    scores = {}
    for count in range(2, 7):
        labels, scores[count], _ = best_grouping(similarity, [count])
        assert scores[count] == pytest.approx(silhouette_score(distance, labels, metric="precomputed"))
    labels, score, _ = best_grouping(similarity, list(scores))
    assert score == max(scores.values()) and labels.max() + 1 == max(scores, key=scores.get)


def test_contiguous_tree_joins_the_closest_neighbours():
    """Against the definition: means over all pairs of layers of two neighbouring groups, one pair at a time."""
    distance = 1 - noisy(planted([3, 5, 4]), 0.2)
    np.fill_diagonal(distance, 0)
    children, heights = contiguous_merges(distance)
    groups = [(layer, [layer]) for layer in range(12)]
    for node, (pair, height) in enumerate(zip(children.tolist(), heights, strict=True), start=12):
        means = [np.mean([distance[i, j] for i in left for j in right])
                 for (_, left), (_, right) in zip(groups, groups[1:], strict=False)]  # fmt: skip
        place = int(np.argmin(means))
        assert pair == [groups[place][0], groups[place + 1][0]]
        assert height == pytest.approx(means[place])
        groups[place : place + 2] = [(node, groups[place][1] + groups[place + 1][1])]
    assert groups == [(22, list(range(12)))]


def test_scipy_draws_the_tree():
    found = found_in_four()
    assert is_valid_linkage(found.linkage) and is_monotonic(found.linkage)
    assert sorted(dendrogram(found.linkage, no_plot=True)["leaves"]) == list(range(38))
    ours, theirs = found.labels, fcluster(found.linkage, len(found.bands), "maxclust")
    np.testing.assert_array_equal(ours[:, None] == ours, theirs[:, None] == theirs)


# -- bad input ------------------------------------------------------------------------------------------------


def changed(row: int, column: int, value: float) -> np.ndarray:
    similarity = np.eye(5)
    similarity[row, column] = value
    return similarity


@pytest.mark.parametrize(
    "similarity, n_bands, message",
    [
        (np.ones((4, 5)), None, r"\(4, 5\) is not square"),
        (np.ones(4), None, r"\(4,\) is not square"),
        (np.eye(2), None, "2 layers .* at least 3"),
        (changed(1, 1, np.nan), None, "holds NaN"),
        (changed(1, 3, 0.5), None, "is not symmetric"),
        (3 * np.eye(5), None, "similarity of 3 .* -1 to 1"),
        (np.eye(5), 1, "n_bands 1 .* from 2 to 4"),
        (np.eye(5), 5, "n_bands 5"),
        (np.eye(5), 2.0, "n_bands 2.0"),
        (np.eye(5), True, "n_bands True"),
    ],
)
def test_bad_input_is_refused(similarity, n_bands, message):
    with pytest.raises(InputError, match=message):
        find_bands(similarity, n_bands)


# -- what survives resampling ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_bands_that_are_there_survive_resampling_and_noise_does_not():
    samples = np.stack([noisy(planted([4, 14, 13, 7]), 0.2, seed) for seed in range(12)])
    found = stability(samples, 4)
    assert found.agreement.mean() > 0.99
    assert np.flatnonzero(found.borders > 0.9).tolist() == [3, 17, 30]
    assert found.contrast.min() > 0.5
    nothing = stability(np.stack([noisy(planted([20]), 0.2, seed) for seed in range(12)]), 4)
    assert nothing.agreement.mean() < 0.8
    assert nothing.borders.max() < 0.9
    assert how_grouped([found, nothing]).shape == (100,)
    assert abs(how_grouped([nothing]).mean()) < 0.3
    assert how_grouped([found]).mean() > 0.5
    assert how_grouped([found]).mean() > how_grouped([found, nothing]).mean() > how_grouped([nothing]).mean()
    short = stability(np.stack([noisy(planted([2, 2]), 0.1, seed) for seed in range(3)]), 2)
    assert np.array_equal(how_grouped([found, short]), how_grouped([found])), "four layers show nothing"
    assert np.isfinite(how_grouped([short])).all(), "all that a small model has"


def test_pictures_of_one_prompt_are_drawn_together():
    """Three equal pictures a prompt tell no more than one: the intervals must not get narrower by them."""
    some = np.stack([noisy(planted([4, 14, 13, 7]), 0.4, seed) for seed in range(6)])
    thrice, prompts = np.concatenate([some] * 3), [str(number) for number in range(6)] * 3
    alone, together, naive = (stability(*one, 4, draws=400, prompts=names).contrast.std()
                              for one, names in (((some,), None), ((thrice,), prompts), ((thrice,), None)))  # fmt: skip
    assert together == pytest.approx(alone, rel=0.2) and naive < 0.75 * alone
    with pytest.raises(InputError, match="name the prompt of each"):
        stability(some, 4, prompts=["one"])


@pytest.mark.parametrize("samples", [np.zeros((1, 5, 5)), np.zeros((5, 5))])
def test_what_cannot_be_resampled_is_refused(samples):
    with pytest.raises(InputError, match="give two matrices at least"):
        stability(samples, 2)
