"""The way of a namespace with running pods under the rules: Audit, Enforce with admission Warn, Deny. And what holds
where parameters are missing, or cannot be read, or the policies come before the operator, or anew.
"""

import asyncio
import copy
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

import pytest
import pytest_asyncio
import yaml

from sandbox import nodes
from sandbox.plane import Plane
from securetenant.checks.policies import ADMISSION, PROBE, VERSION
from securetenant.checks.variables import EXEMPTIONS
from securetenant.controls.admission.manifests import documents
from tests.support import enforced, life, pods
from tests.support.enforced import DEPLOYMENTS, DRY, PODS, Enforced, deployment, pod
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import Stage

pytestmark = pytest.mark.cluster

NODE: Final = {"type": "kwok-way-in"}
OURS: Final = re.compile(r"'(?:pods|workloads)\.securetenant\.dev' with binding '[-a-z.]+'(?: denied request)?: (.*)")
FAILED: Final = re.compile(r"(?:^|; )([a-z]+/[A-Za-z]+) at ")
#: Of everything too much, and what the strictest rules find.
WORST: Final[Json] = {
    "containers": [
        {
            "name": "c",
            "image": "nginx",
            "imagePullPolicy": "IfNotPresent",
            "securityContext": {"privileged": True, "capabilities": {"add": ["SYS_ADMIN"]}},
            "ports": [{"containerPort": 8080, "hostPort": 8080}],
        }
    ],
    "volumes": [{"name": "host", "hostPath": {"path": "/var/log"}}],
    "hostPID": True,
}
FOUND: Final = {
    "images/digest",
    "images/pullPolicy",
    "images/registries",
    "runtime/addCapabilities",
    "runtime/dropCapabilities",
    "runtime/hostNamespaces",
    "runtime/hostPaths",
    "runtime/hostPorts",
    "runtime/privileged",
    "runtime/privilegeEscalation",
    "runtime/readOnlyRootFilesystem",
    "runtime/runAsNonRoot",
    "runtime/seccomp",
    "runtime/serviceAccountTokens",
}
RUNTIME: Final = {check for check in FOUND if check.startswith("runtime/")}
#: The spec that allows all of it.
GENEROUS: Final[Json] = {
    "runtime": {
        "podSecurity": "Privileged",
        "readOnlyRootFilesystem": False,
        "hostPaths": [{"path": "/var/log"}],
        "hostPorts": [8080],
        "addCapabilities": ["SYS_ADMIN"],
    },
    "images": {"digestRequired": False, "alwaysPull": False},
}


#: One that breaks no rule, wherever its image may come from; and one that breaks two of ours, and none of Pod Security.
IN_ORDER: Final = pods.spec(
    containers=[{**pods.CONTAINER, "image": f"{pods.IMAGE}@sha256:{'0' * 64}", "imagePullPolicy": "Always"}]
)
WRITABLE: Final = pods.spec(
    containers=[
        {
            **pods.CONTAINER,
            "imagePullPolicy": "Always",
            "securityContext": {**pods.CONTAINER["securityContext"], "readOnlyRootFilesystem": False},
        }
    ]
)


def checks(*texts: str) -> set[str]:
    """The checks that the message of a refusal and warnings tell of."""
    return {name for text in texts if (found := OURS.search(text)) for name in FAILED.findall(found[1])}


# --- the way in -------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module")
async def pool(plane: Plane, admin: Admin) -> AsyncIterator[None]:
    # Each pod takes the host port of a node.
    made = await asyncio.to_thread(nodes.create, plane, 6, NODE, prefix="way-in")
    yield
    for name in made:
        await admin.delete(f"/api/v1/nodes/{name}")


async def running(admin: Admin, place: str) -> dict[str, str]:
    """The UIDs of the pods that run, by name."""
    listed = (await admin.get(PODS.format(place)))["items"]
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in listed if p["status"].get("phase") == "Running"}


async def test_a_namespace_with_running_pods_comes_under_the_rules(
    stage: Stage, admin: Admin, policies: None, pool: None
) -> None:
    name, place = "way-in", "way-in-a"
    own, worst = PODS.format(place), {**WORST, "nodeSelector": NODE}
    await stage.namespace(place, labels={"team": "a"}, annotations={"bank.example/owner": "a"})
    await wait_for(lambda: admin.find(f"{NAMESPACES}/{place}/serviceaccounts/default"), 10, "its ServiceAccount")
    await admin.create(own, pod("worst", worst))
    await admin.create(DEPLOYMENTS.format(place), deployment("web", worst, 2))

    async def are_running() -> dict[str, str]:
        found = await running(admin, place)
        assert len(found) == 3, found
        return found

    before = await wait_for(are_running, 30, "three pods")
    untouched = await admin.get(f"{NAMESPACES}/{place}")

    # Audit: it looks, and writes nothing at all; pods are not judged at admission.
    spec = {
        "namespaces": [{"name": place, "adopt": True}],
        "mode": "Audit",
        "admission": "Warn",
        "images": {"registries": ["registry.example"]},
        "runtime": {"serviceAccountTokens": False},
    }
    tenant = await stage.create(name, spec)

    async def is_audited() -> bool:
        return bool((await tenant.condition("Ready")).get("reason") == "Audited")

    await wait_for(is_audited, 20, "the tenant to be audited")
    await life.settled(stage.operator, name)
    assert await admin.get(f"{NAMESPACES}/{place}") == untouched
    assert await life.children(admin, place) == []
    status, _, warnings = await admin.warned("POST", own, pod("audited", worst), params=DRY)
    assert (status, warnings) == (201, [])

    # Enforce, admission Warn: everything is admitted, and every failure is told.
    await life.edit(admin, name, {"mode": "Enforce"})
    await life.ready(admin, name)
    labels = (await admin.get(f"{NAMESPACES}/{place}"))["metadata"]["labels"]
    levels = {key.removeprefix("pod-security.kubernetes.io/"): value for key, value in labels.items()}
    assert (labels[ADMISSION], levels["enforce"], levels["warn"]) == ("Warn", "privileged", "restricted")
    status, _, warnings = await admin.warned("POST", own, pod("warned", worst))
    assert (status, checks(*warnings)) == (201, FOUND)
    status, _, warnings = await admin.warned("POST", DEPLOYMENTS.format(place), deployment("more", worst))
    # What may be injected into the pods is not asked of a template.
    assert (status, checks(*warnings)) == (201, FOUND - {"images/pullPolicy"})

    async def are_more() -> bool:
        return {"warned", "more"} <= {name.split("-")[0] for name in await running(admin, place)}

    await wait_for(are_more, 30, "the pods that were warned of to run")

    # Deny: refused, with all that is wrong; what runs goes on running.
    await life.edit(admin, name, {"admission": "Deny"})
    await life.ready(admin, name)
    status, answer, _ = await admin.warned("POST", own, pod("denied", worst))
    assert (status, "violates PodSecurity" in answer["message"]) == (403, True), answer
    status, answer, _ = await admin.warned("POST", own, pod("denied", WRITABLE))
    assert (status, checks(answer["message"])) == (403, {"runtime/readOnlyRootFilesystem", "images/digest"}), answer
    assert "runtime/readOnlyRootFilesystem at container c: " in answer["message"]
    status, _, warnings = await admin.warned("POST", own, pod("in-order", IN_ORDER), params=DRY)
    assert (status, warnings) == (201, [])
    assert before.items() <= (await running(admin, place)).items()


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module")
async def generous(plane: Plane, admin: Admin, policies: None) -> AsyncIterator[Enforced]:
    async with enforced.namespace(plane, admin, "way-in-generous", **GENEROUS) as made:
        yield made


async def becomes(place: Enforced, spec: Json, status: int, found: set[str]) -> None:
    """Wait until such a pod gets this answer: admission reads namespaces from a cache, some ms late."""

    async def is_so() -> bool:
        got, message, warnings = await place.try_pod(spec)
        assert (got, checks(message, *warnings)) == (status, found), message
        return True

    await wait_for(is_so, 5, f"{status} with {found}")


# What stands in the annotation, from a value that can be read.
BROKEN: Final[dict[str, Callable[[str], str | None]]] = {
    "removed": lambda value: None,
    "empty": lambda value: "",
    "of a later format": lambda value: f"v9{value.removeprefix('v1')}",
    "without a format": lambda value: value.removeprefix("v1;"),
    "in another case": lambda value: value.upper(),
    "with a blank before": lambda value: f" {value}",
    "with another separator": lambda value: value.replace(";", ","),
    "of names alone": lambda value: re.sub("=[^;]*", "", value),
    "of names without values": lambda value: re.sub("=[^;]*", "=,", value),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_without_readable_parameters_the_strictest_rules_hold(generous: Enforced, broken: str) -> None:
    given = (await generous.admin.get(f"{NAMESPACES}/{generous.name}"))["metadata"]["annotations"]
    written = {key: given[f"securetenant.dev/{key}"] for key in ("runtime", "images")}
    try:
        for key, value in written.items():
            # The other control's parameters go on to hold.
            await generous.annotate(annotations={f"securetenant.dev/{key}": BROKEN[broken](value)})
            await becomes(generous, WORST, 403, RUNTIME if key == "runtime" else FOUND)
        # The strictest list of registries is an empty one.
        await becomes(generous, IN_ORDER, 403, {"images/registries"})
    finally:
        await generous.annotate(annotations={f"securetenant.dev/{key}": value for key, value in written.items()})
        await becomes(generous, WORST, 201, set())


@pytest.mark.parametrize("value", ["v9;{}", "{}", "v1,{}", "v1; {}", "v1;{}x", ""])
async def test_an_exemption_that_cannot_be_read_is_none(generous: Enforced, value: str) -> None:
    entry = "runtime/hostPaths|2999-01-01T00:00:00Z|"
    beyond = {**WORST, "volumes": [*WORST["volumes"], {"name": "other", "hostPath": {"path": "/etc"}}]}
    try:
        # An empty entry takes nothing from the others.
        await generous.annotate(annotations={EXEMPTIONS: f"v1;{entry};"})
        await becomes(generous, beyond, 201, set())
        await generous.annotate(annotations={EXEMPTIONS: value.format(entry)})
        await becomes(generous, beyond, 403, {"runtime/hostPaths"})
    finally:
        await generous.annotate(annotations={EXEMPTIONS: "v1"})


# --- policies before the operator, and anew ---------------------------------------------------------------------------


async def test_before_the_operator_wrote_anything_nothing_is_opened_or_blocked(
    plane: Plane, admin: Admin, policies: None
) -> None:
    async with enforced.namespace(plane, admin, "way-in-unmarked") as place:
        assert await place.try_pod(WORST) == (201, "", [])
        status, _, warnings = await admin.warned(
            "POST", DEPLOYMENTS.format(place.name), deployment("web", WORST), params=DRY
        )
        assert (status, warnings) == (201, [])
        # What was closed before by others stays so.
        baseline = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
        await admin.patch(f"{NAMESPACES}/{place.name}", baseline)
        await becomes(place, WORST, 403, set())


async def test_a_mark_without_parameters_means_the_strictest_rules(plane: Plane, admin: Admin, policies: None) -> None:
    """As where the operator dies between two writes, or a part of them was lost."""
    async with enforced.namespace(plane, admin, "way-in-bare") as place:
        await place.annotate(labels={ADMISSION: "Deny"})
        await becomes(place, WORST, 403, FOUND)
        # No registry is allowed where the list of them is missing.
        await becomes(place, IN_ORDER, 403, {"images/registries"})


async def test_applied_anew_the_policies_open_and_block_nothing(
    plane: Plane, admin: Admin, policies: None, generous: Enforced
) -> None:
    """`kubectl apply` of another version, beside namespaces that the operator has not written anew."""
    ours = documents()["pods.yaml"][0]
    other = copy.deepcopy(ours)
    other["spec"]["variables"].append({"name": "later", "expression": "''"})
    said = "probe: another version"
    other["spec"]["validations"][0] |= {"messageExpression": f"'{said}'", "message": said}
    answers: Counter[tuple[int, int, int]] = Counter()

    async def ask() -> None:
        tried = ((strict, WRITABLE), (strict, IN_ORDER), (generous, WORST))
        while True:
            bad, good, allowed = [(await place.try_pod(spec))[0] for place, spec in tried]
            answers[bad, good, allowed] += 1

    async def is_in_force(text: str) -> bool:
        body = pod("probe", IN_ORDER, annotations={PROBE: "true"})
        _, answer = await admin.request("POST", strict.pods, body, params=DRY)
        return text in answer["message"]

    async with enforced.namespace(plane, admin, "way-in-anew", runtime={}) as strict:
        asking = asyncio.create_task(ask())
        try:
            for body, text in ((other, "another version"), (ours, ours["metadata"]["annotations"][VERSION])):
                await admin.apply(yaml.safe_dump(body))
                await wait_for(partial(is_in_force, text), 20, f"{text} to be in force")
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await admin.apply(yaml.safe_dump(ours))
    assert set(answers) == {(403, 201, 201)}
    assert answers.total() > 10
