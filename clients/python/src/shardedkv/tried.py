"""What the replicas of a group said to a call that none of them served, for people. No IO."""

from shardedkv.group import Group, Member
from shardedkv.peer import Answered, Lost, NotSent
from shardedkv.v1 import error_pb2 as e


class Tried:
    """The last word of each replica that was asked."""

    def __init__(self, group: Group):
        self.group = group
        # By the replica's name: what it said, and whether it named a leader.
        self._replicas: dict[str, tuple[str, bool]] = {}

    def failed(self, member: Member, failure: NotSent | Lost | Answered) -> None:
        """A replica didn't serve the call. Its server may have no name."""
        address = member.peer.address
        name = f"{member.server} at {address}" if member.server else address
        names_leader = isinstance(failure, Answered) and failure.error.HasField("leader")
        self._replicas[name] = (_describe(failure, address), names_leader)

    def hear_no_leader(self) -> bool:
        """Whether several replicas were asked, of whom nobody knows a leader."""
        return len(self._replicas) > 1 and not self._name_a_leader()

    def _name_a_leader(self) -> bool:
        return any(names_leader for _, names_leader in self._replicas.values())

    def __str__(self) -> str:
        words = "; ".join(f"{name} {said}" for name, (said, _) in self._replicas.items())
        text = f"no replica of group g{self.group.number} serves: {words}"
        if self._name_a_leader():
            return text
        return f"{text}: a majority of the group is needed; start the servers that don't run"


def _describe(failure: NotSent | Lost | Answered, address: str) -> str:
    # Whoever failed is named already.
    if isinstance(failure, NotSent):
        return str(failure).removeprefix(f"{address}: ")
    if isinstance(failure, Lost):
        return f"gave no answer ({str(failure).removeprefix(f'{address}: ')})"
    error = failure.error
    if error.reason != e.REASON_NOT_LEADER:
        return f"says: {error.message}"
    if error.HasField("leader"):
        return f"says that {error.leader.server} leads"
    return "says that it hears no leader"
