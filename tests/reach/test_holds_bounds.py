"""What one comparison may cost, and that what is not looked at counts as open."""

import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from securetenant.controls.network.control import plan
from securetenant.model.kinds import KUBE_OVN_SUBNET, NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Observed, Ref
from securetenant.reach import costs, holds, report, standing
from tests.support.holding import A, B, Stage, closed, egress, foreign, ingress, inward, named, space, tier, wide
from tests.support.markdown import ROOT
from tests.support.world import NOW, namespace


def test_beyond_its_bounds_the_other_end_is_not_looked_at() -> None:
    """All of it is closed, and counts as open."""
    theirs = foreign("theirs", ingress=ingress(space({"matchLabels": {"env": "x"}})))
    stage = Stage(theirs, *(each for n in range(standing.NAMESPACES) for each in closed(f"n{n}", env="x")))
    assert stage.told() == []
    stage.world.put(*closed("more", env="x"))
    assert len(stage.told()) == 1
    stage.world.drop(Ref(NAMESPACE, "", "more"))
    assert stage.told() == []
    stage.world.put(*(foreign(f"p{n}", "n1", ingress=[]) for n in range(standing.POLICIES)))
    assert len(stage.told()) == 1


def test_so_many_peers_are_looked_at() -> None:
    stage = Stage(*closed("web"))
    each = [space(named("web"), {"matchLabels": {"app": f"a{n}"}}) for n in range(holds.PEERS + 3)]
    stage.world.put(foreign("theirs", ingress=ingress(*each)))
    assert len(stage.told()) == 3


def took(stage: Stage) -> float:
    """Seconds of CPU, the fastest of five."""
    desired = plan(stage.tenant, stage.world, NOW).desired
    times = []
    for _ in range(5):
        start = time.process_time()
        holds.look(desired, [A, B], stage.world)
        times.append(time.process_time() - start)
    return min(times)


# Five times what it is, far below what it would be without bounds (seconds).
SOON: Final = 0.05


def test_many_namespaces() -> None:
    stage = Stage()
    wide(stage.world, 20_000)
    for n in range(40):
        stage.world.put(foreign(f"f{n}", ingress=ingress(space({"matchLabels": {"env": f"e{n}", "team": "t1"}}))))
    assert len(stage.look().unexpected) == 40
    assert took(stage) < SOON


def test_many_policies_at_the_other_end() -> None:
    stage = Stage()
    wide(stage.world, standing.NAMESPACES)
    for n in range(standing.POLICIES):
        peer = space({"matchLabels": {"team": f"t{n}"}})
        stage.world.put(
            foreign(f"in{n}", f"n{n % standing.NAMESPACES}", {"matchLabels": {"a": f"{n}"}}, egress=egress(peer))
        )
    stage.world.put(
        foreign(
            "theirs", ingress=ingress(space({"matchLabels": {"env": "e3"}}), space({"matchLabels": {"team": "t3"}}))
        )
    )
    assert stage.look().unexpected
    assert took(stage) < SOON


def test_many_policies_here() -> None:
    stage = Stage()
    wide(stage.world, 50)
    for n in range(500):
        stage.world.put(
            foreign(f"f{n}", pods={"matchLabels": {f"k{n}": "x"}}, ingress=ingress(space(named(f"n{n % 50}"))))
        )
    assert len(stage.look().unexpected) == 50
    assert took(stage) < SOON


def test_many_kinds_of_pods() -> None:
    stage = Stage()
    for n in range(20):
        stage.world.put(
            foreign(
                f"f{n}",
                pods={"matchLabels": {f"k{n}": "x"}},
                ingress=ingress(space(named(B), {"matchLabels": {f"l{n}": "x"}})),
            )
        )
    assert len(stage.look().unexpected) == 20
    assert took(stage) < SOON


def one_rule(n: int) -> list[Any]:
    return ingress(*(space({"matchLabels": {f"l{k}": "v"}}) for k in range(n)))


def rules(n: int) -> list[Any]:
    return [{"from": [space(named("web"))], "ports": [{"port": 2 * k + 1}]} for k in range(n)]


def ports_by_peers(n: int) -> list[Any]:
    return ingress(
        *(space({"matchLabels": {f"l{k}": "v"}}) for k in range(n)), ports=[{"port": 2 * k + 1} for k in range(n)]
    )


def excepts(n: int) -> list[Any]:
    return ingress({"ipBlock": {"cidr": "10.0.0.0/8", "except": [f"10.{k // 99}.{k % 99}.8/32" for k in range(n)]}})


def one_port(n: int) -> list[Any]:
    return ingress(space(named("web")), ports=[{"port": 2 * k + 1} for k in range(n)])


@pytest.mark.parametrize("large", [one_rule, rules, ports_by_peers, excepts, one_port])
@pytest.mark.parametrize("count", [30, 200, 900, 3000])
def test_a_large_policy(large: Callable[[int], list[Any]], count: int) -> None:
    """The last is about 200 KB. What of it is not looked at counts as open, or it is told as unknown."""
    stage = Stage(
        *closed("web"), foreign("out", "web", egress=egress(space(named(A)))), namespace("l", labels={"l1": "v"})
    )
    stage.world.put(foreign("large", ingress=large(count)))
    assert stage.condition[0] != "True"
    assert took(stage) < 2 * SOON


MANY: Final = {"matchLabels": {f"l{n}": "v" for n in range(1500)}}


@pytest.mark.parametrize(
    "policies",
    [
        [foreign("many", pods=MANY, ingress=ingress(space(named("web"))))],
        [foreign("many", ingress=ingress(space(named("web"), MANY)))],
        [
            foreign("many", "web", MANY, egress=egress(space(named(A)), ports=[{"port": 1}])),
            foreign("theirs", ingress=ingress(space(named("web")))),
        ],
    ],
)
def test_a_selector_with_many_labels(policies: list[Observed]) -> None:
    stage = Stage(*closed("web"), foreign("out", "web", egress=egress(space(named(A)))), *policies)
    assert stage.condition == ("False", "Unexpected")
    assert took(stage) < SOON


def test_pods_that_are_taken_together_hide_nothing() -> None:
    """544 kinds of pods (16 x 17 x 2): too many to tell apart, not too many to compare."""
    declared = {"name": "ok", "from": [{"namespace": "web", "pods": {"matchLabels": {"app": "ok"}}}]}
    stage = Stage(
        *closed("web"),
        foreign("out", "web", egress=egress(space(named(A)), ports=[{"port": 22}])),
        network={"ingress": [{**declared, "ports": [{"port": 22}]}]},
    )
    for side, keys, port in (("x", 15, 22), ("y", 16, 9)):
        kind = {"matchLabels": {f"{side}{n}": "v" for n in range(keys)}}
        stage.world.put(foreign(side, ingress=ingress(space(named("web"), kind), ports=[{"port": port}])))
    assert stage.condition == ("Unknown", "NotUnderstood")
    assert "web: its policies tell more than 512 kinds of pods apart" in stage.look().unknown[0]


def test_a_long_peer_is_shortened_in_the_status() -> None:
    stage = Stage(namespace("web"))
    long = [f"{'v' * 40}{n}" for n in range(1000)]
    numbers = [{"port": 2 * n + 1} for n in range(400)]
    for n in range(2):
        stage.world.put(foreign(f"f{n}", ingress=ingress(space(named(*long, f"x{n}", "web")), ports=numbers)))
    found = stage.look()
    told, message = report.status(found), report.condition(found).message
    assert told is not None
    assert {len(text) for one in told.unexpected for text in (one.peer, one.ports)} == {160}
    assert len(message) < 1000
    assert "NetworkPolicy/f0" in message


@pytest.mark.parametrize("policies", [1, 3])
@pytest.mark.parametrize("peers", [100, 1000, 5000])
def test_large_policies_at_the_other_end(policies: int, peers: int) -> None:
    """As if it were open."""
    stage = Stage(*closed("web"), foreign("theirs", ingress=ingress(space(named("web")))))
    for n in range(policies):
        each = [space({"matchLabels": {f"l{k % 50}": "v"}}, {"matchLabels": {"a": f"b{k}"}}) for k in range(peers)]
        stage.world.put(
            foreign(f"large{n}", "web", egress=egress(*each, ports=[{"port": 2 * k + 1} for k in range(9)]))
        )
    assert len(stage.look().unexpected) == (peers > 100)
    assert took(stage) < 2 * SOON


def test_many_ports_at_both_ends() -> None:
    stage = Stage(*closed("web"), foreign("theirs", ingress=one_port(900)))
    stage.world.put(
        foreign("out", "web", egress=egress(space(named(A)), ports=[{"port": 4 * k + 1} for k in range(1900)]))
    )
    (found,) = stage.look().unexpected
    assert found.ports.count("TCP") == 450
    assert took(stage) < SOON


@pytest.mark.parametrize("kinds", [1, 4, 8, 9])
def test_many_peers_with_many_kinds_of_pods(kinds: int) -> None:
    stage = Stage(*closed("web"), foreign("out", "web", egress=egress(space(named(A)))))
    for n in range(holds.PEERS):
        peer = space(named("web"), {"matchLabels": {f"k{n % kinds}": "v"}})
        stage.world.put(foreign(f"f{n}", ingress=ingress(peer, ports=[{"port": n + 1}])))
    assert len(stage.look().unexpected) == kinds
    assert took(stage) < SOON


def test_large_policies_are_not_kept() -> None:
    standing._parsed.cache_clear()
    for count in (1, 200):
        standing.parsed(foreign("theirs", ingress=rules(count)))
    assert standing._parsed.cache_info().currsize == 1


def test_a_large_policy_hides_no_other() -> None:
    """Neither here nor in the tenant's next namespace."""
    stage = Stage(namespace("web"), foreign("large", ingress=rules(3000)), foreign("theirs", ingress=rules(1)))
    stage.world.put(foreign("theirs", B, ingress=rules(1)))
    found = stage.look()
    assert [ref.namespace for one in found.unexpected for ref in one.policies] == [A, B]
    assert found.unknown == (f"{Ref(NETWORK_POLICY, A, 'large')} is too large to look at: it may open anything",)
    assert stage.condition == ("False", "Unexpected")
    for name in (A, B):
        stage.world.drop(Ref(NETWORK_POLICY, name, "theirs"))
    assert stage.condition == ("Unknown", "NotUnderstood")


def test_of_what_is_too_much_to_compare_only_what_differs_counts() -> None:
    """A policy of ours with one rule more; and what is lost is blocked."""
    rules = [
        {"name": f"r{n}", "to": {"pods": {"matchLabels": {f"k{n}": "x"}}}, "from": [{"namespace": "web"}]}
        for n in range(20)
    ]
    stage = Stage(namespace("web"), network={"ingress": rules})
    name = "securetenant-ingress-r3"
    have = stage.world.get(Ref(NETWORK_POLICY, A, name))
    assert have is not None
    spec: Any = have.field("spec")
    more = {"from": [space(named("web"), {"matchLabels": {"app": "x"}})], "ports": [{"port": 22}]}
    stage.world.put(foreign(name, pods=spec["podSelector"], ingress=[*spec["ingress"], more]))
    found = stage.look()
    assert [(one.ports, one.policies) for one in found.unexpected] == [("TCP 22", (Ref(NETWORK_POLICY, A, name),))]
    assert not found.blocked
    assert not found.others
    stage.world.drop(Ref(NETWORK_POLICY, A, name))
    found = stage.look()
    assert (len(found.unexpected), len(found.blocked)) == (0, 1)


def test_many_rules_declared() -> None:
    rules = [
        {
            "name": f"r{n}",
            "to": {"pods": {"matchLabels": {"app": f"a{n}", "tier": f"t{n % 3}"}}},
            "from": [{"namespace": f"n{n % 20}"}, {"cidr": f"192.0.{n}.0/24"}],
        }
        for n in range(60)
    ]
    stage = Stage(*(namespace(f"n{n}") for n in range(20)), network={"ingress": rules})
    stage.world.put(foreign("theirs", ingress=ingress(space(named("n3")), {"ipBlock": {"cidr": "0.0.0.0/0"}})))
    assert len(stage.look().unexpected) == 2
    assert took(stage) < SOON


def test_many_policies_of_tiers() -> None:
    rule = {"name": "web", "from": [{"namespace": f"n{n}"} for n in range(20)]}
    stage = Stage(absent=[KUBE_OVN_SUBNET], network={"ingress": [rule]})
    wide(stage.world, 90)
    for n in range(40):
        rules = [each for m in range(20) for each in inward("Deny" if n % 2 else "Accept", f"n{n}", f"n{m}")]
        stage.world.put(tier(f"f{n}", {}, n, ingress=rules))
    assert took(stage) < SOON
    for n in range(10):
        networks = [{"networks": [f"198.51.{n}.{m}/32"]} for m in range(25)]
        stage.world.put(tier(f"out{n}", {}, 100 + n, egress=[{"action": "Accept", "to": networks}]))
    assert stage.look().unexpected
    assert took(stage) < SOON


def test_the_bounds_are_those_that_the_documentation_tells() -> None:
    page = (ROOT / "docs" / "controls" / "network.md").read_text()
    limits = f"{standing.NAMESPACES} namespaces in total, {standing.POLICIES} policies in them"
    assert limits in page
    assert f"{standing.OPENINGS:,} peers in these" in page
    assert f", {standing.COMPARISONS:,} comparisons" in page
    assert f"not as planned | {holds.PEERS} |" in page
    assert f"{holds.MEETINGS:,} pairs of what is denied" in page
    assert f"{costs.LOOKS:,} peers of their rules" in page
    told = f"a namespace that differs counts as {costs.OWN_AS_PAIRS}, another as {costs.OTHER_AS_PAIRS}"
    assert f"{costs.PAIRS} pairs of kinds of pods, {costs.MET:,} of them counted once" in page
    assert told in page
    assert f"{costs.BYTES // 1024} KiB of their specs, or {costs.OPENINGS:,} peers" in page
