"""The orders that the strategies build, checked by hand, by the article's own orders, and by what all must keep."""

import json

import pytest

from painters_utils.engine.describe import describe
from painters_utils.engine.orders import Order, check_order
from painters_utils.engine.strategies import (
    STRATEGIES,
    build_order,
    identity,
    looped_parallel,
    middle_band,
    middle_repeat,
    parallel,
    random_order,
    remove_first,
    remove_last,
    reverse,
    skip,
    swap_neighbours,
)
from painters_utils.errors import InputError

OF_A_BAND = ["skip", "middle_repeat", "reverse", "random_order", "parallel", "looped_parallel"]


def span(first: int, last: int) -> list[int]:
    """Layers `first` to `last`, both included, as the article writes them."""
    return list(range(first, last + 1))


BY_HAND = [
    (identity(4), [0, 1, 2, 3]),
    (skip(5, [1, 2]), [0, 3, 4]),
    (skip(5, [0, 3]), [4]),
    (middle_repeat(6, [1, 3]), [0, 2, 2, 2, 4, 5]),
    (middle_repeat(6, [1, 4]), [0, 2, 2, 2, 2, 5]),
    (middle_repeat(6, [1, 3], layer=3), [0, 3, 3, 3, 4, 5]),
    (reverse(6, [1, 4]), [0, 4, 3, 2, 1, 5]),
    (parallel(6, [1, 4]), [0, [1, 2, 3, 4], 5]),
    (looped_parallel(4, [1, 2], loops=2), [0, [1, 2], [1, 2], 3]),
    (looped_parallel(4, [1, 2]), [0, [1, 2], [1, 2], [1, 2], 3]),
    (parallel(3, [0, 2]), [[0, 1, 2]]),
    (remove_first(4, 1), [1, 2, 3]),
    (remove_first(4, 0), [0, 1, 2, 3]),
    (remove_last(4, 3), [0]),
    (remove_last(4, 0), [0, 1, 2, 3]),
    (swap_neighbours(4, 2), [0, 1, 3, 2]),
]


@pytest.mark.parametrize("order, expected", BY_HAND)
def test_orders_by_hand(order: Order, expected: Order) -> None:
    assert order == expected


# The orders of the article "Extending Transformer Layers as Painters to DiT's", but for those that are slips: its
# parallel orders of FLUX's MM-DiT also drop layer 16 and that of SD3's 10–13 also drops 14–21. Here they do not.
ARTICLE = {
    "FLUX MM-DiT": [
        (skip(19, [7, 10]), span(0, 6) + span(11, 18), "layers 7–10 are skipped"),
        (remove_first(19, 1), span(1, 18), "layer 0 is skipped"),
        (remove_last(19, 1), span(0, 17), "layer 18 is skipped"),
        (middle_repeat(19, [3, 16]), span(0, 2) + [9] * 14 + span(17, 18),
         "layers 3–8 and 10–16 are skipped; layer 9 is run 14 times"),
        (reverse(19, [3, 15]), span(0, 2) + span(3, 15)[::-1] + span(16, 18), "layers 3–15 run in reverse order"),
        (parallel(19, [3, 15]), span(0, 2) + [span(3, 15)] + span(16, 18), "layers 3–15 run in parallel"),
        (looped_parallel(19, [3, 15], loops=13), span(0, 2) + [span(3, 15)] * 13 + span(16, 18),
         "layers 3–15 run in parallel, 13 times over"),
    ],
    "FLUX single": [
        (skip(38, [10, 13]), span(0, 9) + span(14, 37), "layers 10–13 are skipped"),
        (skip(38, [22, 26]), span(0, 21) + span(27, 37), "layers 22–26 are skipped"),
        (middle_repeat(38, [4, 35]), span(0, 3) + [19] * 32 + span(36, 37),
         "layers 4–18 and 20–35 are skipped; layer 19 is run 32 times"),
        (reverse(38, [5, 33]), span(0, 4) + span(5, 33)[::-1] + span(34, 37), "layers 5–33 run in reverse order"),
        (parallel(38, [4, 33]), span(0, 3) + [span(4, 33)] + span(34, 37), "layers 4–33 run in parallel"),
        (looped_parallel(38, [4, 33], loops=30), span(0, 3) + [span(4, 33)] * 30 + span(34, 37),
         "layers 4–33 run in parallel, 30 times over"),
    ],
    "SD3": [
        (skip(24, [20, 21]), span(0, 19) + span(22, 23), "layers 20 and 21 are skipped"),
        (skip(24, [13, 14]), span(0, 12) + span(15, 23), "layers 13 and 14 are skipped"),
        (remove_first(24, 1), span(1, 23), "layer 0 is skipped"),
        (middle_repeat(24, [14, 17]), span(0, 13) + [15] * 4 + span(18, 23),
         "layers 14 and 16–17 are skipped; layer 15 is run 4 times"),
        (middle_repeat(24, [18, 21]), span(0, 17) + [19] * 4 + span(22, 23),
         "layers 18 and 20–21 are skipped; layer 19 is run 4 times"),
        (reverse(24, [18, 21]), span(0, 17) + [21, 20, 19, 18] + span(22, 23), "layers 18–21 run in reverse order"),
        (parallel(24, [18, 21]), span(0, 17) + [span(18, 21)] + span(22, 23), "layers 18–21 run in parallel"),
        (looped_parallel(24, [10, 13], loops=4), span(0, 9) + [span(10, 13)] * 4 + span(14, 23),
         "layers 10–13 run in parallel, 4 times over"),
    ],
    "AuraFlow MM-DiT": [
        (skip(4, [2, 2]), [0, 1, 3], "layer 2 is skipped"),
        (middle_repeat(4, [1, 2]), [0, 1, 1, 3], "layer 2 is skipped; layer 1 is run 2 times"),
        (reverse(4, [1, 2]), [0, 2, 1, 3], "layers 1 and 2 change places"),
        (parallel(4, [1, 2]), [0, [1, 2], 3], "layers 1 and 2 run in parallel"),
        (looped_parallel(4, [1, 2], loops=2), [0, [1, 2], [1, 2], 3], "layers 1 and 2 run in parallel, 2 times over"),
    ],
    "AuraFlow single": [
        (remove_first(32, 4), span(4, 31), "layers 0–3 are skipped"),
        (remove_last(32, 2), span(0, 29), "layers 30 and 31 are skipped"),
        (skip(32, [18, 20]), span(0, 17) + span(21, 31), "layers 18–20 are skipped"),
        (middle_repeat(32, [18, 20]), span(0, 17) + [19] * 3 + span(21, 31),
         "layers 18 and 20 are skipped; layer 19 is run 3 times"),
        (reverse(32, [18, 20]), span(0, 17) + [20, 19, 18] + span(21, 31), "layers 18–20 run in reverse order"),
        (looped_parallel(32, [18, 20], loops=3), span(0, 17) + [[18, 19, 20]] * 3 + span(21, 31),
         "layers 18–20 run in parallel, 3 times over"),
    ],
}  # fmt: skip
DEPTH = {"FLUX MM-DiT": 19, "FLUX single": 38, "SD3": 24, "AuraFlow MM-DiT": 4, "AuraFlow single": 32}


@pytest.mark.parametrize("stack", ARTICLE)
def test_the_articles_orders(stack: str) -> None:
    for order, expected, said in ARTICLE[stack]:
        assert order == expected
        assert describe(order, DEPTH[stack]) == said


# -- what all strategies keep -------------------------------------------------------------------------------


def every_order(depth: int, band: list[int]) -> dict[str, Order]:
    """What each strategy makes of a band, or of its first layer."""
    from_first = {"remove_first": {"k": band[0]}, "remove_last": {"k": band[0]}, "swap_neighbours": {"i": band[0]}}
    given = {name: from_first.get(name, {} if name == "identity" else {"band": band}) for name in STRATEGIES}
    return {name: build_order(name, depth, **options) for name, options in given.items()}


@pytest.mark.parametrize("depth", [2, 4, 19, 24])
def test_every_order_can_run_and_is_plain_json(depth: int) -> None:
    for first in range(depth - 1):
        for last in range(first, depth - (first == 0)):  # all but the whole stack, which skip refuses
            for name, order in every_order(depth, [first, last]).items():
                check_order(order, depth, name)
                assert json.loads(json.dumps(order)) == order


@pytest.mark.parametrize("name", OF_A_BAND)
def test_layers_outside_the_band_stay_where_they_are(name: str) -> None:
    order = build_order(name, 19, [3, 15])
    assert order[:3] == [0, 1, 2] and order[-3:] == [16, 17, 18]
    if name == "skip":
        assert len(order) == 6
    else:
        inside = [layer for step in order[3:-3] for layer in (step if isinstance(step, list) else [step])]
        assert set(inside) == ({9} if name == "middle_repeat" else set(span(3, 15)))


@pytest.mark.parametrize("build", [middle_repeat, reverse, random_order])
def test_these_keep_the_number_of_steps(build) -> None:
    assert len(build(38, [5, 33])) == 38


def test_reverse_twice_is_identity() -> None:
    backwards = reverse(19, [3, 15])
    assert [backwards[layer] for layer in backwards] == identity(19)


def test_no_group_of_a_loop_is_shared() -> None:
    order = looped_parallel(4, [1, 2], loops=2)
    order[1].append(3)
    assert order == [0, [1, 2, 3], [1, 2], 3]


@pytest.mark.parametrize("build", [reverse, random_order, middle_repeat])
def test_a_band_of_one_leaves_nothing_to_change(build) -> None:
    assert build(4, [2, 2]) == identity(4)


# -- random order -------------------------------------------------------------------------------------------


def test_random_order_is_a_permutation_given_by_its_seed() -> None:
    orders = [random_order(19, [3, 15], seed) for seed in range(10)]
    assert orders == [random_order(19, [3, 15], seed) for seed in range(10)]
    assert all(sorted(order) == identity(19) for order in orders)
    assert len({tuple(order) for order in orders}) == 10


def test_random_order_is_the_same_on_every_machine() -> None:
    assert random_order(8, [1, 6], seed=0)[1:7] == [5, 3, 2, 1, 6, 4]


def test_random_order_always_changes_something() -> None:
    assert all(random_order(4, [1, 2], seed) == [0, 2, 1, 3] for seed in range(20))


# -- middle band --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 4, 19, 32])
def test_middle_band_is_the_papers(depth: int) -> None:
    for s in range((depth - 2) // 2 + 1):
        first, last = middle_band(depth, s)
        kept = [i for i in range(depth) if i <= s or i >= depth - s]
        assert skip(depth, [first, last]) == kept
        assert last - first + 1 == depth - 2 * s - 1 >= 1


@pytest.mark.parametrize("s", [9, -1])
def test_a_middle_band_of_nothing_is_refused(s: int) -> None:
    with pytest.raises(InputError, match=f"s {s} is out of range: give a whole number from 0 to 8"):
        middle_band(19, s)


# -- what is refused ----------------------------------------------------------------------------------------

NOT_A_BAND = [
    ("(7, 10)", r"band '\(7, 10\)' of 19 layers is a str: write it as a JSON list \[7, 10\]"),
    ((7, 10), r"band \(7, 10\) of 19 layers is a tuple: write it as a JSON list \[7, 10\]"),
    (7, r"band 7 of 19 layers is a int: write it as a JSON list such as \[7, 10\]"),
    ("7-10", r"band '7-10' of 19 layers is a str: write it as a JSON list such as \[7, 10\]"),
    ([7], r"band \[7\] has 1 entries: write it as \[first, last\], both included"),
    ([7, 8, 9], r"band \[7, 8, 9\] has 3 entries"),
    ([10, 7], r"band \[10, 7\] ends before it begins: write \[7, 10\]"),
    ([7, 19], "band's layer 19 is out of range: give a whole number from 0 to 18"),
    ([-1, 7], "band's layer -1 is out of range"),
    ([7.0, 10], "band's layer 7.0 is not a plain int: give a whole number from 0 to 18"),
    ([True, 10], "band's layer True is not a plain int"),
    ([7, "10"], "band's layer '10' is not a plain int"),
]


@pytest.mark.parametrize("name", OF_A_BAND)
@pytest.mark.parametrize("band, said", NOT_A_BAND)
def test_what_is_no_band_is_refused(name: str, band: object, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        build_order(name, 19, band)


REFUSED = [
    (lambda: skip(19, [0, 18]), r"band \[0, 18\] is the whole stack and skipping it leaves no layer"),
    (lambda: middle_repeat(19, [3, 16], layer=2), "layer 2 is out of range: give a whole number from 3 to 16"),
    (lambda: looped_parallel(19, [3, 15], loops=0), "loops 0 is out of range: give a whole number, 1 or more"),
    (lambda: looped_parallel(19, [3, 15], loops=2.5), "loops 2.5 is not a plain int: give a whole number, 1 or more"),
    (lambda: random_order(19, [3, 15], seed=None), "seed None is not a plain int: give a whole number$"),
    (lambda: remove_first(19, 19), "k 19 is out of range: give a whole number from 0 to 18"),
    (lambda: remove_last(19, -1), "k -1 is out of range: give a whole number from 0 to 18"),
    (lambda: swap_neighbours(19, 18), "i 18 is out of range: give a whole number from 0 to 17"),
    (lambda: swap_neighbours(1, 0), "depth 1 is out of range: give a whole number, 2 or more"),
    (lambda: identity(0), "depth 0 is out of range: give a whole number, 1 or more"),
    (lambda: build_order("revers", 19, [3, 15]), "unknown strategy 'revers': choose one of reverse"),
    (lambda: build_order(["skip"], 19, [3, 15]), r"unknown strategy \['skip'\]: choose one of "),
    (lambda: build_order("skip", 9, [3, 5], loops=3), r"strategy 'skip' takes no loops=3: leave it out \(it takes b"),
    (lambda: build_order("identity", 19, [3, 15]), r"strategy 'identity' takes no band=\[3, 15\]: leave it out$"),
    (lambda: build_order("remove_first", 19, [3, 15], k=1), r"strategy 'remove_first' takes no band=\[3, 15\]"),
    (lambda: build_order("remove_first", 19), "strategy 'remove_first' lacks its k: give k= a whole number"),
    (lambda: build_order("skip", 19), r"strategy 'skip' lacks its band: give band=\[first, last\]"),
]


@pytest.mark.parametrize("call, said", REFUSED)
def test_what_cannot_be_built_is_refused_in_one_line(call, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}") as refused:
        call()
    assert "\n" not in str(refused.value)


def test_build_order_is_the_named_function() -> None:
    assert build_order("looped_parallel", 19, [3, 15], loops=5) == looped_parallel(19, [3, 15], loops=5)
    assert build_order("random_order", 19, [3, 15], seed=7) == random_order(19, [3, 15], seed=7)
    assert build_order("swap_neighbours", 19, i=4) == swap_neighbours(19, 4)
    assert build_order("identity", 19) == identity(19)
