"""Which sequence numbers are outstanding."""

import random

from shardedkv.window import WINDOW, Window


def test_numbers_count_from_one():
    window = Window()
    assert window.acked_below == 1
    assert (window.begin(), window.begin()) == (1, 2)


def test_the_window_is_full_until_its_lowest_number_is_done():
    window = Window()
    assert [window.begin() for _ in range(WINDOW)] == list(range(1, WINDOW + 1))
    assert window.begin() is None
    window.finish(2)
    assert window.begin() is None
    window.finish(1)
    assert window.begin() == WINDOW + 1


def test_acked_below_is_the_lowest_open_number():
    dice = random.Random(1)
    for _ in range(50):
        window, open_numbers, following = Window(), [], 1
        for _ in range(200):
            if open_numbers and dice.random() < 0.5:
                window.finish(open_numbers.pop(dice.randrange(len(open_numbers))))
            else:
                assert window.begin() == following
                open_numbers.append(following)
                following += 1
            assert window.acked_below == min(open_numbers, default=following)
