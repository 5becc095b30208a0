"""The CRD on the real API server: it refuses what the models refuse, and takes what they take."""

import asyncio
import copy
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from sandbox.client import MERGE_PATCH
from securetenant.api import crd
from securetenant.api.constraints import RULES_KEY, SpecModel
from securetenant.api.definitions import DEFINITIONS, TENANT, Definition, of_kind
from securetenant.api.load import read
from securetenant.api.subnets import SubnetPool
from securetenant.api.templates import NetworkTemplate
from securetenant.api.tenant import SecureTenant
from securetenant.controls.lookup import KINDS
from securetenant.model import kinds, quantity
from securetenant.sets.blocks import canonical_cidr
from tests.support import shelf
from tests.support.corpus import document, entries
from tests.support.reading import load
from tests.support.sandbox import Admin, wait_for
from tests.support.specs import DEFAULTS, Document, documents, drawn, quantities
from tests.support.subnets import documents_with_subnets, pool_documents
from tests.support.templates import template_documents
from tests.support.wild import wild_documents

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("crds")]

PATH = kinds.SECURE_TENANT.path()
DRY = {"dryRun": "All"}
STRICT = {**DRY, "fieldValidation": "Strict"}
AT_ONCE: Final = 500


def path_of(document: Document) -> str:
    definition = of_kind(document["kind"])
    assert definition is not None
    return definition.kind.path()


async def judge(admin: Admin, entry: dict[str, Any]) -> tuple[int, str]:
    given = document(entry)
    status, body = await admin.request("POST", path_of(given), given, params=STRICT)
    return status, body.get("message", "")


async def test_good_documents_are_accepted(admin: Admin) -> None:
    good = entries("good")
    assert len(good) >= 15
    answers = await asyncio.gather(*(judge(admin, entry) for entry in good))
    assert {e["id"]: text for e, (status, text) in zip(good, answers, strict=True) if status != 201} == {}


async def test_bad_documents_are_refused(admin: Admin) -> None:
    bad = entries("bad")
    assert len(bad) >= 70
    answers = await asyncio.gather(*(judge(admin, entry) for entry in bad))
    accepted = {e["id"]: text for e, (status, text) in zip(bad, answers, strict=True) if status not in (400, 422)}
    assert accepted == {}
    # The server names the field as well, or the map or list in which it stands.
    silent = {
        e["id"]: text
        for e, (_, text) in zip(bad, answers, strict=True)
        if not any(path in text for path in _surroundings(e["path"]))
    }
    assert silent == {}


async def test_each_rule_of_the_crd_refuses_something(admin: Admin) -> None:
    """Each CEL rule is at work: without it the server would say less about the corpus."""
    answers = await asyncio.gather(*(judge(admin, entry) for entry in entries("bad")))
    said = "\n".join(text for _, text in answers)
    every = {message for one in DEFINITIONS for message in _messages(crd.root_schema(one))}
    changes = {rule.message for one in DEFINITIONS for rule in one.transitions}
    assert {message for message in every - changes if message not in said} == set()


def _messages(schema: dict[str, Any]) -> Iterator[str]:
    yield from (rule["message"] for rule in schema.get(RULES_KEY, ()))
    for inner in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if inner:
            yield from _messages(inner)


def _surroundings(path: str) -> list[str]:
    """The field's path and that of what it stands in; the rule on the name is the root's, which has no path."""
    if path == "metadata.name":
        return ["metadata.name", "name of a SecureTenant", "name of a SubnetPool", "name of a NetworkTemplate"]
    return [path, path.rpartition(".")[0] or path, path.rpartition("[")[0] or path]


def spec_of(document: Document) -> SpecModel:
    resource, found = read(document)
    assert isinstance(resource, SecureTenant | SubnetPool | NetworkTemplate), found
    return resource.spec


async def test_documents_generated_good_are_accepted(admin: Admin) -> None:
    made = await asyncio.to_thread(drawn, documents_with_subnets(), 40)
    made += await asyncio.to_thread(drawn, pool_documents(), 20)
    made += await asyncio.to_thread(drawn, template_documents(), 30)
    assert len(made) > 30
    answers = await asyncio.gather(*(admin.request("POST", path_of(one), one, params=STRICT) for one in made))
    judged = list(zip(made, answers, strict=True))
    assert [(body["message"], one["spec"]) for one, (status, body) in judged if status != 201] == []
    for one, (_, body) in judged:
        assert spec_of(body) == spec_of(one), "the server's defaults are not those of the models"


@pytest.mark.parametrize("count", [40, pytest.param(20_000, marks=[pytest.mark.full, pytest.mark.timeout(1800)])])
async def test_models_and_server_judge_alike(admin: Admin, count: int) -> None:
    """Of documents that may be good or bad: what one takes, the other takes, and as the same spec."""
    made = [one for some in await asyncio.to_thread(drawn, wild_documents(), count // 10) for one in some]
    verdicts, disagreed = {True: 0, False: 0}, []
    for start in range(0, len(made), AT_ONCE):
        some = made[start : start + AT_ONCE]
        answers = await asyncio.gather(*(admin.request("POST", path_of(one), one, params=STRICT) for one in some))
        for one, (status, body) in zip(some, answers, strict=True):
            errors = [str(problem) for problem in read(one)[1] if problem.severity == "error"]
            assert status in (201, 400, 422), (status, body, one)
            alike = (status == 201) == (not errors) and (bool(errors) or spec_of(body) == spec_of(one))
            if not alike:
                disagreed.append((errors, body.get("message"), one))
            verdicts[not errors] += 1
    assert not disagreed, "\n".join(json.dumps(one) for one in disagreed[:10])
    assert sum(verdicts.values()) == count
    assert min(verdicts.values()) >= count // 50, verdicts


async def test_what_the_spec_holds_as_quota_and_limits_is_valid_as_such(admin: Admin) -> None:
    """A spec that is accepted must not fail later, when a ResourceQuota or a LimitRange is made of it."""
    made = [one for entry in entries("good") if (one := document(entry))["kind"] == "SecureTenant"]
    made += await asyncio.to_thread(drawn, documents(), 80)
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": "default"}, "spec": spec}
        for one in made
        for kind, spec in _objects(one)
    ]
    assert len(objects) > 60
    answers = await asyncio.gather(
        *(admin.request("POST", KINDS[o["kind"]].path("default"), o, params=DRY) for o in objects)
    )
    assert [(body["message"], o["spec"]) for o, (code, body) in zip(objects, answers, strict=True) if code != 201] == []


async def test_what_the_spec_holds_as_addresses_is_valid_as_such(admin: Admin) -> None:
    """In the writing of the policies, which is the one that the API server has no warning for."""
    made = [one for entry in entries("good") if (one := document(entry))["kind"] == "SecureTenant"]
    made += await asyncio.to_thread(drawn, documents(), 20)
    network = [load(one).spec.network for one in made]
    peers = [peer for n in network for rule in n.ingress for peer in rule.from_]
    peers += [peer for n in network for rule in n.egress for peer in rule.to]
    blocks = [
        {
            "cidr": canonical_cidr(peer.cidr),
            **({"except": [*map(canonical_cidr, peer.except_)]} if peer.except_ else {}),
        }
        for peer in peers
        if peer.cidr is not None
    ]
    assert len(blocks) > 10
    spec = {"podSelector": {}, "egress": [{"to": [{"ipBlock": block}]} for block in blocks]}
    answer = await admin.kubectl(
        "create", "--dry-run=server", "--warnings-as-errors", "-o", "json", "-f", "-",
        text=json.dumps({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "x", "namespace": "default"}, "spec": spec,
        }),
    )  # fmt: skip
    assert json.loads(answer)["spec"]["egress"] == spec["egress"]


def _objects(one: Document) -> list[tuple[str, dict[str, Any]]]:
    spec = load(one).spec
    hards = [spec.quota.tenant, spec.quota.namespace, *(namespace.quota for namespace in spec.namespaces)]
    limits = [spec.limits, *(namespace.limits for namespace in spec.namespaces if namespace.limits)]
    return [
        *(("ResourceQuota", {"hard": hard}) for hard in hards if hard),
        *(
            ("LimitRange", {"limits": [{"type": kind, **entry.model_dump(by_alias=True, exclude_defaults=True)}]})
            for one_limits in limits
            for kind, entry in (
                ("Container", one_limits.container),
                ("Pod", one_limits.pod),
                ("PersistentVolumeClaim", one_limits.persistent_volume_claim),
            )
            if entry is not None
        ),
    ]


async def test_unknown_fields_are_refused_when_strict_and_pruned_otherwise(admin: Admin) -> None:
    body = document({"spec": {"displayNmae": "x", "network": {"dsn": False}}})
    status, answer = await admin.request("POST", PATH, body, params=STRICT)
    assert status == 400
    assert 'unknown field "spec.displayNmae"' in answer["message"]
    assert 'unknown field "spec.network.dsn"' in answer["message"]
    status, answer = await admin.request("POST", PATH, body, params={**DRY, "fieldValidation": "Ignore"})
    assert status == 201
    assert answer["spec"] == document({"spec": DEFAULTS})["spec"]


async def test_what_kubectl_shows(admin: Admin) -> None:
    """The columns, every name of the kind, and a status that comes back as it was written."""
    name = "crd-columns"
    await admin.create(PATH, {**document({"name": name, "spec": {"mode": "Audit"}})})
    try:
        status = {
            "observedGeneration": 1,
            "namespaceCount": 2,
            "namespaces": [{"name": "a", "uid": "1", "drift": 0}, {"name": "b", "uid": "2", "drift": 3}],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Kept",
                    "message": "",
                    "observedGeneration": 1,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ],
            "drift": {"total": 3, "byControl": {"network": 3}, "items": []},
            "whitelist": {"declared": 2, "agreed": 1, "nextExpiry": "2026-01-01T00:00:00Z"},
            "nodes": ["node-0"],
            "applied": {"": ["Namespace/a"], "a": ["NetworkPolicy/securetenant-default-deny"]},
        }
        path = kinds.SECURE_TENANT.path(name=name)
        await admin.patch(f"{path}/status", {"status": status}, params={"fieldValidation": "Strict"})
        assert (await admin.get(path))["status"] == status

        async def shown(word: str) -> str:
            return await admin.kubectl("get", word, name, "--no-headers")

        row = await wait_for(lambda: shown("stn"), what="kubectl to know the short name")
        assert row.split()[:5] == [name, "True", "Audit", "2", "3"]
        for word in ("securetenant", "securetenants"):  # a category of one of these names would stand for all our kinds
            assert (await shown(word)).split()[:5] == row.split()[:5]
        assert "Enforce: create and correct objects" in await admin.kubectl("explain", "securetenant.spec.mode")
    finally:
        await admin.delete(kinds.SECURE_TENANT.path(name=name))


async def test_an_update_that_leaves_an_old_mistake_alone_is_let_through(admin: Admin) -> None:
    """Why the models judge again what the API server holds: it does not check unchanged values anew (ratcheting)."""
    name = "crd-expired"
    rule = {"name": "old", "from": [{"tenant": "a"}], "expires": "2001-01-01T00:00:00Z"}
    path = kinds.SECURE_TENANT.path(name=name)
    await admin.create(PATH, document({"name": name, "spec": {"network": {"ingress": [rule]}}}))
    try:
        changed = await admin.patch(path, {"spec": {"mode": "Audit"}})
        assert changed["spec"]["network"]["ingress"] == [rule]
    finally:
        await admin.delete(path)


async def test_the_subnet_of_a_namespace_is_never_moved(admin: Admin) -> None:
    """Once it is given, as the status says; before that a mistake can be corrected."""
    name = "crd-moved"
    path = kinds.SECURE_TENANT.path(name=name)

    async def put(*entries: Document) -> tuple[int, str]:
        body = {"spec": {"namespaces": list(entries)}}
        before = await admin.get(path)
        after = SecureTenant.model_validate({**before, "spec": {**before["spec"], **body["spec"]}})
        status, answer = await admin.request("PATCH", path, body, content_type=MERGE_PATCH)
        # `plan` tells it beforehand.
        holds = TENANT.transitions[0].holds(SecureTenant.model_validate(before), after)
        assert holds is (status == 200), (entries, answer)
        return status, answer.get("message", "")

    mine: Document = {"name": "a", "subnet": {"cidr": "10.60.0.0/24"}}
    other: Document = {"name": "b", "subnet": {"pool": "prod"}}
    await admin.create(PATH, document({"name": name, "spec": {"namespaces": [mine, other]}}))
    try:
        mine["subnet"] = {"cidr": "10.61.0.0/24"}
        assert (await put(mine, other))[0] == 200, "nothing was given yet"

        given = {"namespace": "a", "cidrs": ["10.61.0.0/24"], "pool": "", "provider": "Calico"}
        await admin.patch(f"{path}/status", {"status": {"subnets": [given]}}, params={"fieldValidation": "Strict"})
        for moved in (
            {"name": "a"},
            {"name": "a", "subnet": {"cidr": "10.60.0.0/24"}},
            {"name": "a", "subnet": {"cidr": "10.61.0.0/24", "cidrV6": "2001:db8::/64"}},
            {"name": "a", "subnet": {"pool": "prod"}},
        ):
            code, said = await put(moved, other)
            assert (code, "is never moved once it is given" in said) == (422, True), (moved, said)
        assert (await put(mine, {"name": "b", "subnet": {"cidr": "10.62.0.0/24"}}))[0] == 200, "it was given nothing"
        assert (await put({**mine, "labels": {"x": "y"}}, {"name": "c"}))[0] == 200

        assert (await put(other))[0] == 200, "the entry itself can go"
        assert (await put({"name": "a"}, other))[0] == 200
        assert (await put(mine, other))[0] == 200, "it can be declared again"

        for wrong in ({"cidr": "10.60.0.0/24"}, {"cidr": "10.61.0.0/24", "cidrV6": "2001:db8::/64"}):
            assert (await put(other))[0] == 200
            assert (await put({"name": "a", "subnet": wrong}, other))[0] == 200, "to who adopts it something was given"
            assert (await put(mine, other))[0] == 200, "the spec can be put right, as the condition NotMoved asks for"
        v6 = {"name": "a", "subnet": {"cidr": "2001:DB8::/64"}}
        assert (await put(other))[0] == 200
        assert (await put(v6, other))[0] == 200
        subnets = [{**given, "cidrs": ["2001:db8::/64"]}]
        await admin.patch(f"{path}/status", {"status": {"subnets": subnets}})
        assert (await put(mine, other))[0] == 422, "the same addresses, however they are written"

        given["provider"] = "None"
        await admin.patch(f"{path}/status", {"status": {"subnets": [given]}})
        assert (await put({"name": "a", "subnet": {"cidr": "10.60.0.0/24"}}))[0] == 200, "a statement can be corrected"
    finally:
        await admin.delete(path)


@pytest.mark.parametrize("of", [pytest.param(one, id=one.kind.name) for one in DEFINITIONS])
async def test_there_is_room_for_twice_as_many_rules(admin: Admin, of: Definition) -> None:
    """The API server estimates what CEL may cost over the whole schema, and refuses a CRD past a limit."""
    made = copy.deepcopy(crd.definition(of))
    made["metadata"]["name"] = "doubles.crd-test.dev"
    made["spec"] |= {"group": "crd-test.dev", "names": {"plural": "doubles", "kind": "Double"}}
    properties = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["again"] = properties["spec"]
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, body = await admin.request("POST", path, made, params=DRY)
    assert status == 201, body["message"]


async def test_the_crd_of_a_second_resource_is_taken_and_judges_as_its_models(admin: Admin) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await admin.create(path, crd.definition(shelf.SHELF))

    async def judged(name: str, **spec: object) -> tuple[int, str]:
        code, body = await admin.request("POST", shelf.SHELF.kind.path(), shelf.document(name, **spec), params=STRICT)
        return code, str(body)

    async def is_served() -> bool:
        return (await judged("oak", boards=3))[0] == 201

    try:
        await wait_for(is_served, 20, "the second resource to be served, and a sound one to be taken")
        code, said = await judged("oak", boards=3, reserved=4)
        assert code == 422
        assert "spec.reserved" in said
        assert "more is reserved than there is" in said
        assert (await judged("Oak", boards=3))[0] == 422, "the rule on its name"
    finally:
        await admin.delete(f"{path}/{shelf.SHELF.name}")


async def test_quantities_come_back_as_canonical(admin: Admin) -> None:
    """What is written in canonical form comes back as written; any other writing comes back with the same value."""
    texts = ["0.1Gi", "1.5Gi", "1e3", "1E3", "0.5", "100M", "1n", "1.0000000001", "1Ei", "9E", "1000e3", "0Ki"]
    texts += await asyncio.to_thread(drawn, quantities(), 300)
    hard = {f"requests.x{index}.example.com/thing": text for index, text in enumerate(texts)}
    written = await _round_trip(admin, {key: quantity.canonical(text) for key, text in hard.items()})
    assert {key: written[key] for key in hard} == {key: quantity.canonical(text) for key, text in hard.items()}
    raw = await _round_trip(admin, hard)
    assert {k: quantity.canonical(v) for k, v in raw.items()} == {k: quantity.canonical(v) for k, v in hard.items()}


async def _round_trip(admin: Admin, hard: dict[str, str]) -> dict[str, str]:
    """The hard limits as they are read back from the store."""
    name = "crd-quantities"
    path = kinds.RESOURCE_QUOTA.path("default", name)
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}
    await admin.create(kinds.RESOURCE_QUOTA.path("default"), body)
    try:
        answer: dict[str, str] = (await admin.get(path))["spec"]["hard"]
    finally:
        await admin.delete(path)
    return answer
