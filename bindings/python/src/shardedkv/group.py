"""The members of one group, and which of them leads. No IO."""

from dataclasses import dataclass, field

from shardedkv.peer import Peer


@dataclass(frozen=True)
class Member:
    """A replica and the way to it."""

    id: int
    peer: Peer
    # The name of its server.
    server: str = ""


@dataclass
class Group:
    """A group, as this clerk sees it."""

    number: int
    uid: int
    incarnation: int = 0
    members: list[Member] = field(default_factory=list)
    leader: Member | None = None
    # The newest leader heard of: its term, and its id. Within a term a replica of a higher id may depose
    # another one.
    newest: tuple[int, int] = (0, 0)
    # The member that was said to lead in that term and then failed: others may not know yet.
    barred: int | None = None
    # The number of members that were asked while nobody knew the leader.
    probes: int = 0

    def set_members(self, members: list[Member]) -> None:
        """Takes over addresses and membership; keeps the leader."""
        self.members = members
        if self.leader is not None:
            same = (member for member in members if member.id == self.leader.id)
            self.leader = next(same, self.leader)

    def choose(self) -> tuple[Member | None, bool]:
        """Returns whom to ask, and whether that ends a round of asking all: then a pause is due."""
        if self.leader is not None or not self.members:
            return self.leader, False
        member = self.members[self.probes % len(self.members)]
        self.probes += 1
        return member, self.probes % len(self.members) == 0

    def hint(self, leader: Member, term: int) -> bool:
        """Takes over the leader of `term` from an answer. Returns True if that is news."""
        named = (term, leader.id)
        is_found_again = named == self.newest and self.leader is None and self.barred != leader.id
        if named <= self.newest and not is_found_again:
            return False
        if named > self.newest:
            self.barred = None
        self.newest = named
        self.leader = leader
        return True

    def worked(self, member: Member) -> None:
        """This member answered as only a leader does."""
        if self.leader is None:
            self.leader = member

    def failed(self, member: Member) -> None:
        """This member doesn't lead, or can't be reached."""
        if self.leader is not None and self.leader.id == member.id:
            self.leader = None
            self.barred = member.id
