"""Group layers into bands of like activations.

    bands = find_bands(recording.similarity("image", stack="transformer_blocks"))
    bands.grouped, [(band.name, band.span) for band in bands.bands]

As in Abhinay 2024 (claims 1 and 14), layers are clustered by the cosine matrix of their activations: agglomerative
clustering with average linkage on the distance 1 - similarity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_rand_score, silhouette_score

from painters_utils.errors import InputError

MOST = 8  # bands considered when their number is not given
SHUFFLES = 99  # so the smallest p-value is 0.01
LEAST_CONTRAST = 0.5  # the uneven drift of untrained toy models reaches 0.1 to 0.4, planted bands 1 to 2


@dataclass(frozen=True)
class Band:
    """A group of layers under a name: "first", "middle", "middle 2", "last", or "all"."""

    name: str
    layers: list[int]

    @property
    def span(self) -> list[int]:
        """[first, last], both included, as the strategies take a band."""
        return [self.layers[0], self.layers[-1]]


@dataclass(frozen=True)
class Bands:
    """The layers' groups, in the order of their first layers, and how much there is to them."""

    labels: np.ndarray  # (layers,) int, index into `bands`
    bands: list[Band]
    grouped: bool  # False: no group structure found
    score: float  # silhouette of the best grouping, -1 to 1
    contrast: float  # layers of one band against layers of two bands as far apart, in standard deviations
    p_value: float  # of that contrast, had similarity depended on how far apart layers are and on nothing else
    linkage: np.ndarray  # (layers - 1, 4) float64, for scipy.cluster.hierarchy.dendrogram


def find_bands(similarity: np.ndarray, n_bands: int | None = None, seed: int = 0) -> Bands:
    """Bands of a (layers, layers) matrix of similarities, as `Recording.similarity` returns it.

    The number of bands is the one from 2 to 8 with the best silhouette, unless `n_bands` gives it. Only neighbouring
    bands are merged, so that every band is a run of layers.

    Some grouping always comes out, also where there is none. Similarity that merely fades with depth is cut into
    pieces with a fair silhouette, so the silhouette alone cannot tell. Layers count as grouped if a layer is more
    similar to layers of its band than to other layers *just as far away on its other side*. This `contrast` is 0 for
    any steady drift, and must be
    - more than chance: greater than in each of 99 matrices whose diagonals are shuffled and whose bands are sought
      anew. Shuffling keeps how similarity fades with distance and destroys everything else. `seed` seeds it.
    - large enough to matter: at least half the standard deviation of the similarities.
    Fewer than about 8 layers have too few diagonals to shuffle, and are never found to be grouped.

    Where nothing is found, `grouped` is False and one band "all" holds every layer. With `n_bands` the bands are
    returned all the same, and `grouped` still says whether they are there.

    Raises `InputError` unless the matrix is square, symmetric, finite, within -1 to 1 and of at least 3 layers, and
    `n_bands` from 2 to one less than the layers.
    """
    similarity = checked(similarity)
    depth = len(similarity)
    if n_bands is not None and not (type(n_bands) is int and 2 <= n_bands < depth):
        raise InputError(f"n_bands {n_bands!r} does not suit {depth} layers: give a whole number from 2 to {depth - 1}")
    counts = [n_bands] if n_bands else list(range(2, min(MOST, depth - 1) + 1))

    labels, score, linkage = best_grouping(similarity, counts)
    contrast = equal_distance_contrast(similarity, labels)
    draw = np.random.default_rng(seed)
    as_large = 0
    for _ in range(SHUFFLES):
        shuffled = with_diagonals_shuffled(similarity, draw)
        as_large += equal_distance_contrast(shuffled, best_grouping(shuffled, counts)[0]) >= contrast
    p_value = (1 + as_large) / (SHUFFLES + 1)
    grouped = p_value <= 0.01 and contrast >= LEAST_CONTRAST

    if not grouped and n_bands is None:
        labels = np.zeros(depth, dtype=int)
    members = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    bands = [Band(name, layers) for name, layers in zip(band_names(len(members)), members, strict=True)]
    return Bands(labels, bands, grouped, score, contrast, p_value, linkage)


@dataclass(frozen=True)
class Stability:
    """How far the bands survive when pictures are drawn anew."""

    agreement: np.ndarray  # (draws,) adjusted Rand index with the bands: 1 the same, 0 no more alike than by chance
    contrast: np.ndarray  # (draws,) of the same number of bands, sought anew
    chance: float  # the contrast of as many bands sought where only the distance of layers counts
    borders: np.ndarray  # (layers - 1,) share of draws with a border between layer i and i + 1


def stability(
    samples: np.ndarray, n_bands: int, draws: int = 100, seed: int = 0, prompts: Sequence[str] | None = None
) -> Stability:  # fmt: skip
    """Seek `n_bands` bands anew in resampled data: samples (pictures or steps, layers, layers), drawn with replacement.

    With the `prompts` of the pictures, prompts are drawn first and then the pictures of each, which are alike. Stacks
    of one recording that are given the same seed are drawn alike, picture for picture.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 3 or len(samples) < 2:
        raise InputError(f"samples of shape {samples.shape} cannot be resampled: give two matrices at least")
    whole = best_grouping(checked(samples.mean(0)), [n_bands])[0]
    draw = np.random.default_rng(seed)
    names = np.arange(len(samples)) if prompts is None else np.asarray(prompts)
    if len(names) != len(samples):
        raise InputError(f"{len(samples)} samples of {len(names)} prompts: name the prompt of each")
    groups = [np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())]
    agreement, contrasts, borders = [], [], np.zeros(len(whole) - 1)
    for _ in range(draws):
        chosen = [groups[number] for number in draw.integers(0, len(groups), len(groups))]
        drawn = samples[np.concatenate([draw.choice(group, len(group)) for group in chosen])].mean(0)
        labels = best_grouping(drawn, [n_bands])[0]
        agreement.append(adjusted_rand_score(whole, labels))
        contrasts.append(equal_distance_contrast(drawn, labels))
        borders += np.diff(labels) != 0
    chance = []
    for _ in range(SHUFFLES):
        shuffled = with_diagonals_shuffled(samples.mean(0), draw)
        chance.append(equal_distance_contrast(shuffled, best_grouping(shuffled, [n_bands])[0]))
    return Stability(np.array(agreement), np.array(contrasts), float(np.mean(chance)), borders / draws)


def how_grouped(stable: Sequence[Stability]) -> np.ndarray:
    """One number for a model, (draws,): its stacks' contrast beyond chance, weighted by their layers. 0: no groups.

    Stacks of fewer than 8 layers are left out beside larger ones: their few pairs of layers show little.
    """
    large = [one for one in stable if len(one.borders) >= 7] or stable
    layers = [len(one.borders) + 1 for one in large]
    return np.average([one.contrast - one.chance for one in large], axis=0, weights=layers)


def band_names(count: int) -> list[str]:
    """ "first", "middle" or "middle 1", "middle 2" ..., "last"; "all" if there is but one."""
    if count == 1:
        return ["all"]
    middle = ["middle"] if count == 3 else [f"middle {number}" for number in range(1, count - 1)]
    return ["first", *middle, "last"]


def checked(similarity: np.ndarray) -> np.ndarray:
    """The matrix as float64, or `InputError`."""
    similarity = np.asarray(similarity, dtype=np.float64)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise InputError(f"similarity of shape {similarity.shape} is not square: give (layers, layers)")
    if len(similarity) < 3:
        raise InputError(f"{len(similarity)} layers cannot be grouped: give at least 3")
    if not np.isfinite(similarity).all():
        raise InputError("similarity holds NaN or infinite values: look where the recording stopped being finite")
    if not np.allclose(similarity, similarity.T, atol=1e-6):
        raise InputError("similarity is not symmetric: give one number for each pair of layers")
    if (largest := np.abs(similarity).max()) > 1 + 1e-6:
        raise InputError(f"similarity of {largest:.3g} lies outside -1 to 1: give cosines, not distances")
    return similarity


# -- clustering ---------------------------------------------------------------------------------------------


def best_grouping(similarity: np.ndarray, counts: list[int]) -> tuple[np.ndarray, float, np.ndarray]:
    """Labels (layers,) of the grouping with the best silhouette, that silhouette, and the tree in scipy's format."""
    distance = np.clip(1 - similarity, 0, None)
    np.fill_diagonal(distance, 0)
    children, heights = contiguous_merges(distance)
    groupings = [cut(children, count) for count in counts]
    scores = [silhouette_score(distance, labels, metric="precomputed") for labels in groupings]
    best = int(np.argmax(scores))
    return groupings[best], float(scores[best]), scipy_linkage(children, heights)


def contiguous_merges(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average linkage that only joins neighbours: the two nodes of each merge (layers - 1, 2) and their distance.

    Not scikit-learn's `connectivity`: it averages over connected pairs alone, which on a chain of layers are the two at
    the border, and so its average linkage is single linkage.
    """
    depth = len(distance)
    corner = np.zeros((depth + 1, depth + 1))
    corner[1:, 1:] = distance.cumsum(0).cumsum(1)  # corner[i, j] is the sum of distance[:i, :j]
    edges = np.arange(depth + 1)  # group g holds the layers from edges[g] to edges[g + 1] - 1
    nodes = list(range(depth))
    children, heights = [], []
    for node in range(depth, 2 * depth - 1):
        low, mid, high = edges[:-2], edges[1:-1], edges[2:]
        sums = corner[mid, high] - corner[low, high] - corner[mid, mid] + corner[low, mid]
        means = sums / ((mid - low) * (high - mid))
        group = int(np.argmin(means))
        children.append(nodes[group : group + 2])
        heights.append(max(means[group], 0.0))
        nodes[group : group + 2] = [node]
        edges = np.delete(edges, group + 1)
    return np.array(children), np.array(heights)


def cut(children: np.ndarray, count: int) -> np.ndarray:
    """Labels (layers,) after all but the last `count - 1` merges, numbered by their first layers."""
    depth = len(children) + 1
    groups = {layer: [layer] for layer in range(depth)}
    for merge, (left, right) in enumerate(children[: depth - count]):
        groups[depth + merge] = groups.pop(left) + groups.pop(right)
    labels = np.empty(depth, dtype=int)
    for label, layers in enumerate(sorted(groups.values(), key=min)):
        labels[layers] = label
    return labels


def scipy_linkage(children: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The tree as scipy draws it: left, right, height, number of layers.

    Joining neighbours only, a later merge can be the closer one; it is drawn no lower than those before it.
    """
    depth = len(children) + 1
    sizes = [1] * depth
    for left, right in children:
        sizes.append(sizes[left] + sizes[right])
    return np.column_stack([children, np.maximum.accumulate(heights), sizes[depth:]]).astype(np.float64)


# -- chance -------------------------------------------------------------------------------------------------


def equal_distance_contrast(similarity: np.ndarray, labels: np.ndarray) -> float:
    """How much more similar a layer is to its own band than to others at the same distance on its other side.

    Mean over layers i and distances d, where exactly one of i - d and i + d is in i's band, of the similarity to that
    one less the similarity to the other, in standard deviations of the similarities. Layers with their band below and
    above them weigh the same, so that steady drift cancels, also where it is faster in low layers.
    """
    below, above = [], []  # the layer's own band lies on this side
    depth = len(similarity)
    spread = similarity[np.triu_indices(depth, 1)].std()
    if spread < 1e-9:  # all alike
        return 0.0
    for distance in range(1, depth):
        centre = np.arange(distance, depth - distance)
        own_below = labels[centre] == labels[centre - distance]
        own_above = labels[centre] == labels[centre + distance]
        gain = similarity[centre, centre - distance] - similarity[centre, centre + distance]
        below.extend(gain[own_below & ~own_above])
        above.extend(-gain[own_above & ~own_below])
    return float(np.mean([np.mean(side) if side else 0.0 for side in (below, above)]) / spread)


def with_diagonals_shuffled(similarity: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The matrix with the values on each of its diagonals in random order, still symmetric."""
    shuffled = similarity.copy()
    for distance in range(1, len(similarity)):
        rows = np.arange(len(similarity) - distance)
        values = draw.permutation(similarity[rows, rows + distance])
        shuffled[rows, rows + distance] = shuffled[rows + distance, rows] = values
    return shuffled
