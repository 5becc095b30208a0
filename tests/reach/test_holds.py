"""Whether what is open is what is declared: pure, over objects as the caches hold them."""

import msgspec

from securetenant.controls.network.control import DENY
from securetenant.model.kinds import CALICO_GLOBAL_NETWORK_POLICY, NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach import report, standing
from securetenant.reach.holds import Holds
from tests.support.holding import NAME, A, B, Stage, closed, egress, foreign, ingress, named, space, texts, wide
from tests.support.world import mine, namespace, observed, tenant


def test_nothing_is_compared_where_all_is_as_planned() -> None:
    stage = Stage()
    assert stage.look() == Holds()
    assert stage.condition == ("True", "AsDeclared")


def test_what_a_foreign_policy_opens_is_unexpected() -> None:
    stage = Stage(namespace("web"))
    stage.world.put(foreign("theirs", ingress=ingress(space(named("web")), ports=[{"port": 80}])))
    peer = "namespaces with kubernetes.io/metadata.name In (web)"
    assert stage.told() == [("ingress", A, peer, "TCP 80", ["theirs"])]
    assert stage.condition == ("False", "Unexpected")
    stage.world.drop(Ref(NETWORK_POLICY, A, "theirs"))
    assert stage.condition == ("True", "AsDeclared")


def test_the_other_end_may_close_it() -> None:
    stage = Stage(*closed("web"))
    stage.world.put(foreign("theirs", ingress=ingress(space(named("web")))))
    assert stage.told() == []
    found = stage.look()
    assert (found.others, len(found.selectors)) == ({"web"}, 1)
    # One that lets out to this tenant opens it, on the ports of both.
    stage.world.put(foreign("out", "web", egress=egress(space(named(A)), ports=[{"port": 443}])))
    ((side, where, _, ports, by),) = stage.told()
    assert (side, where, ports, by) == ("ingress", A, "TCP 443", ["theirs"])
    stage.world.put(foreign("out", "web", egress=egress(space(named("elsewhere")))))
    assert stage.told() == []


def test_addresses_at_the_other_end_may_be_these_pods() -> None:
    stage = Stage(*closed("web"), foreign("out", "web", egress=egress({"ipBlock": {"cidr": "10.0.0.0/8"}})))
    stage.world.put(foreign("theirs", ingress=ingress(space(named("web")))))
    assert len(stage.told()) == 1


def test_addresses_in_the_operators_own_policies_are_not_pods() -> None:
    """They have no address of the cluster in them; of a tenant whose policies nobody puts right that is not known."""
    office = {"name": "office", "from": [{"cidr": "192.0.2.0/24"}]}
    core = tenant("core", namespaces=["core-a"], network={"ingress": [office]})
    stage = Stage(core, *mine(core))
    stage.settle(core)
    stage.world.put(foreign("theirs", egress=egress(space(named("core-a")))))
    assert stage.told() == []
    stage.world.put(core.model_copy(update={"spec": core.spec.model_copy(update={"mode": "Audit"})}))
    assert len(stage.told()) == 1


def test_both_ends_in_the_tenant() -> None:
    """One of two that open their ends towards each other opens nothing by itself."""
    stage = Stage()
    stage.world.put(foreign("out", A, egress=egress(space(named(B)), ports=[{"port": 80}, {"port": 81}])))
    assert stage.told() == []
    stage.world.put(
        foreign("in", B, pods={"matchLabels": {"app": "db"}}, ingress=ingress(space(named(A)), ports=[{"port": 80}]))
    )
    assert [(one[0], one[1], one[3], one[4]) for one in stage.told()] == [
        ("egress", A, "TCP 80", ["out"]),
        ("ingress", B, "TCP 80", ["in"]),
    ]


def test_what_is_declared_anyway_is_not_unexpected() -> None:
    rule = {
        "name": "web",
        "from": [{"cidr": "192.0.2.0/24"}, {"namespace": "web"}],
        "ports": [{"port": 80}, {"port": 443}],
    }
    stage = Stage(namespace("web"), network={"ingress": [rule]})
    stage.world.put(foreign("theirs", ingress=ingress({"ipBlock": {"cidr": "192.0.2.7/32"}}, ports=[{"port": 80}])))
    stage.world.put(
        foreign("more", ingress=ingress(space(named("web"), {"matchLabels": {"app": "x"}}), ports=[{"port": 80}]))
    )
    assert stage.told() == []
    stage.world.put(foreign("theirs", ingress=ingress({"ipBlock": {"cidr": "192.0.2.0/23"}}, ports=[{"port": 80}])))
    assert stage.told() == [("ingress", A, "192.0.2.0/23", "TCP 80", ["theirs"])]
    stage.world.put(foreign("theirs", ingress=ingress({"ipBlock": {"cidr": "192.0.2.0/24"}}, ports=[{"port": 22}])))
    assert stage.told() == [("ingress", A, "192.0.2.0/24", "TCP 22", ["theirs"])]


def test_flows_are_counted_by_peer_not_by_kinds_of_pods() -> None:
    labelled = [{"matchLabels": {"app": f"a{n}"}} for n in range(5)]
    stage = Stage(namespace("web"), *(foreign(f"web{n}", "web", pods, egress=[{}]) for n, pods in enumerate(labelled)))
    stage.world.put(foreign("one", ingress=ingress(space(named("web")), ports=[{"port": 1}])))
    stage.world.put(foreign("two", ingress=ingress(space(named("web")), ports=[{"port": 2}])))
    ((*_, ports, by),) = stage.told()
    assert (ports, by) == ("TCP 1-2", ["one", "two"])
    assert report.samples(stage.look()) == {report.UNEXPECTED.name: {("ingress",): 1, ("egress",): 0}}


def test_named_ports_are_told_by_name() -> None:
    stage = Stage(namespace("web"))
    stage.world.put(foreign("theirs", ingress=ingress(space(named("web")), ports=[{"port": "http"}, {"port": 22}])))
    assert [one[3] for one in stage.told()] == ["TCP 22, TCP http"]


def test_everyone_and_all_namespaces_are_not_looked_at() -> None:
    many = [namespace(f"n{n}") for n in range(standing.NAMESPACES)]
    stage = Stage(*many)
    stage.world.put(foreign("all", ingress=ingress(space({}))), foreign("everyone", egress=[{}]))
    assert stage.told() == [
        ("egress", A, "everywhere", "all ports", ["everyone"]),
        ("ingress", A, "all namespaces", "all ports", ["all"]),
    ]
    assert not stage.look().others


def test_all_of_a_few_namespaces_are_looked_at() -> None:
    stage = Stage(*closed("web"))
    stage.world.put(foreign("all", ingress=ingress(space({}, {"matchLabels": {"app": "web"}}))))
    # The tenant's own other namespace is closed too.
    assert stage.told() == []
    assert stage.look().others == {"web"}


def test_a_selector_that_contradicts_itself_opens_nothing() -> None:
    stage = Stage()
    never = {
        "matchExpressions": [{"key": "a", "operator": "In", "values": ["x"]}, {"key": "a", "operator": "DoesNotExist"}]
    }
    stage.world.put(foreign("a", ingress=ingress(space(never))), foreign("b", pods=never, ingress=[{}]))
    stage.world.put(foreign("c", ingress=ingress(space({}, never))))
    assert stage.told() == []
    wide(stage.world, standing.NAMESPACES)  # too many to look at
    assert stage.told() == []


def test_a_changed_policy_of_ours() -> None:
    rule = {"name": "web", "from": [{"namespace": "web"}], "ports": [{"port": 80}]}
    stage = Stage(namespace("web"), network={"ingress": [rule]})
    name = "securetenant-ingress-web"
    stage.world.put(foreign(name, ingress=ingress(space({"matchLabels": {NAME: "web"}}), ports=[{"port": 81}])))
    found = stage.look()
    assert [one[3] for one in texts(found.unexpected)] == ["TCP 81"]
    assert [(one[0], one[1], one[3], one[4]) for one in texts(found.blocked)] == [("ingress", A, "TCP 80", [name])]
    # Opened for everyone, it blocks nothing.
    stage.world.put(foreign(name, ingress=[{}]))
    found = stage.look()
    assert (len(found.unexpected), found.blocked) == (1, ())


def test_a_lost_policy_blocks_what_is_agreed() -> None:
    rule = {"name": "web", "from": [{"namespace": "web"}, {"cidr": "192.0.2.0/24"}], "ports": [{"port": 80}]}
    stage = Stage(namespace("web"), network={"ingress": [rule]})
    stage.world.drop(Ref(NETWORK_POLICY, A, "securetenant-ingress-web"))
    found = stage.look()
    assert found.unexpected == ()
    assert len(found.blocked) == 2
    assert stage.condition == ("False", "Blocked")
    # What the other end closes is not blocked here.
    stage.world.put(*closed("web"))
    assert [one.peer for one in stage.look().blocked] == ["192.0.2.0/24"]


def test_default_deny_alone_is_not_what_closes() -> None:
    stage = Stage()
    stage.world.drop(Ref(NETWORK_POLICY, A, DENY))
    assert stage.told() == []  # the policy for the namespace itself selects all pods too
    stage.world.drop(Ref(NETWORK_POLICY, A, "securetenant-isolation"))
    found = stage.look()
    assert texts(found.unexpected) == [("ingress", A, "everywhere", "all ports", [])]
    # The policy for DNS still closes egress, so that pods of the namespace no longer reach each other.
    assert [(one.direction, one.peer) for one in found.blocked] == [("egress", "this namespace")]
    assert "no policy closes it" in report.condition(stage.look()).message


def test_what_is_not_understood_is_unknown() -> None:
    stage = Stage()
    stage.world.put(observed(NETWORK_POLICY, "later", A, spec={"podSelector": {}, "ingress": [{"since": 2031}]}))
    found = stage.look()
    assert found.unexpected == ()
    assert found.unknown == (f"a rule of NetworkPolicy/{A}/later is not understood",)
    assert stage.condition == ("Unknown", "NotUnderstood")
    assert report.samples(found) == {report.UNEXPECTED.name: {}}
    # What is known to be open is told all the same.
    stage.world.put(foreign("theirs", egress=[{}]))
    assert stage.condition == ("False", "Unexpected")
    assert report.samples(stage.look()) == {report.UNEXPECTED.name: {("egress",): 1}}


def test_a_kind_of_a_network_plugin_is_unknown() -> None:
    policy = observed(
        CALICO_GLOBAL_NETWORK_POLICY, "wide", spec={"selector": "all()", "ingress": [{"action": "Allow"}]}
    )
    stage = Stage(policy, network={"foreign": "Ignore"})
    assert stage.condition == ("Unknown", "NotUnderstood")
    assert "wide selects pods of pay-a, pay-b" in report.condition(stage.look()).message


def test_a_policy_that_may_be_switched_off_is_unknown() -> None:
    stage = Stage(*closed("web"))
    off = {"ovn.kubernetes.io/network_policy_for": "none"}
    deny = stage.world.get(Ref(NETWORK_POLICY, A, DENY))
    assert deny is not None
    stage.world.put(msgspec.structs.replace(deny, annotations=off))
    assert stage.condition == ("Unknown", "NotUnderstood")
    stage.world.put(deny, foreign("theirs", ingress=ingress(space(named("web")))))
    assert stage.told() == []
    there = stage.world.get(Ref(NETWORK_POLICY, "web", "deny"))
    assert there is not None
    stage.world.put(msgspec.structs.replace(there, annotations=off))
    assert len(stage.told()) == 1


def test_such_a_kind_at_the_other_end_closes_nothing_for_sure() -> None:
    spec = {"namespaceSelector": "projectcalico.org/name == 'web'", "ingress": [{"action": "Allow"}]}
    stage = Stage(*closed("web"), observed(CALICO_GLOBAL_NETWORK_POLICY, "wide", spec=spec))
    stage.world.put(foreign("theirs", ingress=ingress(space(named("web")))))
    assert len(stage.told()) == 1


def test_agreed_with_a_tenant() -> None:
    """The other tenant's policies count, and a wider opening here opens no more than they do."""
    rule = {"name": "l", "to": [{"tenant": "core"}], "ports": [{"port": 80}]}
    back = {"name": "p", "from": [{"tenant": "pay"}], "ports": [{"port": 80}]}
    core = tenant("core", namespaces=["core-a"], network={"ingress": [back]})
    stage = Stage(core, *mine(core), network={"egress": [rule]})
    stage.settle(core)
    stage.world.put(foreign("wider", egress=egress(space(named("core-a")))))
    assert stage.told() == []
    stage.world.put(foreign("wider", "core-a", ingress=ingress(space(named(A)), ports=[{"port": 81}])))
    assert [(one[0], one[3]) for one in stage.told()] == [("egress", "TCP 81")]
