"""What the API server would refuse of an edited file is told by `plan`, and is no plan."""

from typing import Any

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.cli import plan
from securetenant.cli.documents import Document
from securetenant.cli.validate_tenants import Given


def tenant(subnet: dict[str, Any] | None, given: tuple[str, ...] = (), provider: str = "Calico") -> SecureTenant:
    entry = {"name": "shop", **({"subnet": subnet} if subnet else {})}
    subnets = [{"namespace": "shop", "cidrs": list(given), "provider": provider}] if given else []
    body = {"metadata": {"name": "shop"}, "spec": {"namespaces": [entry]}, "status": {"subnets": subnets}}
    return SecureTenant.model_validate(body)


def told(before: SecureTenant, after: SecureTenant) -> str:
    document = Document("shop.yaml", {}, 1)
    return plan._tenants({"shop": (before, "")}, [Given(document, after)])["shop"][1]


STANDS = tenant({"cidr": "10.60.0.0/24"}, ("10.60.0.0/24",))


@pytest.mark.parametrize(
    "moved", [None, {"cidr": "10.61.0.0/24"}, {"pool": "prod"}, {"cidr": "10.60.0.0/24", "cidrV6": "2001:db8::/64"}]
)
def test_a_given_subnet_is_not_moved(moved: dict[str, Any] | None) -> None:
    assert told(STANDS, tenant(moved)).startswith("spec.namespaces: the subnet of a namespace is never moved")


def test_what_the_api_server_accepts_is_planned() -> None:
    assert told(STANDS, tenant({"cidr": "10.60.0.0/24"})) == ""
    nothing_given = tenant({"cidr": "10.60.0.0/24"})
    assert told(nothing_given, tenant({"cidr": "10.61.0.0/24"})) == ""
    a_statement = tenant({"cidr": "10.60.0.0/24"}, ("10.60.0.0/24",), provider="None")
    assert told(a_statement, tenant({"cidr": "10.61.0.0/24"})) == ""
    wrong = tenant({"cidr": "10.60.0.0/24"}, ("10.99.0.0/24",))
    assert told(wrong, tenant({"cidr": "10.99.0.0/24"})) == ""
