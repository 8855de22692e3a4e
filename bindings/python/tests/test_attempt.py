from shardedkv.attempt import Attempt


def test_each_second_transmission_that_stays_unanswered_gives_the_next_twice_the_time():
    attempt = Attempt(1.0, 8.0)
    times = []
    for _ in range(7):
        times.append(attempt.time)
        attempt.unanswered()
    assert times == [1, 1, 2, 2, 4, 4, 4]


def test_half_of_the_time_is_left_for_another_server():
    assert Attempt(9.0, 6.0).time == 3.0
