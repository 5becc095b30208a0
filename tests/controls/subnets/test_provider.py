"""Which network plug-in gives the addresses."""

from collections.abc import Collection

import pytest

from securetenant.controls.subnets import provider
from securetenant.controls.subnets.provider import KINDS
from tests.support.world import StaticWorld, tenant


def chosen(declared: str, served: Collection[str], *before: str) -> tuple[str | None, str]:
    given = [{"namespace": f"n{i}", "cidrs": [f"10.0.{i}.0/24"], "provider": name} for i, name in enumerate(before)]
    of = tenant("pay", subnets={"provider": declared}, status={"subnets": given})
    world = StaticWorld([of], absent=[kind for name, kind in KINDS.items() if name not in served])
    choice = provider.choose(of, world)
    assert bool(choice.reason) == bool(choice.message) == (choice.name is None)
    return choice.name, choice.reason


@pytest.mark.parametrize(
    ("declared", "served", "before", "expected"),
    [
        ("Auto", (), (), ("None", "")),
        ("Auto", ("KubeOVN",), (), ("KubeOVN", "")),
        ("Auto", ("Calico",), (), ("Calico", "")),
        ("Auto", ("Cilium",), (), ("Cilium", "")),
        ("Auto", ("KubeOVN", "Cilium"), (), (None, "SeveralProviders")),
        ("Cilium", ("KubeOVN", "Cilium"), (), ("Cilium", "")),
        ("Calico", ("KubeOVN", "Cilium"), (), (None, "NoProvider")),
        ("Calico", (), (), (None, "NoProvider")),
        ("None", ("Calico",), (), ("None", "")),
        # What gave some before stays.
        ("Auto", ("KubeOVN", "Cilium"), ("Cilium",), ("Cilium", "")),
        ("Auto", (), ("Cilium",), (None, "NoProvider")),
        ("Cilium", ("Cilium",), ("Cilium", "Cilium"), ("Cilium", "")),
        ("Calico", ("Calico", "Cilium"), ("Cilium",), (None, "ProviderChanged")),
        ("None", ("Cilium",), ("Cilium",), (None, "ProviderChanged")),
        ("Auto", ("Calico", "Cilium"), ("Cilium", "Calico"), (None, "ProviderChanged")),
        # A statement binds nobody.
        ("Auto", ("Calico",), ("None",), ("Calico", "")),
    ],
)
def test_the_choice(
    declared: str, served: tuple[str, ...], before: tuple[str, ...], expected: tuple[str | None, str]
) -> None:
    assert chosen(declared, served, *before) == expected


def test_what_is_said_names_the_resource_that_is_missing() -> None:
    of = tenant("pay", subnets={"provider": "KubeOVN"})
    said = provider.choose(of, StaticWorld([of], absent=KINDS.values())).message
    assert said == "subnets.kubeovn.io is not served: install KubeOVN, or set subnets.provider"
