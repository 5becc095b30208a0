"""Decoding: what is kept, and that nothing keeps the page alive."""

import gc
import json
import tracemalloc
from typing import Any

import pytest

from securetenant.controls.lookup import KINDS
from securetenant.kube.wire import codec, decode
from securetenant.model.kinds import NETWORK_POLICY, NODE, ROLE_BINDING, Kind
from tests.support.fakeapi import policy


def raw(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def test_all_that_is_kept() -> None:
    body = policy(
        "p",
        7,
        labels={"a": "b"},
        annotations={"c": "d", "securetenant.dev/applied": "0" * 32},
        finalizers=["f"],
        ownerReferences=[{"uid": "o", "name": "x", "kind": "K", "apiVersion": "v1"}],
        deletionTimestamp="2026-01-02T00:00:00Z",
    )
    observed = decode(NETWORK_POLICY, raw(body))
    assert observed.ref == (NETWORK_POLICY, "a", "p")
    assert (observed.uid, observed.resource_version, observed.created) == ("uid-p", "7", "2026-01-01T00:00:00Z")
    assert observed.deleting
    assert (observed.labels, observed.annotations, observed.record) == ({"a": "b"}, {"c": "d"}, "0" * 32)
    assert (observed.finalizers, observed.owners) == (("f",), ("o",))
    assert observed.field("spec") == body["spec"]
    assert list(observed.fields) == ["spec"]


def test_absent_is_absent() -> None:
    observed = decode(ROLE_BINDING, raw({"metadata": {"name": "r", "labels": None}, "roleRef": {"name": "x"}}))
    assert list(observed.fields) == ["roleRef"]
    assert observed.field("subjects") is None
    assert observed.labels == {}
    assert observed.record is None
    assert observed.finalizers == ()
    assert not observed.deleting


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in KINDS.values()])
def test_every_kind_keeps_its_fields_and_no_others(kind: Kind) -> None:
    narrowed = dict(kind.narrow)
    kept = {name: dict.fromkeys(narrowed.get(name, ("of",)), name) for name in (*kind.content, *kind.extra)}
    given = {name: {**value, **({"unread": 1} if name in narrowed else {})} for name, value in kept.items()}
    observed = decode(kind, raw({"metadata": {"name": "n"}, **given, "unknown": {"x": 1}}))
    assert {name: observed.field(name) for name in observed.fields} == kept


def test_page_is_let_go() -> None:
    """A page of which one small field is kept must not stay in memory."""
    addresses = [{"type": "InternalIP", "address": "192.0.2.1"}]
    status = {"addresses": addresses, "images": ["x" * 1_000_000]}
    node = {"metadata": {"name": "n"}, "spec": {"taints": []}, "status": status}
    body = {"metadata": {"resourceVersion": "1"}, "items": [node]}
    tracemalloc.start()
    try:
        page = codec(NODE).page(raw(body))
        kept = [codec(NODE).observed(wire) for wire in page.items or ()]
        del page
        gc.collect()
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept[0].field("spec") == {"taints": []}
    assert kept[0].field("status") == {"addresses": addresses}
    assert held < 100_000


def test_equal_labels_are_one_object() -> None:
    one, two, other = (
        decode(NETWORK_POLICY, raw(policy(name, 1, labels=labels)))
        for name, labels in [("a", {"x": "y", "z": "w"}), ("b", {"x": "y", "z": "w"}), ("c", {"x": "z", "y": "w"})]
    )
    assert one.labels is two.labels
    assert other.labels == {"x": "z", "y": "w"}


def test_equal_contents_are_one_object_unless_they_are_long() -> None:
    """What closes a namespace is alike for every tenant."""
    specs: list[tuple[dict[str, Any], bool]] = [
        ({"podSelector": {}}, True),
        ({"podSelector": {"matchLabels": {"a": "b" * 2000}}}, False),
    ]
    for spec, is_shared in specs:
        one, two = (decode(NETWORK_POLICY, raw({**policy(name, 1), "spec": spec})) for name in ("a", "b"))
        assert (one.fields is two.fields) is is_shared
        assert one.field("spec") == two.field("spec") == spec
