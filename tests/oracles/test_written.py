"""What the operator writes opens exactly what is agreed, as two analysers that are not ours and reachability all say:
for the examples as `securetenant render` prints them, and for random whitelists, agreed, half agreed and not at all."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

import pytest
import yaml
from hypothesis import strategies as st

from securetenant.api.tenant import SecureTenant
from securetenant.model.platform import Platform
from securetenant.reach import addresses
from securetenant.reach.addresses import Span
from securetenant.reach.flows import reach
from securetenant.reach.values import Pod
from tests.support.cni import reading
from tests.support.cni.values import Call, End
from tests.support.declared import Declared
from tests.support.oracles import analysers
from tests.support.oracles.answers import Answer, Known, includes, ours
from tests.support.oracles.clusters import Given, together
from tests.support.reading import load
from tests.support.sandbox import ROOT
from tests.support.specs import Document, drawn
from tests.support.whitelists import (
    CALLS,
    DNS,
    EDGE,
    OWNERS,
    PLATFORMS,
    declared,
    enacted,
    ends,
    networks_of_all,
    tenants_of,
)

pytestmark = pytest.mark.full

Analyse: TypeAlias = Callable[[Path, Given, Path], Answer]
ANALYSERS: Final[dict[str, Analyse]] = {"nca": analysers.nca, "netpolicy": analysers.netpolicy}
# What has a port. ICMP is not told apart by any of them.
PORTS: Final = tuple(call for call in CALLS if call.port)


@dataclass(frozen=True)
class Written:
    """What stands in a cluster, and what was declared. `ends`: pods by the name that they have there, and addresses."""

    given: Given
    said: Declared
    ends: Sequence[tuple[str | Span, End]]
    calls: Sequence[Call]


def written(
    prefix: str,
    said: Declared,
    policies: Iterable[tuple[str, str, Document]],
    found: Iterable[End],
    calls: Iterable[Call],
) -> Written:
    """With the names of all namespaces prefixed, so that several stand side by side in one cluster."""
    listed = [end for end in found if end.is_pod or not end.namespace]  # no analyser knows pods on a node's network
    spaces = dict.fromkeys(end.namespace for end in listed if end.is_pod)
    pods, named = [], list[tuple[str | Span, End]]()
    for number, end in enumerate(listed):
        if end.is_pod:
            pods.append(Pod(f"{prefix}{end.namespace}", f"p{number}", end.labels, {}, end.addresses))
            named.append((f"{prefix}{end.namespace}/p{number}", end))
        else:
            named += [(Span(one.version, int(one), int(one)), end) for one in end.addresses]
    renamed = [(f"{prefix}{space}", name, _renamed(spec, spaces, prefix)) for space, name, spec in policies]
    return Written(Given({f"{prefix}{space}": {} for space in spaces}, pods, renamed), said, named, tuple(calls))


def _renamed(value: Any, spaces: Iterable[str], prefix: str) -> Any:
    """Nothing else in a policy of ours is called like a namespace."""
    if isinstance(value, dict):
        return {key: _renamed(one, spaces, prefix) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, spaces, prefix) for one in value]
    return f"{prefix}{value}" if value in spaces else value


def check(one: Written, answers: dict[str, Answer]) -> tuple[int, int]:
    """Fails where what somebody sees pass is not what was declared. How many calls there were, and how many passed."""
    asked = passed = 0
    for source, start in one.ends:
        for target, end in one.ends:
            if source == target or not one.said.owners.keys() & {start.namespace, end.namespace}:
                continue
            if isinstance(source, Span) and isinstance(target, Span):
                continue
            for call in one.calls:
                wanted = one.said.opens(start, end, call)
                seen = {name: call_passes(answer, source, target, call) for name, answer in answers.items()}
                assert set(seen.values()) == {wanted}, (
                    start,
                    end,
                    call,
                    f"declared: {wanted}",
                    seen,
                    one.given.policies,
                )
                asked, passed = asked + 1, passed + wanted
    return asked, passed


def call_passes(answer: Answer, source: str | Span, target: str | Span, call: Call) -> bool:
    found: Iterable[Known] = ()
    if isinstance(source, str) and isinstance(target, str):
        found = [answer.pods.get((source, target), ())]
    elif isinstance(source, str) and isinstance(target, Span):
        found = [known for span, known in answer.leaving.get(source, ()) if addresses.contains([span], target)]
    elif isinstance(source, Span) and isinstance(target, str):
        found = [known for span, known in answer.entering.get(target, ()) if addresses.contains([span], source)]
    return any(includes(known, call) for known in found)


def answered(given: Given, programs: dict[str, Path], folder: Path) -> dict[str, Answer]:
    found = {name: analyse(programs[name], given, folder) for name, analyse in ANALYSERS.items()}
    return {**found, "reach": ours(reach(given.cluster(blocks_match_pods=False)))}


# --- random whitelists

AT_ONCE: Final = 8


@pytest.mark.parametrize("batch", range(6))
def test_random_whitelists_open_what_is_agreed(nca: Path, netpolicy: Path, tmp_path: Path, batch: int) -> None:
    drafts = drawn(st.tuples(networks_of_all(), st.sampled_from(PLATFORMS)), AT_ONCE)
    worlds = [random_world(f"w{n}-", sections, platform, batch) for n, (sections, platform) in enumerate(drafts)]
    answers = answered(together(world.given for world in worlds), {"nca": nca, "netpolicy": netpolicy}, tmp_path)
    counted = [check(world, answers) for world in worlds]
    asked, passed = map(sum, zip(*counted, strict=True))
    print(f"{len(worlds)} random whitelists: {asked} calls judged by three, {passed} of them declared and open")
    assert asked > 1000 * len(worlds)
    assert passed > 10 * len(worlds)


def random_world(prefix: str, sections: Document, platform: Platform, seed: int) -> Written:
    """Outside the cluster with addresses of IPv4 alone: one of the analysers knows no other."""
    world = enacted("None", tenants_of(sections, {name: {} for name in OWNERS}), platform, seed)
    world.settle()
    found = [end for end in ends(world) if end.is_pod or all(one.version == 4 for one in end.addresses)]
    policies = [(one.namespace, one.name, dict(one.spec)) for one in world.enforced().policies]
    return written(prefix, declared(world), policies, found, PORTS)


# --- the examples

APPS: Final = ("gateway", "ledger", "teller", "clearing")
KINDS: Final = [{}, *({"app": app} for app in APPS), {"app.kubernetes.io/name": "ingress-nginx"}]
PARTNERS: Final = [
    End(reading.addresses(text)) for text in ("10.8.1.1", "10.8.9.9", "10.8.250.9", "203.0.113.7", "198.51.100.7")
]
OPEN: Final = {
    "bank": {
        ("payments-prod", "ledger-prod", Call("TCP", 8443)),
        ("risk-engine", "ledger-prod", Call("TCP", 8443)),
        (EDGE, "payments-prod", Call("TCP", 8443)),
    },
    "with-subnets": {("cards-prod", "fraud-prod", Call("TCP", 8443))},
}


@pytest.mark.parametrize("example", OPEN)
def test_an_example_as_it_is_rendered_opens_what_is_agreed(
    nca: Path, netpolicy: Path, tmp_path: Path, example: str
) -> None:
    folder = ROOT / "examples" / example
    one = rendered(folder)
    answers = answered(one.given, {"nca": nca, "netpolicy": netpolicy}, tmp_path)
    asked, passed = check(one, answers)
    print(f"examples/{example}: {asked} calls judged by three, {passed} of them declared and open")
    # In words, so that not the judge alone says so. Within a tenant whose isolation is Tenant all is open.
    between = {
        (start.namespace, end.namespace, call)
        for source, start in one.ends
        for target, end in one.ends
        for call in one.calls
        if start.is_pod and end.is_pod and start.namespace != end.namespace and call.port != 53
        if call_passes(answers["reach"], source, target, call)
        if one.said.owners.get(start.namespace) != one.said.owners.get(end.namespace)
    }
    assert between == OPEN[example]


def rendered(folder: Path) -> Written:
    tenants = tenants_in(folder)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SECURETENANT_")}
    command = [sys.executable, "-m", "securetenant", "render", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    policies = [
        (one["metadata"]["namespace"], one["metadata"]["name"], one["spec"])
        for one in yaml.safe_load_all(done.stdout)
        if one["kind"] == "NetworkPolicy"
    ]
    owners = {entry.name: name for name, one in tenants.items() for entry in one.spec.namespaces}
    said = Declared(tenants, owners, Platform(), datetime.now(UTC))
    placed = [(space, labels) for space in (*owners, EDGE) for labels in KINDS]
    placed += [(DNS, {"k8s-app": "kube-dns"}), (DNS, {"app": "a"})]
    pods = [End(reading.addresses(f"10.60.{number}.1"), space, labels) for number, (space, labels) in enumerate(placed)]
    calls = [*PORTS, *(Call("TCP", port) for port in (9443, 5000, 5010, 5011))]
    Random(0).shuffle(pods)
    return written("", said, policies, [*pods, *PARTNERS], calls)


def tenants_in(folder: Path) -> dict[str, SecureTenant]:
    documents = [one for file in sorted(folder.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text())]
    found = [load(one) for one in documents if one.get("kind") == "SecureTenant"]
    return {one.name: one for one in found}
