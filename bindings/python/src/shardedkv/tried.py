"""The words of a group's replicas about a call that none of them served, for people. No IO."""

from shardedkv.errors import describe
from shardedkv.group import Group, Member
from shardedkv.peer import Answered, Lost, NotSent, Overdue
from shardedkv.v1 import error_pb2 as e


class Tried:
    """The last word of each replica that was asked."""

    def __init__(self, group: Group):
        self.group = group
        # By the replica's address: its name, what it said, and the address of the leader that it named.
        self._replicas: dict[str, tuple[str, str, str | None]] = {}

    def failed(self, member: Member, failure: NotSent | Lost | Answered) -> None:
        """A replica didn't serve the call. Its server may have no name."""
        address = member.peer.address
        name = f"{member.server} at {address}" if member.server else address
        names_leader = isinstance(failure, Answered) and failure.error.HasField("leader")
        leader = failure.error.leader.client_address if names_leader else None
        self._replicas[address] = (name, _describe(failure, address), leader)

    def hear_no_leader(self) -> bool:
        """Returns true if several replicas were asked, and none leads as far as they know."""
        return len(self._replicas) > 1 and not self._name_another()

    def _name_another(self) -> bool:
        """Returns true if somebody names a leader that isn't among those who don't serve."""
        named = {leader for _, _, leader in self._replicas.values() if leader is not None}
        return not named <= self._replicas.keys()

    def words(self) -> str:
        """Returns what each of them said."""
        return "; ".join(f"{name} {said}" for name, said, _ in self._replicas.values())

    def __str__(self) -> str:
        text = f"no replica of group g{self.group.number} serves: {self.words()}"
        if self._name_another():
            return text
        return f"{text}: a majority of the group is needed; start the servers that don't run"


def _describe(failure: NotSent | Lost | Answered, address: str) -> str:
    # Whoever failed is named already.
    reason = str(failure).removeprefix(address).lstrip(": ")
    if isinstance(failure, NotSent):
        return f"can't be reached ({reason})"
    if isinstance(failure, Overdue):
        return reason
    if isinstance(failure, Lost):
        return f"gave no answer ({reason})"
    error = failure.error
    if error.reason != e.REASON_NOT_LEADER:
        return f"says: {describe(error)}"
    if error.HasField("leader"):
        return f"says that {error.leader.server} leads"
    return "says that it hears no leader"
