"""Requests of the operator's account, and whether the policy on it refuses them: both sides of each rule."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from securetenant.controls.admission import subnets
from tests.support import plugins
from tests.support.life import Json
from tests.support.locked import LOCKS, MANAGED_BY, OWNERS, TENANT
from tests.support.locked_requests import (
    CONTENT,
    HALVES,
    MALLORY,
    MARKS,
    METADATA,
    NOBODYS,
    OPERATOR,
    RBAC,
    SHOP,
    UNMARKED,
    Case,
    changed,
    gone,
    made,
    thing,
)
from tests.support.policed import changed_by
from tests.support.posture import PLAIN

OPERATORS_GROUPS: Final = (
    "system:serviceaccounts",
    "system:serviceaccounts:securetenant-system",
    "system:authenticated",
)


def restrained() -> Iterator[Case]:
    """What the operator does, and what it must not; each as somebody else does it as well, who is let through."""
    for case in _restrained():
        user = case.request.user if case.request.operators else OPERATOR
        yield case._replace(request=replace(case.request, user=user, groups=OPERATORS_GROUPS))
        if case.request.operators:
            continue
        yield Case(f"{case.name}, by another", case.request, False)


def _restrained() -> Iterator[Case]:
    yield from _namespaces()
    yield from _children()
    yield from _bindings()
    yield from _nodes()
    yield from _custom()
    yield from _of_plugins()
    yield from _of_admin_tier()


_TAKEN: Final = {"metadata": {"labels": dict.fromkeys(plugins.marks("")), "annotations": {LOCKS: None}}}
_SYSTEMS: Final = (
    *("default", "kube-system", "kube-public", "kube-node-lease", "securetenant-system"),
    *("securetenant-probe-deny", "securetenant-probe-warn", "kube-x", "openshift-x"),
)


def _namespaces() -> Iterator[Case]:
    ours, theirs = thing({}, MARKS, "shop-a"), thing({}, {"mine": "1"}, "shop-a")
    marked = {"metadata": {"labels": MARKS}}
    yield Case("namespace made", made("namespace", ours), False)
    yield Case("namespace unmarked made", made("namespace", theirs), True)
    yield Case("namespace adopted", changed("namespace", theirs, marked), False)
    yield Case("namespace annotated", changed("namespace", theirs, {"metadata": {"annotations": {LOCKS: "v1"}}}), False)
    yield Case("namespace of others", changed("namespace", theirs, METADATA["label"]), True)
    yield Case("namespace changed", changed("namespace", ours, METADATA["label"]), False)
    yield Case("namespace released", changed("namespace", ours, UNMARKED), False)
    yield Case("namespace held", changed("namespace", ours, METADATA["finalizers"]), True)
    yield Case("namespace owned", changed("namespace", ours, METADATA["owners"]), True)
    yield Case("namespace deleted", gone("namespace", ours), False)
    yield Case("namespace of others deleted", gone("namespace", theirs), True)
    by_note = thing({}, None, "shop-a", annotations={LOCKS: "v1"})
    yield Case("namespace with a note of ours deleted", gone("namespace", by_note), False)
    odd = thing({}, {"x.securetenant.dev/tenant": "1", MANAGED_BY: "securetenant"}, "shop-a")
    yield Case("namespace that looks like ours deleted", gone("namespace", odd), True)
    yield Case("namespace that looks like ours made", made("namespace", odd), True)
    ops = {"operators": ("system:serviceaccount:ops:operator", OPERATOR)}
    for name in ("ops", "securetenant-system"):
        elsewhere = gone("namespace", thing({}, MARKS, name), **ops, user=ops["operators"][0])
        yield Case(f"namespace {name} of an operator elsewhere", elsewhere, True)
    for name in ("status", "finalize"):
        yield Case(f"namespace {name}", changed("namespace", ours, METADATA["label"], subresource=name), True)
    for name in _SYSTEMS:
        old = thing({}, MARKS, name)
        yield Case(f"namespace {name} made", made("namespace", old), True)
        yield Case(f"namespace {name} deleted", gone("namespace", old), True)
        yield Case(f"namespace {name} adopted", changed("namespace", thing({}, None, name), marked), True)
    for name in ("x-kube-a", "my-openshift-a", "default2"):
        yield Case(f"namespace {name} made", made("namespace", thing({}, MARKS, name)), False)


def _children() -> Iterator[Case]:
    at, nobodys = {"namespace": "shop-a", "space": SHOP}, {"namespace": "shop-a", "space": NOBODYS | {"labels": {}}}
    released = {"metadata": {"labels": dict.fromkeys(MARKS)}}
    for kind in ("quota", "range", "policy"):
        body = PLAIN[kind]
        ours, theirs = thing(body, MARKS), thing(body, {"mine": "1"})
        change = next(iter(CONTENT[kind].values()))
        yield Case(f"{kind} made", made(kind, ours, **at), False)
        yield Case(f"{kind} changed", changed(kind, ours, change, **at), False)
        yield Case(f"{kind} deleted", gone(kind, ours, **at), False)
        yield Case(f"{kind} of others deleted", gone(kind, theirs, **at), False)
        yield Case(f"{kind} made elsewhere", made(kind, ours, **nobodys), True)
        yield Case(f"{kind} changed elsewhere", changed(kind, ours, change, **nobodys), True)
        yield Case(f"{kind} released elsewhere", changed(kind, ours, released, **nobodys), False)
        yield Case(f"{kind} deleted elsewhere", gone(kind, ours, **nobodys), False)
        yield Case(f"{kind} of others deleted elsewhere", gone(kind, theirs, **nobodys), True)
        yield Case(f"{kind} of others changed elsewhere", changed(kind, theirs, METADATA["label"], **nobodys), True)
        for name, given in {
            "labels alone": {"labels": {TENANT: "shop"}},
            "annotations alone": {"annotations": {LOCKS: "v1"}},
        }.items():
            yield Case(f"{kind} made with {name}", made(kind, ours, namespace="shop-a", space=given), False)
        alike = {"labels": {"x.securetenant.dev/tenant": "shop", MANAGED_BY: "securetenant"}, "annotations": {}}
        yield Case(f"{kind} made where it looks like ours", made(kind, ours, namespace="shop-a", space=alike), True)
        for name in _SYSTEMS:
            yield Case(f"{kind} made in {name}", made(kind, ours, namespace=name, space=SHOP), True)
            yield Case(f"{kind} deleted in {name}", gone(kind, ours, namespace=name, space=SHOP), True)
    event = thing({"reason": "x"})
    yield Case("event", made("event", event, **at), False)
    yield Case("event in default", made("event", event, namespace="default", space={}), False)
    yield Case("event in kube-system", made("event", event, namespace="kube-system", space={}), True)
    yield Case("event of nobody", made("event", event, **nobodys), True)
    probe: Json = {"annotations": {"securetenant.dev/probe": ""}}
    tried = thing(PLAIN["quota"], None, **probe)
    there = {"namespace": "securetenant-probe-deny", "space": {}}
    yield Case("probe", made("quota", tried, **there, dry_run=True), False)
    yield Case("probe in earnest", made("quota", tried, **there), True)
    yield Case("no probe", made("quota", thing(PLAIN["quota"]), **there, dry_run=True), True)
    yield Case("probed deletion", gone("quota", tried, **there, dry_run=True), True)
    yield Case("probed event", made("event", thing({}, None, **probe), **nobodys, dry_run=True), True)


def _bindings() -> Iterator[Case]:
    at, nobodys = {"namespace": "shop-a", "space": SHOP}, {"namespace": "shop-a", "space": {}}

    def bound(
        *subjects: Json, role: str = "securetenant-admin", kind: str = "ClusterRole", labels: Json = MARKS
    ) -> Json:
        return thing({"roleRef": {"apiGroup": RBAC, "kind": kind, "name": role}, "subjects": list(subjects)}, labels)

    account = {"kind": "ServiceAccount", "name": "securetenant", "namespace": "securetenant-system"}
    yield Case("binding made", made("binding", bound(MALLORY), **at), False)
    yield Case(
        "binding of nobody made", made("binding", {k: v for k, v in bound().items() if k != "subjects"}, **at), False
    )
    for role in ("viewer", "auditor", "operator", "developer"):
        yield Case(f"binding to {role}", made("binding", bound(MALLORY, role=f"securetenant-{role}"), **at), False)
    yield Case("binding to our own role", made("binding", bound(MALLORY, role="securetenant-controller"), **at), True)
    yield Case("binding to a Role", made("binding", bound(MALLORY, kind="Role"), **at), True)
    own: dict[str, Json] = {
        "account": account,
        "user": {"kind": "User", "name": OPERATOR},
        **{name: {"kind": "Group", "name": name} for name in OPERATORS_GROUPS},
    }
    for name, subject in own.items():
        yield Case(f"binding for itself: {name}", made("binding", bound(MALLORY, subject), **at), True)
        joined = {"subjects": [MALLORY, subject]}
        yield Case(f"binding joined: {name}", changed("binding", bound(MALLORY), joined, **at), True)
        yield Case(f"binding for itself deleted: {name}", gone("binding", bound(subject), **at), False)
        yield Case(
            f"binding for itself freed: {name}", changed("binding", bound(subject), METADATA["label"], **at), False
        )
    alike: dict[str, Json] = {
        "another account": {**account, "name": "other"},
        "another namespace": {**account, "namespace": "shop-a"},
        "a user of a group's name": {"kind": "User", "name": OPERATORS_GROUPS[0]},
        "a group of the user's name": {"kind": "Group", "name": OPERATOR},
        "a group of the account's name": {**account, "kind": "Group"},
        "an account of the user's name": {**account, "name": OPERATOR},
        "a user of the account's name": {**account, "kind": "User"},
        "another group": {"kind": "Group", "name": "dev"},
        "no namespace": {"kind": "ServiceAccount", "name": "securetenant"},
    }
    for name, subject in alike.items():
        yield Case(f"binding for {name}", made("binding", bound(subject), **at), False)
    foreign = bound(MALLORY, role="edit", labels={})
    yield Case("foreign binding deleted", gone("binding", foreign, **at), False)
    yield Case("foreign binding freed", changed("binding", foreign, METADATA["finalizers"], **at), False)
    yield Case("foreign binding changed", changed("binding", foreign, {"subjects": []}, **at), True)
    yield Case("binding elsewhere", made("binding", bound(MALLORY), **nobodys), True)
    yield Case("binding in kube-system", made("binding", bound(MALLORY), namespace="kube-system", space=SHOP), True)
    turned = {"roleRef": {"name": "securetenant-viewer"}}
    yield Case("binding elsewhere changed", changed("binding", bound(MALLORY), {"subjects": []}, **nobodys), True)
    yield Case("binding elsewhere turned", changed("binding", bound(MALLORY), turned, **nobodys), True)
    yield Case("binding elsewhere released", changed("binding", bound(MALLORY), UNMARKED, **nobodys), False)


def _nodes() -> Iterator[Case]:
    mark, taint = "securetenant.node-restriction.kubernetes.io/tenant", "securetenant.dev/tenant"
    other = {"key": "x", "effect": "NoSchedule"}
    node = thing(
        {"spec": {"taints": [other], "podCIDR": "10.0.0.0/24"}},
        {"pool": "a", "zone": "b"},
        annotations={"a": "b", "c": "d"},
    )
    ours = changed_by(node, {"metadata": {"labels": {mark: "shop"}}})
    with_ours = {"spec": {"taints": [other, {"key": taint, "value": "shop", "effect": "NoSchedule"}]}}
    recorded = {"metadata": {"annotations": {"securetenant.dev/applied": "x"}}}
    allowed: dict[str, Json] = {
        "mark": {"metadata": {"labels": {mark: "shop"}}},
        "record": recorded,
        "taint": with_ours,
    }
    for name, change in allowed.items():
        yield Case(f"node {name}", changed("node", node, change), False)
    yield Case("node given back", changed("node", ours, {"metadata": {"labels": {mark: None}}}), False)
    yield Case(
        "node taint taken back", changed("node", changed_by(node, with_ours), {"spec": {"taints": [other]}}), False
    )
    forbidden: dict[str, Json] = {
        **METADATA,
        "label taken": {"metadata": {"labels": {"pool": None}}},
        "annotation taken": {"metadata": {"annotations": {"a": None}}},
        "taint of others": {"spec": {"taints": [other, {"key": "y", "effect": "NoExecute"}]}},
        "taint of others taken": {"spec": {"taints": None}},
        "cordon": {"spec": {"unschedulable": True}},
        "address": {"spec": {"podCIDR": None}},
    }
    for name, change in forbidden.items():
        yield Case(f"node {name}", changed("node", node, change), True)
    yield Case("node made", made("node", node), True)
    yield Case("node deleted", gone("node", node), True)


def _custom() -> Iterator[Case]:
    tenant = thing(
        {"spec": {"mode": "Audit"}}, {"a": "b"}, "shop", annotations={"c": "d", "e": "f"}, finalizers=["example.com/x"]
    )
    ours = {"finalizers": ["example.com/x", "securetenant.dev/cleanup"]}
    allowed: dict[str, Json] = {
        "finalizer": {"metadata": ours},
        "commitment": {"metadata": {"annotations": {"securetenant.dev/creating": "x"}}},
    }
    forbidden: dict[str, Json] = {
        **METADATA,
        "finalizers": {"metadata": {"finalizers": ["example.com/x", "example.com/y"]}},
        "finalizers taken": {"metadata": {"finalizers": ["securetenant.dev/cleanup"]}},
        "annotation taken": {"metadata": {"annotations": {"c": None}}},
        "spec": {"spec": {"mode": "Enforce"}},
    }
    for name, change in allowed.items():
        yield Case(f"tenant {name}", changed("tenant", tenant, change), False)
    yield Case(
        "tenant freed",
        changed("tenant", changed_by(tenant, {"metadata": ours}), {"metadata": {"finalizers": ["example.com/x"]}}),
        False,
    )
    for name, change in forbidden.items():
        yield Case(f"tenant {name}", changed("tenant", tenant, change), True)
    status = {"subresource": "status"}
    yield Case("tenant status", changed("tenant", tenant, {"status": {"a": 1}, "spec": {"x": 1}}, **status), False)
    yield Case("tenant made", made("tenant", tenant), True)
    yield Case("tenant deleted", gone("tenant", tenant), True)
    pool, template = thing({"spec": {"cidrs": []}}), thing({"spec": {"ingress": []}})
    for kind, have, change in (
        ("ranges", pool, {"cidrs": ["10.0.0.0/8"]}),
        ("template", template, {"ingress": [{"name": "a", "from": [{"cidr": "0.0.0.0/0"}]}]}),
    ):
        yield Case(f"{kind} status", changed(kind, have, {"status": {"a": 1}}, **status), False)
        yield Case(f"{kind} changed", changed(kind, have, {"spec": change}), True)
        yield Case(f"{kind} made", made(kind, have), True)
        yield Case(f"{kind} deleted", gone(kind, have), True)


def _of_plugins() -> Iterator[Case]:
    drawing: Mapping[str, Mapping[str, Any]] = {
        "subnet": {"namespaceSelectors": [{}], "default": True},
        "pool": {"namespaceSelector": "all()"},
        "cilium": {"podSelector": {}, "namespaceSelector": {}},
    }
    widened: Mapping[str, Json] = {
        "subnet": {"namespaces": ["shop-a", "x"]},
        "pool": {"nodeSelector": "all()"},
        "cilium": {},
    }
    for kind in ("subnet", "pool", "cilium"):
        ours, theirs = plugins.body(kind, "shop-a", "shop"), plugins.body(kind, "shop-a")
        ours["spec"] |= {"vpc": "x"}
        narrow = {"default": False, "namespaceSelectors": [], "namespaceSelector": ""}
        yield Case(f"{kind} made", made(kind, ours), False)
        yield Case(f"{kind} made with defaults", made(kind, changed_by(ours, {"spec": narrow})), False)
        yield Case(f"{kind} of others made", made(kind, theirs), True)
        for number, half in enumerate(
            (*HALVES, {MANAGED_BY: "Helm", TENANT: "shop"}, {MANAGED_BY: "securetenant", TENANT: ""})
        ):
            one = {**theirs, "metadata": {**theirs["metadata"], "labels": half}}
            yield Case(f"{kind} half {number} made", made(kind, one), True)
            taken = {"metadata": {"labels": {MANAGED_BY: None, TENANT: None, **half}}}
            yield Case(f"{kind} half {number} left", changed(kind, ours, taken), True)
        for name, field in {"finalizers": ["example.com/x"], "ownerReferences": OWNERS}.items():
            yield Case(f"{kind} made with {name}", made(kind, changed_by(ours, {"metadata": {name: field}})), True)
            yield Case(f"{kind} {name}", changed(kind, ours, {"metadata": {name: field}}), True)
        for name in (
            "join",
            "ovn-default",
            "default",
            "securetenant-",
            "securetenant-shop-a.x",
            "x-securetenant-shop-a",
        ):
            one = changed_by(ours, {"metadata": {"name": name}})
            yield Case(f"{kind} {name} made", made(kind, one), True)
            yield Case(f"{kind} {name} deleted", gone(kind, one), True)
            yield Case(f"{kind} {name} changed", changed(kind, one, METADATA["label"]), True)
        second = changed_by(ours, {"metadata": {"name": "securetenant-shop-a.v6"}})
        yield Case(f"{kind} second made", made(kind, second), False)
        yield Case(f"{kind} second deleted", gone(kind, second), False)
        for name in _SYSTEMS:
            yield Case(f"{kind} for {name}", made(kind, plugins.body(kind, name, "shop")), True)
        for name, given in drawing[kind].items():
            yield Case(f"{kind} made with {name}", made(kind, changed_by(ours, {"spec": {name: given}})), True)
            yield Case(f"{kind} with {name}", changed(kind, ours, {"spec": {name: given}}), True)
            drawn = changed_by(ours, {"spec": {name: given}})
            yield Case(f"{kind} without {name} again", changed(kind, drawn, {"spec": {name: None}}), False)
            yield Case(f"{kind} as it was with {name}", changed(kind, drawn, METADATA["label"]), False)
        if widened[kind]:
            yield Case(f"{kind} widened made", made(kind, changed_by(ours, {"spec": widened[kind]})), True)
            yield Case(f"{kind} widened", changed(kind, ours, {"spec": widened[kind]}), True)
            healed = changed_by(ours, {"spec": widened[kind]})
            yield Case(f"{kind} healed", changed(kind, healed, {"spec": ours["spec"]}), False)
            yield Case(f"{kind} widened released", changed(kind, healed, _TAKEN), False)
        yield Case(f"{kind} released", changed(kind, ours, _TAKEN), False)
        yield Case(f"{kind} released and changed", changed(kind, ours, {**_TAKEN, "spec": {"private": 1}}), True)
        yield Case(
            f"{kind} marked again", changed(kind, changed_by(ours, UNMARKED), {"metadata": {"labels": MARKS}}), False
        )
        yield Case(
            f"{kind} kept for a while",
            changed(kind, ours, {"metadata": {"annotations": {"securetenant.dev/unused-since": "x"}}}),
            False,
        )
        for field in subnets.FIELDS[plugins.KINDS[kind]]:
            if field not in ("namespaces", "nodeSelector", "podSelector", "namespaceSelector", "namespaceSelectors"):
                yield Case(f"{kind} {field}", changed(kind, ours, {"spec": {field: "x"}}), False)
                yield Case(f"{kind} {field} taken", changed(kind, ours, {"spec": {field: None}}), False)
        yield Case(f"{kind} router", changed(kind, ours, {"spec": {"vpc": "y"}}), True)
        yield Case(f"{kind} router taken", changed(kind, ours, {"spec": {"vpc": None}}), True)
        yield Case(
            f"{kind} router given", changed(kind, plugins.body(kind, "shop-a", "shop"), {"spec": {"vpc": "y"}}), True
        )
        yield Case(f"{kind} deleted", gone(kind, ours), False)
        yield Case(f"{kind} of others deleted", gone(kind, theirs), True)
        yield Case(f"{kind} of others marked", changed(kind, theirs, {"metadata": {"labels": MARKS}}), True)


def _of_admin_tier() -> Iterator[Case]:
    """ClusterNetworkPolicies: what closes, for the pods of one namespace of a tenant, and nothing else."""
    there = {"matchLabels": {"kubernetes.io/metadata.name": "shop-a"}}
    elsewhere = {"matchLabels": {"kubernetes.io/metadata.name": "x"}}
    everywhere: Json = {"namespaces": {}}
    rules = [{"action": "Pass", "from": [everywhere]}, {"action": "Deny", "from": [everywhere]}]
    spec = {"tier": "Admin", "priority": 1000, "subject": {"namespaces": there}, "ingress": rules, "egress": []}
    ours = thing({"spec": spec}, MARKS, "securetenant-shop-a")
    some = {"pods": {"namespaceSelector": there, "podSelector": {"matchLabels": {"app": "a"}}}}
    yield Case("tier made", made("tier", ours), False)
    yield Case("tier for some", changed("tier", ours, {"spec": {"subject": {"namespaces": None, **some}}}), False)
    yield Case("tier without rules", changed("tier", ours, {"spec": {"ingress": None, "egress": None}}), False)
    yield Case("tier deleted", gone("tier", ours), False)
    held = changed_by(ours, {"metadata": {"finalizers": ["example.com/x"]}})
    yield Case("tier freed", changed("tier", held, {"metadata": {"finalizers": []}}), False)
    yield Case("tier marked again", changed("tier", changed_by(ours, UNMARKED), {"metadata": {"labels": MARKS}}), False)
    unmarked = changed_by(ours, UNMARKED)
    yield Case("tier of others made", made("tier", unmarked), True)
    yield Case("tier of others deleted", gone("tier", unmarked), True)
    yield Case("tier of others changed", changed("tier", unmarked, {"spec": {"priority": 1}}), True)
    yield Case("tier owned", made("tier", changed_by(ours, {"metadata": {"ownerReferences": OWNERS}})), True)
    accepts = [{"action": "Accept", "from": [everywhere]}]
    forbidden: dict[str, Json] = {
        "ingress accepted": {"ingress": accepts},
        "egress accepted": {"egress": [*accepts, *rules]},
        "last accepted": {"ingress": [*rules, *accepts]},
        "without an action": {"ingress": [{"from": [everywhere]}]},
        "of another tier": {"tier": "Baseline"},
        "without a tier": {"tier": None},
        "for others": {"subject": {"namespaces": elsewhere}},
        "for all": {"subject": {"namespaces": {"matchLabels": None}}},
        "for nobody": {"subject": None},
        "for some of others": {
            "subject": {"namespaces": None, "pods": {"namespaceSelector": elsewhere, "podSelector": {}}}
        },
    }
    for name, change in forbidden.items():
        yield Case(f"tier {name}", made("tier", changed_by(ours, {"spec": change})), True)
        yield Case(f"tier turned {name}", changed("tier", ours, {"spec": change}), True)
    for name in ("theirs", "securetenant-", "x-securetenant-shop-a", "securetenant-shop-b"):
        yield Case(f"tier {name} made", made("tier", changed_by(ours, {"metadata": {"name": name}})), True)
    yield Case("tier theirs deleted", gone("tier", changed_by(ours, {"metadata": {"name": "theirs"}})), True)
    for name in _SYSTEMS:
        subject = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        one = changed_by(ours, {"metadata": {"name": f"securetenant-{name}"}, "spec": {"subject": subject}})
        yield Case(f"tier for {name}", made("tier", one), True)
