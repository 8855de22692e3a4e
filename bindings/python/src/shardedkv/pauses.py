"""Pauses between attempts, jittered so that callers don't move in step."""

import random
import threading
import time

FIRST = 0.010
LONGEST = 0.320


def left(deadline: float) -> float:
    """Returns the seconds until then, as far as a lock can wait."""
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


class Backoff:
    """Pauses that grow while nothing helps."""

    def __init__(self) -> None:
        self._attempts = 0

    def next(self) -> float:
        """5 to 10 ms at first, 160 to 320 ms in the end."""
        most = min(LONGEST, FIRST * (1 << min(self._attempts, 16)))
        self._attempts += 1
        return random.uniform(most / 2, most)
