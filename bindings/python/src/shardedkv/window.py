"""The outstanding sequence numbers of one session and shard. Pure."""

from collections import deque

# The number of sequence numbers of one session and shard that may be open at once.
WINDOW = 1024


class Window:
    """Numbers are given out from 1; those below `acked_below` all have their final answer."""

    def __init__(self) -> None:
        self.acked_below = 1
        # From acked_below on, whether each number that was given out is done.
        self._done: deque[bool] = deque()

    def begin(self) -> int | None:
        """The next number; `None` while it would lie too far above `acked_below`."""
        if len(self._done) >= WINDOW:
            return None
        self._done.append(False)
        return self.acked_below + len(self._done) - 1

    def finish(self, seq: int) -> None:
        """A number has its final answer, or is given up."""
        self._done[seq - self.acked_below] = True
        while self._done and self._done[0]:
            self._done.popleft()
            self.acked_below += 1
