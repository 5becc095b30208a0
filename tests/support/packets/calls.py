"""Connections between places: which pass, and which do not.

Each comes from a source port of its own, since the enforcer judges the first packet of a connection alone. What is to
pass has seconds for it; what is not has one, in which the kernel sends no second packet.
"""

import asyncio
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

from tests.support.cni.values import Address, Call, End
from tests.support.packets.netns import Netns

PATIENCE: Final = 10.0  # seconds
BLOCKED: Final = 1.0
_AT_ONCE: Final = 400
_AGAIN: Final = 0.5  # seconds after which a datagram without an answer is sent again
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_KIND: Final = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


@dataclass(frozen=True, eq=False)
class Place:
    """An end of connections, and the network namespace that it is in."""

    name: str
    end: End
    netns: Netns

    @property
    def versions(self) -> set[int]:
        """The address families that it has."""
        return {one.version for one in self.end.addresses}

    def address(self, version: int) -> Address:
        return next(one for one in self.end.addresses if one.version == version)


class Attempt(NamedTuple):
    source: Place
    target: Place
    call: Call
    version: int = 4

    def __str__(self) -> str:
        return f"{self.source.name} -> {self.target.name} {self.call.protocol} {self.call.port} IPv{self.version}"


def between(places: Collection[Place], listed: Collection[Call]) -> Iterator[Attempt]:
    """Every connection between two of the places of which one at least is a pod, over each family that both have."""
    for source, target, call in product(places, places, listed):
        if source is not target and (source.end.namespace or target.end.namespace):
            yield from (Attempt(source, target, call, version) for version in source.versions & target.versions)


async def connects(attempt: Attempt, seconds: float) -> bool:
    """Whether it is answered in time. AssertionError if anything but silence meets it: nobody refuses here."""
    target = (str(attempt.target.address(attempt.version)), attempt.call.port)
    loop = asyncio.get_running_loop()
    with attempt.source.netns.socket(_FAMILY[attempt.version], _KIND[attempt.call.protocol]) as client:
        client.bind((str(attempt.source.address(attempt.version)), 0))
        try:
            async with asyncio.timeout(seconds):
                await loop.sock_connect(client, target)
                if attempt.call.protocol == "UDP":
                    await _answered(loop, client)
        except TimeoutError:
            return False
        except OSError as error:
            raise AssertionError(f"{attempt}: {error}") from error
        return True


async def _answered(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    while True:
        await loop.sock_sendall(client, b"?")
        try:
            async with asyncio.timeout(_AGAIN):
                await loop.sock_recv(client, 1)
                return
        except TimeoutError:
            continue


async def passing(attempts: Collection[Attempt], seconds: float = BLOCKED) -> set[Attempt]:
    """Those that connect."""
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def one(attempt: Attempt) -> bool:
        async with at_once:
            return await connects(attempt, seconds)

    async with asyncio.TaskGroup() as group:
        tasks = {attempt: group.create_task(one(attempt)) for attempt in attempts}
    return {attempt for attempt, task in tasks.items() if task.result()}


async def check(attempts: set[Attempt], opened: set[Attempt]) -> None:
    """The opened connect, and none else does; AssertionError that lists what is not so.

    The opened are the positive controls of the others: before these, between them and after them they connect.
    """
    closed = attempts - opened
    assert opened, "nothing here is to connect: without that, silence means nothing"
    await _all_connect(opened)
    beside, through = await asyncio.gather(passing(opened, PATIENCE), passing(closed))
    await _all_connect(opened)
    _told("connect, and are not to", through)
    _told("do not connect beside those that are not to", opened - beside)


async def _all_connect(attempts: Collection[Attempt]) -> None:
    _told("do not connect, and are to", set(attempts) - await passing(attempts, PATIENCE))


def _told(what: str, attempts: Iterable[Attempt]) -> None:
    listed = sorted(map(str, attempts))
    assert not listed, "\n  ".join([f"{len(listed)} {what}:", *listed[:40]])


def serve(place: Place, calls: Iterable[Call]) -> list[socket.socket]:
    """Answer these calls on each of the place's addresses, until the sockets are closed by :func:`silence`."""
    loop = asyncio.get_running_loop()
    made = []
    for address in place.end.addresses:
        for call in calls:
            server = place.netns.socket(_FAMILY[address.version], _KIND[call.protocol])
            server.bind((str(address), call.port))  # a reply comes from the very address that was asked
            if call.protocol == "TCP":
                server.listen(4096)
            loop.add_reader(server, _taken if call.protocol == "TCP" else _echoed, server)
            made.append(server)
    return made


def silence(servers: Iterable[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    for server in servers:
        loop.remove_reader(server)
        server.close()


def _taken(server: socket.socket) -> None:
    try:
        while True:
            server.accept()[0].close()
    except BlockingIOError:
        return


def _echoed(server: socket.socket) -> None:
    try:
        while True:
            data, source = server.recvfrom(64)
            server.sendto(data, source)
    except BlockingIOError:
        return
