"""The time that a server has for an answer before another one is asked."""


class Attempt:
    """The time of a transmission, within the time of a whole call: half of that at most, so that another server
    may still be asked."""

    def __init__(self, time: float, whole: float):
        self._longest = whole / 2
        self.time = min(time, self._longest)
        self._one_is_unanswered = False

    def unanswered(self) -> None:
        """Makes it the next one after a transmission that stayed unanswered. Only each second one gives it more
        time: one alone may be a lost message, and on a net that loses many a few would take all the time of a call.
        """
        if self._one_is_unanswered:
            self.time = min(2 * self.time, self._longest)
        self._one_is_unanswered = not self._one_is_unanswered
