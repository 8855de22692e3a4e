"""From a key to the server that is asked: the cached shard map, healed from what servers and
shard managers say."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc

from shardedkv.group import Group, Member
from shardedkv.hashing import shard_of
from shardedkv.pauses import left
from shardedkv.peer import Answered, Lost, NotSent, Peer
from shardedkv.v1 import common_pb2, error_pb2, shard_manager_pb2

# The map isn't asked for more often than this.
REFRESH_PAUSE = 0.1
# The same while no server has a map, which is no emergency: calls are forwarded.
BLIND_PAUSE = 1.0
# The largest number of shards that a cluster may have.
MAX_SHARDS = 65_536


@dataclass(frozen=True)
class Placement:
    """The place of a key."""

    cluster: int
    shard: int
    # The number of shards; 0 = only the servers know.
    shards: int


# A request for whichever cluster answers.
BLIND = Placement(cluster=0, shard=0, shards=0)


@dataclass
class _Known:
    """The known state of the cluster."""

    cluster: int
    hash: int
    revision: int
    # The owning group's number of each shard, and since which epoch.
    owners: list[tuple[int, int]]
    groups: dict[int, Group]


class Router:
    """The way to the owner of every shard. May be used by many threads."""

    def __init__(self, connect: Callable[[str], grpc.Channel], managers: list[str], servers: list[str]):
        self._connect = connect
        self._peers: dict[str, Peer] = {}
        self._lock = threading.RLock()
        self._known: _Known | None = None
        # There are servers, but none has a shard map.
        self._blind = False
        self._turn = itertools.count()
        self._refreshing = threading.Lock()
        self._refreshed = float("-inf")
        self.trouble = "nobody was asked yet"
        self.closed = False
        self._managers = [self._peer(address) for address in managers]
        self._seeds = [self._peer(address) for address in servers]

    def place(self, key: bytes) -> Placement | None:
        """Returns the place of a key; `None` while that isn't known."""
        with self._lock:
            if self._known is None:
                return BLIND if self._blind else None
            shards = len(self._known.owners)
            return Placement(self._known.cluster, shard_of(self._known.hash, key, shards), shards)

    def choose(self, placement: Placement) -> tuple[Group | None, Member | None, bool]:
        """The owning group, whom of it to ask, and whether a pause is due after that."""
        with self._lock:
            group = self._owner(placement)
            return (None, None, False) if group is None else (group, *group.choose())

    def is_owner(self, group: Group, placement: Placement) -> bool:
        """Returns true if this group owns the shard, as far as is known."""
        with self._lock:
            return self._owner(placement) is group

    def forwarder(self) -> Peer | None:
        """Any server passes a call on to the right one."""
        servers = self.servers()
        return servers[next(self._turn) % len(servers)] if servers else None

    def servers(self, placement: Placement | None = None) -> list[Peer]:
        """All servers, those of the owning group first."""
        with self._lock:
            own = self._owner(placement) if placement is not None else None
            groups = [own] if own is not None else []
            found = [peer for group in groups for peer in _peers_of(group)]
            found.extend(self._seeds)
            if self._known is not None:
                found.extend(peer for group in self._known.groups.values() for peer in _peers_of(group))
            return list(dict.fromkeys(found))

    def worked(self, group: Group, member: Member) -> None:
        """This member answered as only a leader does."""
        with self._lock:
            group.worked(member)

    def failed(self, group: Group, member: Member) -> None:
        """This member doesn't lead, or can't be reached."""
        with self._lock:
            group.failed(member)

    def refresh(self, timeout: float, deadline: float) -> None:
        """Asks the shard managers for their map, and if none answers, servers until a copy has news.

        One call asks at a time, and not too often. Takes no longer than until the deadline.
        """
        before = self._refreshed
        if not self._refreshing.acquire(timeout=left(deadline)):
            return
        try:
            pause = BLIND_PAUSE if self._blind and self._known is None else REFRESH_PAUSE
            if self._refreshed != before or time.monotonic() < self._refreshed + pause:
                return
            expires, known = min(time.monotonic() + timeout, deadline), self._revision()
            asked = [(peer, peer.manager.GetShardMap) for peer in self._managers]
            asked += [(peer, peer.kv.GetShardMap) for peer in self.servers()]
            for peer, method in asked:
                remaining = left(expires)
                if remaining <= 0:
                    break
                try:
                    # One that is silent leaves time for the next.
                    shard_map = peer.call(method, shard_manager_pb2.GetShardMapRequest(), remaining / 2)
                except (Answered, NotSent, Lost) as failure:
                    self.trouble = str(failure)
                    if isinstance(failure, Answered) and peer not in self._managers:
                        self._blind = True
                    continue
                from_manager = peer in self._managers
                if not self.learn_map(shard_map, from_manager):
                    self.trouble = f"{peer.address} has no usable map"
                elif from_manager or self._revision() > known:
                    break
            self._refreshed = time.monotonic()
        finally:
            self._refreshing.release()

    def learn_leader(self, group_id: int, leader: common_pb2.Replica, term: int) -> None:
        """Somebody says who leads a group in `term`."""
        with self._lock:
            group = self._known.groups.get(group_id) if self._known is not None else None
            if group is not None:
                group.hint(self._member(leader), term)

    def learn_owner(self, owner: error_pb2.ShardOwner) -> bool:
        """Somebody says who owns a shard. Returns whether that is news: only a higher epoch is."""
        with self._lock:
            known = self._known
            if known is None or owner.shard >= len(known.owners) or known.owners[owner.shard][1] >= owner.epoch:
                return False
            known.owners[owner.shard] = (owner.group, owner.epoch)
            group = known.groups.get(owner.group)
            if group is None or group.uid != owner.group_uid:
                known.groups[owner.group] = Group(owner.group, owner.group_uid, members=self._members(owner.replicas))
            elif not group.members:
                group.set_members(self._members(owner.replicas))
            return True

    def learn_map(self, shard_map: common_pb2.ShardMap, from_manager: bool) -> bool:
        """Takes over what is newer in a map. Returns whether it could be used at all."""
        owners = _owners(shard_map)
        if owners is None:
            return False
        with self._lock:
            is_first = self._known is None
            if is_first:
                self._known = _Known(shard_map.cluster_id, shard_map.hash, 0, owners, {})
            known = self._known
            same = (known.cluster, known.hash, len(known.owners))
            if same != (shard_map.cluster_id, shard_map.hash, len(owners)):
                return False
            for shard, (_, epoch) in enumerate(owners):
                if epoch > known.owners[shard][1]:
                    known.owners[shard] = owners[shard]
            # The manager's addresses are the newest that there are; a server's copy may be old.
            if from_manager or is_first or shard_map.revision > known.revision:
                self._take_groups(known, shard_map)
            known.revision = max(known.revision, shard_map.revision)
            for group in shard_map.groups:
                leader = next((r for r in group.replicas if r.id == group.leader != 0), None)
                if leader is not None:
                    self.learn_leader(group.id, leader, group.leader_term)
            return True

    def close(self) -> None:
        """Ends all connections."""
        with self._lock:
            self.closed = True
            for peer in self._peers.values():
                peer.close()

    def _revision(self) -> int:
        with self._lock:
            return -1 if self._known is None else self._known.revision

    def _take_groups(self, known: _Known, shard_map: common_pb2.ShardMap) -> None:
        for wire in shard_map.groups:
            group = known.groups.get(wire.id)
            if group is not None and group.uid == wire.uid and group.incarnation >= wire.incarnation:
                group.set_members(self._members(wire.replicas))
            else:
                known.groups[wire.id] = Group(wire.id, wire.uid, wire.incarnation, self._members(wire.replicas))
        needed = {wire.id for wire in shard_map.groups} | {group for group, _ in known.owners}
        known.groups = {number: group for number, group in known.groups.items() if number in needed}

    def _owner(self, placement: Placement) -> Group | None:
        if self._known is None or not placement.shards:
            return None
        number, _ = self._known.owners[placement.shard]
        return self._known.groups.get(number)

    def _members(self, replicas: Iterable[common_pb2.Replica]) -> list[Member]:
        return [self._member(replica) for replica in replicas]

    def _member(self, replica: common_pb2.Replica) -> Member:
        return Member(replica.id, self._peer(replica.client_address), replica.server)

    def _peer(self, address: str) -> Peer:
        if address not in self._peers:
            self._peers[address] = Peer(address, self._connect(address))
        return self._peers[address]


def _peers_of(group: Group) -> list[Peer]:
    leader = [group.leader] if group.leader is not None else []
    return [member.peer for member in leader + group.members]


def _owners(shard_map: common_pb2.ShardMap) -> list[tuple[int, int]] | None:
    """Returns the group and the epoch of each shard; `None` if the map isn't whole."""
    shards = sum(r.count for r in shard_map.ranges)
    # A range of a few bytes may have any number of shards.
    if shards != shard_map.shards or not 0 < shards <= MAX_SHARDS:
        return None
    return [(r.group, r.epoch) for r in shard_map.ranges for _ in range(r.count)]
