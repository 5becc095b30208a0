"""Requests, and whether the policies refuse them that lock what is ours and restrain the operator: of each rule both
sides. tests/cluster/test_policed.py has the API server judge them, tests/checks/test_policy_mutants.py looks whether
they notice a mistake in a policy."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from securetenant.checks import accounts
from securetenant.checks.policies import ADMISSION
from securetenant.controls.admission import lock, posture, subnets
from tests.support import plugins
from tests.support.life import Json
from tests.support.locked import BREAK_GLASS, LOCKS, MANAGED_BY, OWNERS, TENANT
from tests.support.policed import ERROR, Request, Verdict, changed_by
from tests.support.posture import PLAIN

OPERATOR: Final = accounts.DEFAULT.operators[0]
OPERATORS_GROUPS: Final = (
    "system:serviceaccounts",
    "system:serviceaccounts:securetenant-system",
    "system:authenticated",
)
CNI: Final = accounts.DEFAULT.cni[0]
RBAC: Final = "rbac.authorization.k8s.io"
#: Group, resource and kind.
KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "namespace": ("", "namespaces", "Namespace"),
    "node": ("", "nodes", "Node"),
    "event": ("", "events", "Event"),
    "quota": ("", "resourcequotas", "ResourceQuota"),
    "range": ("", "limitranges", "LimitRange"),
    "policy": ("networking.k8s.io", "networkpolicies", "NetworkPolicy"),
    "binding": (RBAC, "rolebindings", "RoleBinding"),
    "tenant": ("securetenant.dev", "securetenants", "SecureTenant"),
    "ranges": ("securetenant.dev", "subnetpools", "SubnetPool"),
    **{name: (kind.group, kind.plural, kind.name) for name, kind in plugins.KINDS.items()},
}
MARKS: Final = {MANAGED_BY: "securetenant", TENANT: "shop"}
HALVES: Final = ({MANAGED_BY: "securetenant"}, {TENANT: "shop"})
_EVERY: Final = "foreign=networkpolicies,rolebindings"


class Case(NamedTuple):
    """`refused`: by the policy that the case is about. `audited`: the audit annotations that it leaves besides."""

    name: str
    request: Request
    refused: bool
    audited: Mapping[str, str] = MappingProxyType({})

    def fits(self, verdict: Verdict) -> bool:
        """Whether a verdict is as the case says. A refusal by one of the locks tells what was done to which object."""
        if bool(verdict.refused) != self.refused or verdict.refused == ERROR:
            return False
        if not self.audited.items() <= verdict.audited.items():
            return False
        if not self.refused or verdict.refused.startswith("restrained: "):
            return True
        return f"{_DONE[self.request.operation]}{self.request.kind} {_name(self.request)}: " in verdict.refused


_DONE: Final = {"CREATE": "creation of ", "UPDATE": " of ", "DELETE": "deletion of "}


def _name(request: Request) -> str:
    return str((request.new or request.old or {})["metadata"]["name"])


def space(locks: str = f"v1;{_EVERY}", tenant: str = "shop") -> Json:
    """The metadata of a namespace in which policies look at objects."""
    labels = {ADMISSION: "Deny"} | ({TENANT: tenant} if tenant else {})
    return {"labels": labels, "annotations": {LOCKS: locks} if locks else {}}


SHOP: Final = space()
STRICT: Final = space("v1")
OFF: Final = space(f"v1;unlocked=posture;{_EVERY}")
NOBODYS: Final = space("", "")


def thing(content: Json, labels: Json | None = None, name: str = "one", **metadata: Any) -> Json:
    given = {"name": name, **({"labels": labels} if labels else {}), **metadata}
    return {"metadata": given, **content}


def made(kind: str, new: Json, **other: Any) -> Request:
    return Request("CREATE", *KINDS[kind], new=new, **other)


def changed(kind: str, old: Json, change: Json, **other: Any) -> Request:
    return Request("UPDATE", *KINDS[kind], old=old, new=changed_by(old, change), **other)


def gone(kind: str, old: Json, **other: Any) -> Request:
    return Request("DELETE", *KINDS[kind], old=old, **other)


_METADATA: Final[Mapping[str, Json]] = {
    "label": {"metadata": {"labels": {"mine": "1"}}},
    "annotation": {"metadata": {"annotations": {"mine": "1"}}},
    "finalizers": {"metadata": {"finalizers": ["example.com/x"]}},
    "owners": {"metadata": {"ownerReferences": OWNERS}},
}
_UNMARKED: Final = {"metadata": {"labels": dict.fromkeys(MARKS)}}
_GLASS: Final = {"groups": ("system:authenticated", BREAK_GLASS)}
_MALLORY: Final = {"kind": "User", "name": "mallory", "apiGroup": RBAC}

# --- the posture lock

_CONTENT: Final[Mapping[str, Mapping[str, Json]]] = {
    "quota": {"spec": {"spec": {"hard": {"pods": "9"}}}, "status": {"status": {"hard": {"pods": "9"}}}},
    "range": {"spec": {"spec": {"limits": [{"type": "Pod"}]}}},
    "policy": {"spec": {"spec": {"egress": [{}]}}},
    "binding": {"subjects": {"subjects": []}, "role": {"roleRef": {"name": "admin"}}},
}


def of_posture() -> Iterator[Case]:
    """What is done to objects in namespaces."""
    for kind, content in _CONTENT.items():
        body, at = PLAIN[kind], {"namespace": "shop-a", "space": SHOP}
        ours, theirs = thing(body, MARKS), thing(body, {"mine": "0"})
        for name, change in {**content, **_METADATA, "marks": _UNMARKED}.items():
            yield Case(f"{kind} {name}", changed(kind, ours, change, **at), True)
            yield Case(f"{kind} {name} unlocked", changed(kind, ours, change, **at | {"space": OFF}), False)
            yield Case(f"{kind} {name} of nobody", changed(kind, ours, change, **at | {"space": NOBODYS}), False)
            yield Case(f"{kind} {name} by the operator", changed(kind, ours, change, **at, user=OPERATOR), False)
            yield Case(f"{kind} {name} of others", changed(kind, theirs, change, **at), False)
        first = next(iter(content.values()))
        yield Case(f"{kind} nothing", changed(kind, ours, {}, **at), False)
        yield Case(f"{kind} deletion", gone(kind, ours, **at), True)
        yield Case(f"{kind} deletion unlocked", gone(kind, ours, **at | {"space": OFF}), False)
        yield Case(f"{kind} deletion of others", gone(kind, theirs, **at), False)
        yield Case(f"{kind} creation", made(kind, ours, **at), True)
        yield Case(f"{kind} creation of nobody", made(kind, ours, **at | {"space": NOBODYS}), False)
        yield Case(f"{kind} creation of others", made(kind, theirs, **at), False)
        yield Case(f"{kind} creation by Helm", made(kind, thing(body, {MANAGED_BY: "Helm"}), **at), False)
        for number, half in enumerate(HALVES):
            yield Case(f"{kind} half {number}", changed(kind, thing(body, half), first, **at), True)
            yield Case(f"{kind} half {number} creation", made(kind, thing(body, half), **at), True)
            yield Case(f"{kind} half {number} deletion", gone(kind, thing(body, half), **at), True)
            marked = {"metadata": {"labels": half}}
            yield Case(f"{kind} marked {number}", changed(kind, theirs, marked, **at), True)
            taken = {"metadata": {"labels": dict.fromkeys(half)}}
            yield Case(f"{kind} unmarked {number}", changed(kind, thing(body, half), taken, **at), True)
        told = {"tenant": "shop", "break-glass": f"deletion of {KINDS[kind][2]} one"}
        yield Case(f"{kind} by break-glass", changed(kind, ours, first, **at, **_GLASS), False)
        yield Case(f"{kind} deletion by break-glass", gone(kind, ours, **at, **_GLASS), False, told)
        yield Case(f"{kind} by another group", gone(kind, ours, **at, groups=(f"{BREAK_GLASS}2",)), True)
        for user in lock.CONTROLLERS:
            yield Case(f"{kind} deletion by {user}", gone(kind, ours, **at, user=user), False)
            yield Case(f"{kind} by {user}", changed(kind, ours, first, **at, user=user), False)
        for user in posture.COUNTERS:
            yield Case(f"{kind} by {user}", changed(kind, ours, first, **at, user=user), True)
            yield Case(f"{kind} deletion by {user}", gone(kind, ours, **at, user=user), True)
        yield from _foreign(kind, content, theirs, ours)
    status = {"namespace": "shop-a", "space": SHOP, "subresource": "status"}
    quota, counted = thing(PLAIN["quota"], MARKS), {"status": {"used": {"pods": "1"}}}
    yield Case("quota count", changed("quota", quota, counted, **status), True)
    for user in (*posture.COUNTERS, *lock.CONTROLLERS):
        yield Case(f"quota count by {user}", changed("quota", quota, counted, **status, user=user), False)


def _foreign(kind: str, content: Mapping[str, Json], theirs: Json, ours: Json) -> Iterator[Case]:
    """Where others' objects are removed."""
    is_widening = kind in ("policy", "binding")
    at = {"namespace": "shop-a", "space": STRICT}
    plural = KINDS[kind][1]
    yield Case(f"{kind} foreign", made(kind, theirs, **at), is_widening)
    yield Case(f"{kind} foreign by the operator", made(kind, theirs, **at, user=OPERATOR), False)
    yield Case(f"{kind} foreign by break-glass", made(kind, theirs, **at, **_GLASS), False)
    yield Case(f"{kind} foreign deletion", gone(kind, theirs, **at), False)
    yield Case(f"{kind} strict", changed(kind, ours, next(iter(content.values())), **at), True)
    yield Case(f"{kind} strict deletion", gone(kind, ours, **at), True)
    for name, change in content.items():
        yield Case(f"{kind} foreign {name}", changed(kind, theirs, change, **at), is_widening)
    for name, change in _METADATA.items():
        yield Case(f"{kind} foreign {name}", changed(kind, theirs, change, **at), False)
    named = {"namespace": "shop-a", "space": space(f"v1;foreign={plural}")}
    yield Case(f"{kind} foreign admitted", made(kind, theirs, **named), False)
    off = {"namespace": "shop-a", "space": space("v1;unlocked=posture")}
    yield Case(f"{kind} foreign unlocked", made(kind, theirs, **off), False)
    nobodys = {"namespace": "shop-a", "space": space("v1", "")}
    yield Case(f"{kind} foreign of nobody", made(kind, theirs, **nobodys), False)
    other = "rolebindings" if kind == "policy" else "networkpolicies"
    only = {"namespace": "shop-a", "space": space(f"v1;foreign={other}")}
    yield Case(f"{kind} foreign, another admitted", made(kind, theirs, **only), is_widening)


# --- the lock on subnets


def of_subnets() -> Iterator[Case]:
    """What is done to the objects of network plug-ins."""
    for kind in plugins.KINDS:
        ours, theirs = plugins.body(kind, "shop-a", "shop"), plugins.body(kind, "shop-a")
        off = plugins.body(kind, "shop-a", "shop", "v1;unlocked=posture")
        for name, spec in plugins.MOVED[kind].items():
            change = {"spec": spec}
            for user in ("mallory", OPERATOR, CNI, *subnets.CONTROLLERS):
                yield Case(f"{kind} {name} by {user}", changed(kind, ours, change, user=user), True)
            yield Case(f"{kind} {name} by break-glass", changed(kind, ours, change, **_GLASS), True)
            yield Case(f"{kind} {name} unlocked", changed(kind, off, change), True)
            yield Case(f"{kind} {name} of others", changed(kind, theirs, change), False)
            both = {**change, **_UNMARKED}
            yield Case(f"{kind} {name} unmarked", changed(kind, ours, both, user=OPERATOR), True)
        opened = {f"opened {field}": {"spec": {field: given}} for field, given in plugins.OPENED[kind].items()}
        filled = {f"filled {field}": {"spec": {field: given}} for field, given in plugins.FILLED[kind].items()}
        marks = {
            "marks": _UNMARKED,
            "managed-by": {"metadata": {"labels": {MANAGED_BY: None}}},
            "tenant": {"metadata": {"labels": {TENANT: "other"}}},
            "locks": {"metadata": {"annotations": {LOCKS: "v1;unlocked=posture"}}},
            "no locks": {"metadata": {"annotations": {LOCKS: None}}},
            "record": {"metadata": {"annotations": {"securetenant.dev/applied": "{}"}}},
        }
        status = {"status": {"status": {"a": 1}}}
        own = {*marks, "owners", *opened}
        for name, change in {**opened, **filled, **_METADATA, **marks, **status}.items():
            yield Case(f"{kind} {name}", changed(kind, ours, change), True)
            yield Case(f"{kind} {name} unlocked", changed(kind, off, change), False)
            yield Case(f"{kind} {name} by the operator", changed(kind, ours, change, user=OPERATOR), False)
            yield Case(f"{kind} {name} by break-glass", changed(kind, ours, change, **_GLASS), False)
            yield Case(f"{kind} {name} by the plug-in", changed(kind, ours, change, user=CNI), name in own)
            for user in subnets.CONTROLLERS:
                yield Case(f"{kind} {name} by {user}", changed(kind, ours, change, user=user), False)
        for field in ("labels", "annotations"):
            alike = {"metadata": {field: {"x.securetenant.dev/a": "1"}}}
            yield Case(f"{kind} {field} that look like ours", changed(kind, ours, alike, user=CNI), False)
        if kind == "subnet":
            for field, empty in {"private": False, "allowSubnets": [], "acls": [], "namespaces": []}.items():
                bare, void = (changed_by(ours, {"spec": {field: given}}) for given in (None, empty))
                for name, old, new in (("filled in", bare, void), ("left out", void, bare)):
                    by_plugin = Request("UPDATE", *KINDS[kind], old=old, new=new, user=CNI)
                    yield Case(f"{kind} empty {field} {name} by the plug-in", by_plugin, False)
                    yield Case(f"{kind} empty {field} {name}", replace(by_plugin, user="mallory"), True)
                given = {"spec": {field: ours["spec"][field]}}
                for name, old in {"absent": bare, "empty": void}.items():
                    yield Case(f"{kind} {name} {field} set by the plug-in", changed(kind, old, given, user=CNI), True)
        drawn = changed_by(ours, {"spec": plugins.OPENED[kind]})
        yield Case(f"{kind} opened before, by the plug-in", changed(kind, drawn, _METADATA["label"], user=CNI), False)
        if kind.startswith("pool"):
            without = {"spec": {"nodeSelector": None}}
            yield Case(f"{kind} taken by the plug-in", changed(kind, ours, without, user=CNI), True)
        for name, change in {**opened, **filled, **_METADATA, **status}.items():
            yield Case(f"{kind} {name} of others", changed(kind, theirs, change), False)
        yield Case(f"{kind} nothing", changed(kind, ours, {}), False)
        for number, half in enumerate(HALVES):
            one = {**theirs, "metadata": {**theirs["metadata"], "labels": half}}
            yield Case(f"{kind} half {number}", changed(kind, one, _METADATA["label"]), True)
            yield Case(f"{kind} half {number} creation", made(kind, one), True)
            yield Case(f"{kind} half {number} deletion", gone(kind, one), True)
            yield Case(f"{kind} marked {number}", changed(kind, theirs, {"metadata": {"labels": half}}), True)
        helm = {**theirs, "metadata": {**theirs["metadata"], "labels": {MANAGED_BY: "Helm"}}}
        yield Case(f"{kind} creation by Helm", made(kind, helm), False)
        for name, old in (("", ours), (" unlocked", off)):
            is_locked = not name
            yield Case(f"{kind} creation{name}", made(kind, old), True)
            yield Case(f"{kind} deletion{name}", gone(kind, old), is_locked)
            yield Case(f"{kind} deletion by the plug-in{name}", gone(kind, old, user=CNI), is_locked)
            yield Case(f"{kind} creation by the plug-in{name}", made(kind, old, user=CNI), True)
        other = plugins.body(kind, "shop-a", "shop", "v1;unlocked=namespaces")
        yield Case(f"{kind} deletion, another lock off", gone(kind, other), True)
        for user in (OPERATOR, *subnets.CONTROLLERS):
            yield Case(f"{kind} creation by {user}", made(kind, ours, user=user), False)
            yield Case(f"{kind} deletion by {user}", gone(kind, ours, user=user), False)
        for what, request in {"creation": made(kind, ours, **_GLASS), "deletion": gone(kind, ours, **_GLASS)}.items():
            told = {"tenant": "shop", "break-glass": f"{what} of {KINDS[kind][2]} {plugins.name('shop-a')}"}
            yield Case(f"{kind} {what} by break-glass", request, False, told)
        unmarked = changed(kind, ours, _UNMARKED, **_GLASS)
        told = {"tenant": "shop", "break-glass": f"metadata.labels of {KINDS[kind][2]} {plugins.name('shop-a')}"}
        yield Case(f"{kind} unmarked by break-glass", unmarked, False, told)
        yield Case(f"{kind} by another group", gone(kind, ours, groups=(f"{BREAK_GLASS}2",)), True)


# --- the operator restrained


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
    yield Case("namespace of others", changed("namespace", theirs, _METADATA["label"]), True)
    yield Case("namespace changed", changed("namespace", ours, _METADATA["label"]), False)
    yield Case("namespace released", changed("namespace", ours, _UNMARKED), False)
    yield Case("namespace held", changed("namespace", ours, _METADATA["finalizers"]), True)
    yield Case("namespace owned", changed("namespace", ours, _METADATA["owners"]), True)
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
        yield Case(f"namespace {name}", changed("namespace", ours, _METADATA["label"], subresource=name), True)
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
        change = next(iter(_CONTENT[kind].values()))
        yield Case(f"{kind} made", made(kind, ours, **at), False)
        yield Case(f"{kind} changed", changed(kind, ours, change, **at), False)
        yield Case(f"{kind} deleted", gone(kind, ours, **at), False)
        yield Case(f"{kind} of others deleted", gone(kind, theirs, **at), False)
        yield Case(f"{kind} made elsewhere", made(kind, ours, **nobodys), True)
        yield Case(f"{kind} changed elsewhere", changed(kind, ours, change, **nobodys), True)
        yield Case(f"{kind} released elsewhere", changed(kind, ours, released, **nobodys), False)
        yield Case(f"{kind} deleted elsewhere", gone(kind, ours, **nobodys), False)
        yield Case(f"{kind} of others deleted elsewhere", gone(kind, theirs, **nobodys), True)
        yield Case(f"{kind} of others changed elsewhere", changed(kind, theirs, _METADATA["label"], **nobodys), True)
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
    probe = {"annotations": {"securetenant.dev/probe": ""}}
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
    yield Case("binding made", made("binding", bound(_MALLORY), **at), False)
    yield Case(
        "binding of nobody made", made("binding", {k: v for k, v in bound().items() if k != "subjects"}, **at), False
    )
    for role in ("viewer", "auditor", "operator", "developer"):
        yield Case(f"binding to {role}", made("binding", bound(_MALLORY, role=f"securetenant-{role}"), **at), False)
    yield Case("binding to our own role", made("binding", bound(_MALLORY, role="securetenant-controller"), **at), True)
    yield Case("binding to a Role", made("binding", bound(_MALLORY, kind="Role"), **at), True)
    own: dict[str, Json] = {
        "account": account,
        "user": {"kind": "User", "name": OPERATOR},
        **{name: {"kind": "Group", "name": name} for name in OPERATORS_GROUPS},
    }
    for name, subject in own.items():
        yield Case(f"binding for itself: {name}", made("binding", bound(_MALLORY, subject), **at), True)
        joined = {"subjects": [_MALLORY, subject]}
        yield Case(f"binding joined: {name}", changed("binding", bound(_MALLORY), joined, **at), True)
        yield Case(f"binding for itself deleted: {name}", gone("binding", bound(subject), **at), False)
        yield Case(
            f"binding for itself freed: {name}", changed("binding", bound(subject), _METADATA["label"], **at), False
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
    foreign = bound(_MALLORY, role="edit", labels={})
    yield Case("foreign binding deleted", gone("binding", foreign, **at), False)
    yield Case("foreign binding freed", changed("binding", foreign, _METADATA["finalizers"], **at), False)
    yield Case("foreign binding changed", changed("binding", foreign, {"subjects": []}, **at), True)
    yield Case("binding elsewhere", made("binding", bound(_MALLORY), **nobodys), True)
    yield Case("binding in kube-system", made("binding", bound(_MALLORY), namespace="kube-system", space=SHOP), True)
    turned = {"roleRef": {"name": "securetenant-viewer"}}
    yield Case("binding elsewhere changed", changed("binding", bound(_MALLORY), {"subjects": []}, **nobodys), True)
    yield Case("binding elsewhere turned", changed("binding", bound(_MALLORY), turned, **nobodys), True)
    yield Case("binding elsewhere released", changed("binding", bound(_MALLORY), _UNMARKED, **nobodys), False)


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
    allowed = {"mark": {"metadata": {"labels": {mark: "shop"}}}, "record": recorded, "taint": with_ours}
    for name, change in allowed.items():
        yield Case(f"node {name}", changed("node", node, change), False)
    yield Case("node given back", changed("node", ours, {"metadata": {"labels": {mark: None}}}), False)
    yield Case(
        "node taint taken back", changed("node", changed_by(node, with_ours), {"spec": {"taints": [other]}}), False
    )
    forbidden: dict[str, Json] = {
        **_METADATA,
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
        **_METADATA,
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
    pool = thing({"spec": {"cidrs": []}})
    yield Case("pool of addresses status", changed("ranges", pool, {"status": {"a": 1}}, **status), False)
    yield Case("pool of addresses changed", changed("ranges", pool, {"spec": {"cidrs": ["10.0.0.0/8"]}}), True)
    yield Case("pool of addresses made", made("ranges", pool), True)
    yield Case("pool of addresses deleted", gone("ranges", pool), True)


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
            yield Case(f"{kind} {name} changed", changed(kind, one, _METADATA["label"]), True)
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
            yield Case(f"{kind} as it was with {name}", changed(kind, drawn, _METADATA["label"]), False)
        if widened[kind]:
            yield Case(f"{kind} widened made", made(kind, changed_by(ours, {"spec": widened[kind]})), True)
            yield Case(f"{kind} widened", changed(kind, ours, {"spec": widened[kind]}), True)
            healed = changed_by(ours, {"spec": widened[kind]})
            yield Case(f"{kind} healed", changed(kind, healed, {"spec": ours["spec"]}), False)
            yield Case(f"{kind} widened released", changed(kind, healed, _TAKEN), False)
        yield Case(f"{kind} released", changed(kind, ours, _TAKEN), False)
        yield Case(f"{kind} released and changed", changed(kind, ours, {**_TAKEN, "spec": {"private": 1}}), True)
        yield Case(
            f"{kind} marked again", changed(kind, changed_by(ours, _UNMARKED), {"metadata": {"labels": MARKS}}), False
        )
        yield Case(
            f"{kind} kept for a while",
            changed(kind, ours, {"metadata": {"annotations": {"securetenant.dev/unused-since": "x"}}}),
            False,
        )
        for field in subnets.FIELDS[plugins.KINDS[kind]]:
            if field not in ("namespaces", "nodeSelector", "podSelector", "namespaceSelector"):
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
