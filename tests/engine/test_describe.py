"""What an order does is said in words that can be read aloud."""

import pytest

from painters_utils.engine.describe import describe
from painters_utils.engine.orders import Order
from painters_utils.errors import InputError

SAID = [
    (list(range(19)), 19, "every layer runs once, in order"),
    ([0], 1, "every layer runs once, in order"),
    ([[0], [1], 2], 3, "every layer runs once, in order"),
    ([*range(7), *range(11, 19)], 19, "layers 7–10 are skipped"),
    ([0, 2], 3, "layer 1 is skipped"),
    ([1, 2, 4, 8, 9], 10, "layers 0, 3 and 5–7 are skipped"),
    ([0, 3], 4, "layers 1 and 2 are skipped"),
    ([*range(3), *[9] * 14, 17, 18], 19, "layers 3–8 and 10–16 are skipped; layer 9 is run 14 times"),
    ([0, 0, 1, 1, 2], 3, "layers 0 and 1 are each run 2 times"),
    ([0, 0, 1, 1, 1, 2], 3, "layer 0 is run 2 times; layer 1 is run 3 times"),
    ([0, 1, 2, 1, 2, 3], 4, "layers 1 and 2 are each run 2 times; order changed: 1–2, 1–2"),
    ([*range(3), [*range(3, 16)], 16], 17, "layers 3–15 run in parallel"),
    ([*range(3), *[[*range(3, 16)]] * 3, 16], 17, "layers 3–15 run in parallel, 3 times over"),
    ([[2, 0], [1, 3]], 4, "layers 0 and 2 run in parallel; layers 1 and 3 run in parallel; "
     "order changed: [0, 2], [1, 3]"),
    ([[0, 1], [0, 1], 1, 2], 3, "layer 1 is run 3 times; layers 0 and 1 run in parallel, 2 times over; "
     "order changed: [0–1], 1"),
    ([[0, 2], 1, 3], 4, "layers 0 and 2 run in parallel; order changed: [0, 2], 1"),
    ([*range(3), *range(15, 2, -1), 16], 17, "layers 3–15 run in reverse order"),
    ([2, 1, 0, 3, 6, 5, 4], 7, "layers 0–2 run in reverse order; layers 4–6 run in reverse order"),
    ([0, 2, 1, 3], 4, "layers 1 and 2 change places"),
    ([0, 7, 2, 9], 10, "layers 1, 3–6 and 8 are skipped; layers 2 and 7 change places"),
    ([0, 3, 1, 2, 4], 5, "order changed: 3, 1–2"),
    ([0, 0, 2, 1], 3, "layer 0 is run 2 times; layers 1 and 2 change places"),
]  # fmt: skip


@pytest.mark.parametrize("order, depth, said", SAID)
def test_an_order_is_said_in_words(order: Order, depth: int, said: str) -> None:
    assert describe(order, depth) == said


def test_what_cannot_run_is_not_described() -> None:
    with pytest.raises(InputError, match="layer 4 of this stack does not exist: choose from 0 to 3"):
        describe([4], 4)
