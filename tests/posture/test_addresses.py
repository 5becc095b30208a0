"""Pods whose addresses lie outside of their namespace's subnet: found, counted, and told what to do."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest

from securetenant.api.status import SecureTenantStatus
from securetenant.controls.registry import CONTROLS
from securetenant.controls.subnets import control as subnets
from securetenant.model.objects import Observed
from securetenant.posture import addresses, report
from securetenant.posture.addresses import ID
from securetenant.posture.judging import Verdict
from securetenant.posture.rules import Rules, inspected, of_plans
from securetenant.posture.tally import LISTED, Tally, listed
from tests.support.world import NOW, StaticWorld, mine, namespace, tenant

V4: Final = ("10.60.0.0/24",)
DUAL: Final = ("10.60.0.0/24", "2001:db8:60::/64")
REMEDY: Final = "restart them"
JUDGED: Final = datetime(2026, 11, 27, 12, tzinfo=UTC)


def pod(*ips: str, name: str = "p", **spec: Any) -> msgspec.Raw:
    status = {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]} if ips else {}
    return msgspec.Raw(json.dumps({"metadata": {"name": name}, "spec": spec, "status": status}).encode())


@pytest.mark.parametrize(
    ("raw", "blocks", "outside"),
    [
        pytest.param(pod("10.60.0.7"), V4, (), id="inside"),
        pytest.param(pod("10.60.0.0"), V4, (), id="first"),
        pytest.param(pod("10.60.0.255"), V4, (), id="last"),
        pytest.param(pod("10.60.1.0"), V4, ("10.60.1.0",), id="just-beyond"),
        pytest.param(pod("10.59.255.255"), V4, ("10.59.255.255",), id="just-before"),
        pytest.param(pod(), V4, (), id="not-started"),
        pytest.param(pod("192.168.0.2", hostNetwork=True), V4, (), id="the-hosts-network"),
        pytest.param(pod("192.168.0.2", hostNetwork=False), V4, ("192.168.0.2",), id="not-the-hosts-network"),
        pytest.param(pod("10.60.0.7", "2001:db8:60::7"), DUAL, (), id="dual-stack"),
        pytest.param(pod("10.60.0.7", "2001:DB8:61:0::7"), DUAL, ("2001:db8:61::7",), id="the-second-outside"),
        pytest.param(pod("10.60.0.7", "2001:db8:61::7"), V4, (), id="a-family-that-the-subnet-has-not"),
        pytest.param(pod("2001:db8:61::7"), V4, ("2001:db8:61::7",), id="that-family-alone"),
        pytest.param(msgspec.Raw(b'{"status": {"podIP": "10.1.0.1"}}'), V4, ("10.1.0.1",), id="podIP-alone"),
    ],
)
def test_an_address_is_inside_or_outside(raw: msgspec.Raw, blocks: tuple[str, ...], outside: tuple[str, ...]) -> None:
    found = addresses.judged(raw, blocks)
    assert (found.outside, found.error) == (outside, "")


def test_an_address_that_cannot_be_read_is_unknown() -> None:
    found = addresses.judged(pod("10.60.0.7", "nonsense"), V4)
    assert found.outside == ()
    assert "nonsense" in found.error
    with pytest.raises(msgspec.MsgspecError):
        addresses.judged(msgspec.Raw(b'{"status": {"podIPs": "all"}}'), V4)


def tally(*raws: msgspec.Raw, blocks: tuple[str, ...] = V4) -> Tally:
    made = Tally("a")
    for raw in raws:
        made.add("Pod", Verdict("p", []))
        made.address("Pod", addresses.judged(raw, blocks))
    return made


HERE: Final = Rules("a", "uid-a", {}, V4, REMEDY)
OUT: Final = pod("10.1.0.1", name="old")
UNREADABLE: Final = pod("nonsense", name="odd")


@pytest.mark.parametrize(
    ("found", "outcome", "count"),
    [
        pytest.param(tally(), "pass", 0, id="no-pods"),
        pytest.param(tally(pod("10.60.0.7")), "pass", 0, id="inside"),
        pytest.param(tally(pod("10.60.0.7"), OUT), "fail", 1, id="outside"),
        pytest.param(tally(UNREADABLE), "unknown", 0, id="unreadable"),
        pytest.param(tally(UNREADABLE, OUT, OUT), "fail", 2, id="unreadable-and-outside"),
    ],
)
def test_the_outcome_is_one_of_the_namespaces_checks(found: Tally, outcome: str, count: int) -> None:
    row = found.row(HERE, JUDGED)
    assert (row.outside, row.subnets) == (count, list(V4))
    assert {name: what for _, name, what in report.outcomes(row)}[ID] == outcome
    posture = report.told([HERE], ["a"], {"a": row}, listed([found]))
    assert posture.passed + posture.failed + posture.unknown == len(inspected()) + 1
    assert posture.findings == count
    assert report.condition(posture).status == {"fail": "False", "unknown": "Unknown"}.get(outcome, "True")
    counts = report.samples(SecureTenantStatus(posture=posture))["securetenant_posture_checks"]
    assert [counts["subnets", one] for one in report.OUTCOMES] == [int(one == outcome) for one in report.OUTCOMES]


def test_it_is_told_which_pods_and_what_to_do() -> None:
    found = tally(*(pod(f"10.1.0.{n}", name=f"p{n}") for n in range(LISTED + 5)), UNREADABLE)
    row = found.row(HERE, JUDGED)
    assert row.outside == LISTED + 5
    assert row.message == f"{LISTED + 5} pods have addresses outside 10.60.0.0/24: restart them"
    items = listed([found])
    assert len(items) == LISTED
    assert items[0].model_dump() == {
        "control": "subnets",
        "check": "address",
        "kind": "Pod",
        "namespace": "a",
        "name": "p0",
        "place": "10.1.0.0",
    }
    condition = report.condition(report.told([HERE], ["a"], {"a": row}, items))
    assert f"a: {row.message}" in condition.message
    assert tally(OUT).row(HERE, JUDGED).message == "1 pod has an address outside 10.60.0.0/24: restart them"


def test_pods_that_could_not_be_listed_are_no_proof() -> None:
    found = tally(pod("10.60.0.7"))
    found.unjudged["pods"] = "no right to list pods"
    assert {name: what for _, name, what in report.outcomes(found.row(HERE, JUDGED))}[ID] == "unknown"
    posture = report.told([HERE], ["a"], {}, [])  # not judged yet
    assert posture.unknown == len(inspected()) + 1


def test_a_namespace_without_a_subnet_has_no_such_check() -> None:
    bare = Rules("a", "uid-a", {})
    row = Tally("a").row(bare, JUDGED)
    assert ID not in [name for _, name, _ in report.outcomes(row)]
    posture = report.told([bare], ["a"], {"a": row}, [])
    assert ("subnets", "pass") not in report.samples(SecureTenantStatus(posture=posture))["securetenant_posture_checks"]


def test_a_subnet_given_anew_is_another_rule() -> None:
    digests = {Rules("a", "uid-a", {}, blocks).digest for blocks in ((), V4, DUAL, ("10.61.0.0/24",))}
    assert len(digests) == 4


def planned(*, mode: str = "Enforce", provider: str = "None", given: str = "", **subnet: Any) -> dict[str, Any]:
    """Where the plan says that pods' addresses must lie. `given`: what the status says was given by this provider."""
    told = [{"namespace": "pay-a", "cidrs": [given], "provider": provider}] if given else []
    entry = {"name": "pay-a", "subnet": subnet}
    here = tenant(
        "pay", mode=mode, namespaces=[entry, "pay-b"], subnets={"provider": provider}, status={"subnets": told}
    )
    held: list[Observed] = [*mine(here), namespace("kube-system")]
    return dict(subnets.plan(here, StaticWorld([here], held), NOW).addresses)


class TestWhere:
    @pytest.mark.parametrize("mode", ["Enforce", "Audit"])
    def test_a_declared_cidr_is_a_statement(self, mode: str) -> None:
        (within,) = planned(mode=mode, cidr="10.60.0.0/24").values()
        assert within.blocks == V4
        assert "correct the cidr" in within.remedy

    def test_a_statement_can_be_corrected(self) -> None:
        """Nobody gave anything that could be kept."""
        assert planned(cidr="10.61.0.0/24", given="10.60.0.0/24")["pay-a"].blocks == ("10.61.0.0/24",)

    def test_what_was_given_stays(self) -> None:
        within = planned(provider="Calico", cidr="10.61.0.0/24", given="10.60.0.0/24")["pay-a"]
        assert within == (V4, "they were born before; restart them")

    def test_in_audit_no_pool_has_given_anything(self) -> None:
        assert planned(mode="Audit", provider="Calico", pool="prod") == {}

    def test_the_rules_of_a_namespace_hold_it(self) -> None:
        spaces = [{"name": "pay-a", "subnet": {"cidr": "10.60.0.0/24"}}, "pay-b"]
        here = tenant("pay", namespaces=spaces, subnets={"provider": "None"})
        world = StaticWorld([here], mine(here))
        desired = [want for c in CONTROLS if c.name == "namespaces" for want in c.plan(here, world, NOW).desired]
        found = {one.namespace: one.subnets for one in of_plans(desired, {"pay-a": "1", "pay-b": "2"}, _all(world))}
        assert found == {"pay-a": V4, "pay-b": ()}


def _all(world: StaticWorld) -> dict[str, Any]:
    here = world.tenant("pay")
    assert here is not None
    return {name: within for c in CONTROLS for name, within in c.plan(here, world, NOW).addresses.items()}
