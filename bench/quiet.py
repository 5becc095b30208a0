"""What the operator asks of the API server, and of the CPU, while nothing happens."""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

from bench.client import BenchError, Client
from bench.process import cpu_seconds
from sandbox.operator import Operator

Counts = Counter[tuple[str, str]]

_SAMPLE: Final = re.compile(r'(\w+)="([^"]*)"')
_SETTLED_SECONDS: Final = 5.0
_LONGEST_SECONDS: Final = 480.0  # the Events of 4,096 rollouts go out at 20 a second
#: The API server's own count of what anybody asked for on the kinds that the operator handles.
_RESOURCES: Final = (
    "securetenants",
    "namespaces",
    "nodes",
    "resourcequotas",
    "limitranges",
    "networkpolicies",
    "rolebindings",
    "clusterrolebindings",
    "clusterroles",
    "endpointslices",
    "events",
)


@dataclass(frozen=True, slots=True)
class Quiet:
    """Per minute. ``requests``: those of the operator without Lease and watch renewals, which stand beside them.

    ``seen_by_server``: all clients' requests but watches, on the operator's kinds, by the API server's own count:
    what the operator's count would leave out shows here, and the cluster's own controllers do too.
    """

    requests: float
    lease_renewals: float
    watch_renewals: float
    seen_by_server: dict[str, float]
    cpu_seconds: float
    settle_seconds: float
    scrape_ms: float


async def quiet(operator: Operator, admin: Client, seconds: float) -> Quiet:
    """Wait until the operator has settled, then look on for ``seconds``."""
    begin = time.perf_counter()
    await settle(operator)
    settled = time.perf_counter()
    served, asked, _ = await _server(admin), *(await _asked(operator))
    cpu = cpu_seconds(operator.pid)
    await asyncio.sleep(seconds)
    cpu = cpu_seconds(operator.pid) - cpu
    asked_after, scrape = await _asked(operator)
    served_after = await _server(admin)
    minutes = seconds / 60
    renewals = {key: n / minutes for key, n in (asked_after - asked).items()}
    return Quiet(
        requests=round(sum(n for (verb, kind), n in renewals.items() if verb != "watch" and kind != "Lease"), 2),
        lease_renewals=round(sum(n for (verb, kind), n in renewals.items() if kind == "Lease"), 2),
        watch_renewals=round(sum(n for (verb, _), n in renewals.items() if verb == "watch"), 2),
        seen_by_server={" ".join(key): round(n / minutes, 2) for key, n in sorted((served_after - served).items())},
        cpu_seconds=round(cpu / minutes, 3),
        settle_seconds=round(settled - begin, 1),
        scrape_ms=round(scrape * 1000, 1),
    )


async def settle(operator: Operator) -> None:
    """Wait until the operator has sent nothing but renewals for a few seconds."""
    end = time.monotonic() + _LONGEST_SECONDS
    before, _ = await _asked(operator)
    busy: dict[tuple[str, str], int] = {}
    while time.monotonic() < end:
        await asyncio.sleep(_SETTLED_SECONDS)
        after, _ = await _asked(operator)
        busy = {key: n for key, n in (after - before).items() if key[0] != "watch" and key[1] != "Lease"}
        if not busy:
            return
        before = after
    raise BenchError(f"the operator has not become quiet in {_LONGEST_SECONDS:.0f} s; lately it sent {busy}")


async def requests_so_far(operator: Operator) -> Counts:
    """By (verb, kind), all that the operator has sent."""
    return (await _asked(operator))[0]


async def _asked(operator: Operator) -> tuple[Counts, float]:
    """The operator's own count, and how long the scrape took (seconds)."""
    begin = time.perf_counter()
    _, text = await operator.get("/metrics")
    return _counted(text, "securetenant_api_requests_total", "verb", "kind"), time.perf_counter() - begin


async def _server(admin: Client) -> Counts:
    text = (await admin.send("GET", "/metrics")).decode()
    counts = _counted(text, "apiserver_request_total", "verb", "resource")
    return Counter({key: n for key, n in counts.items() if key[0] not in ("WATCH", "CONNECT") and key[1] in _RESOURCES})


def _counted(text: str, metric: str, *labels: str) -> Counts:
    """A counter's sums by two of its labels, from the text format."""
    counts: Counts = Counter()
    for line in text.splitlines():
        if line.startswith(metric + "{"):
            given = dict(_SAMPLE.findall(line))
            counts[given[labels[0]], given[labels[1]]] += int(float(line.rpartition(" ")[2]))
    return counts
