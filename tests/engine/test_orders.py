"""What is no order is told so in one line: the bad value, and what to write instead."""

import pytest
import torch

from painters_utils.engine.orders import check_order, check_pairs, check_places, steps_window, unchanged_ends
from painters_utils.errors import InputError

STACK = "transformer_blocks"
NOT_AN_ORDER = [
    ("(0, 1)", r"order '\(0, 1\)' .* is a str: .* \[0, 1\]$"),
    ("[0, [1, 2]]", r"order '\[0, \[1, 2\]\]' .* is a str: .* \[0, \[1, 2\]\]$"),
    ("skip", r"order 'skip' .* is a str: .* such as \[0, 1"),
    ("(0, {})", r"order '\(0, {}\)' .* is a str: .* JSON list"),
    ((0, 1), r"order \(0, 1\) .* is a tuple: .* \[0, 1\]$"),
    (range(3), r"order range\(0, 3\) .* is a range: .* such as"),
    (torch.tensor([[0], [1]]), r"order tensor\(\[\[0\], \[1\]\]\) .* is a Tensor: .* such as"),
    (None, "order None .* is a NoneType: .* such as"),
    (7, "order 7 .* is a int: .* such as"),
    ([], r"order \[\] of transformer_blocks runs no layer: .* 0 to 18"),
    ([0, []], r"group \[\] .* transformer_blocks runs no layer: .* take it out"),
    ([0, (1, 2)], r"group \(1, 2\) .* is a tuple: .* \[1, 2\]$"),
    ([0, "(1, 2)"], r"group '\(1, 2\)' .* is a str: .* \[1, 2\]$"),
    ([0, [1, [2, 3]]], r"group \[1, \[2, 3\]\] .* another group: .* flat list"),
    ([0, [1, 2, 1]], r"group \[1, 2, 1\] .* layer 1 more than once: .* once"),
    ([0, 19], "layer 19 of transformer_blocks does not exist: .* 0 to 18"),
    ([0, [1, 40]], "layer 40 .* does not exist: .* 0 to 18"),
    ([-1], "layer -1 .* does not exist: .* 0 to 18"),
    ([True], "layer True .* plain int: .* 0 to 18"),
    ([1.0], "layer 1.0 .* plain int"),
    (["3"], "layer '3' .* plain int"),
    ([None], "layer None .* plain int"),
    ([torch.tensor(3)], r"layer tensor\(3\) .* plain int"),
    ([float("nan")], "layer nan .* plain int"),
]


@pytest.mark.parametrize("order, said", NOT_AN_ORDER)
def test_what_is_no_order_is_refused_in_one_line(order: object, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}") as refused:
        check_order(order, 19, STACK)
    assert "\n" not in str(refused.value)


def test_a_long_value_is_cut_short() -> None:
    with pytest.raises(InputError) as refused:
        check_order(str(list(range(1000))), 19)
    assert len(str(refused.value)) < 300


def test_a_layer_without_text_can_only_stand_last() -> None:
    for order in ([0, 3], [3], [0, [2, 3]]):
        check_order(order, 4, STACK, only_last=[3])
    with pytest.raises(InputError, match="layer 3 .* position 0 .* last"):
        check_order([3, 0], 4, STACK, only_last=[3])


def test_a_u_shaped_stack_keeps_its_pairs() -> None:
    skips = [False, False, True, True]
    for order in ([0, 1, 2, 3], [1, 0, 3, 2]):
        check_pairs(order, skips, STACK)
    check_pairs([3, 0], [False] * 4, STACK)  # no pairs, nothing to keep
    for order in ([0, 1, 2], [0, 1, [2, 3], 3], [2, 1, 0, 3]):
        with pytest.raises(InputError, match=f"{STACK} is U-shaped"):
            check_pairs(order, skips, STACK)


def test_where_positions_differ_layers_can_only_be_left_out() -> None:
    check_places([0, 2], "both", "Chroma", STACK)
    for order, affected in (([0, 2, 1], "both"), ([0, [1, 2]], "both"), ([0, 1, 1], "both"), ([0, 2], "image")):
        with pytest.raises(InputError, match="Chroma .* left out, not moved"):
            check_places(order, affected, "Chroma", STACK)


def test_a_window_of_steps_lies_within_a_call() -> None:
    assert steps_window(None, None) is None
    assert list(steps_window([1, 2], 4)) == [1, 2]
    for steps, of, said in (
        ([0, 1], None, "of None .* above 0"), ([0, 4], 4, r"\[0, 4\] .* from 0 to 3"), ([2, 1], 4, "do not lie"),
        (2, 4, "2 are no window"), ((0, 1), 4, r"\(0, 1\) are no window: .* \[first, last\]"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            steps_window(steps, of)


@pytest.mark.parametrize(
    ("order", "ends"),
    [
        ([0, 1, 2, 3], (4, 0)),
        ([0, 2, 1, 3], (1, 1)),
        ([0, 3], (1, 1)),
        ([1, 2, 3], (0, 3)),
        ([0, 1, 2], (3, 0)),
        ([0, 1, 1, 1, 2, 3], (2, 2)),
        ([0, [1, 2], 3], (1, 1)),
    ],
)
def test_unchanged_ends_are_found(order: list, ends: tuple[int, int]) -> None:
    assert unchanged_ends(order, 4) == ends
