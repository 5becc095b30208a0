"""What a real API server takes as a NetworkPolicy is understood, and what is not understood, it refuses."""

import asyncio
from typing import Any, Final

import msgspec
import pytest

from securetenant.model.kinds import NETWORK_POLICY
from securetenant.sets import policy
from securetenant.sets.policy import Policy, Rule, parsed, rendered
from tests.support import networkpolicies
from tests.support.networkpolicies import BAD_POLICIES, BAD_RULES
from tests.support.sandbox import Admin
from tests.support.specs import drawn

pytestmark = pytest.mark.cluster

STRICT: Final = {"dryRun": "All", "fieldValidation": "Strict"}
FORMS: Final[dict[str, type[msgspec.Struct]]] = {
    "io.k8s.api.networking.v1.NetworkPolicySpec": policy._Spec,
    "io.k8s.api.networking.v1.NetworkPolicyIngressRule": policy._Ingress,
    "io.k8s.api.networking.v1.NetworkPolicyEgressRule": policy._Egress,
    "io.k8s.api.networking.v1.NetworkPolicyPeer": policy._Peer,
    "io.k8s.api.networking.v1.NetworkPolicyPort": policy._Port,
    "io.k8s.api.networking.v1.IPBlock": policy._Block,
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector": policy._Selector,
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement": policy._Expression,
}


async def kept(admin: Admin, spec: Any) -> tuple[int, Any]:
    """What the API server would keep of a spec; its answer where it refuses."""
    body = {"apiVersion": NETWORK_POLICY.api_version, "kind": NETWORK_POLICY.name, "metadata": {"name": "x"}}
    status, answer = await admin.request("POST", NETWORK_POLICY.path("default"), {**body, "spec": spec}, params=STRICT)
    return status, answer["spec"] if status == 201 else answer


async def test_what_it_takes_is_understood_and_what_is_written_stays(admin: Admin) -> None:
    for spec in await asyncio.to_thread(drawn, networkpolicies.specs(), 60):
        status, stands = await kept(admin, spec)
        assert status == 201, stands["message"]
        value = parsed(stands)
        assert value == parsed(spec), "what it fills in is no news"
        assert isinstance(value, Policy)
        assert all(isinstance(rule, Rule) for rule in (*(value.ingress or ()), *(value.egress or ())))
        assert await kept(admin, rendered(value)) == (201, rendered(value))


@pytest.mark.parametrize("spec", [*BAD_RULES.values(), *BAD_POLICIES.values()], ids=[*BAD_RULES, *BAD_POLICIES])
async def test_what_is_not_understood_it_refuses(admin: Admin, spec: Any) -> None:
    status, answer = await kept(admin, spec)
    assert status in (400, 422), answer


async def test_each_field_that_it_knows_is_known(admin: Admin) -> None:
    """A field that a later Kubernetes adds shows here first; until it is added, policies with it are told as not
    understood."""
    schemas = (await admin.get("/openapi/v3/apis/networking.k8s.io/v1"))["components"]["schemas"]
    for name, form in FORMS.items():
        assert {field.encode_name for field in msgspec.structs.fields(form)} == set(schemas[name]["properties"]), name
