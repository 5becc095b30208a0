"""Overlaps of subnets, and what no pool can meet: told from files."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from securetenant.cli.main import app

POOL = {"cidrs": ["10.60.0.0/22", "2001:db8::/56"], "reserved": ["10.60.0.0/24"]}


def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "securetenant.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def tenant(name: str, *subnets: dict[str, Any]) -> dict[str, Any]:
    entries = [{"name": f"{name}-{index}", "subnet": subnet} for index, subnet in enumerate(subnets)]
    return document("SecureTenant", name, namespaces=entries)


def problems(folder: Path, *documents: dict[str, Any], command: str = "validate") -> list[tuple[str, str, str, str]]:
    path = folder / "files.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    result = CliRunner().invoke(app, [command, "-o", "json", str(path)])
    return [
        (one["severity"], one["name"], one["path"], one["message"]) for one in json.loads(result.stdout)["problems"]
    ]


@pytest.mark.parametrize(
    "documents",
    [
        [tenant("ann", {"cidr": "10.61.0.0/24"}, {"cidr": "10.61.1.0/24"}), tenant("ben", {"cidr": "10.61.2.0/24"})],
        [tenant("ann", {"pool": "prod"})],
        [document("SubnetPool", "prod", **POOL), tenant("ann", {"pool": "prod", "prefixLength": 22})],
        [document("SubnetPool", "prod", **POOL), tenant("ann", {"cidr": "10.60.0.0/25"})],
        [document("SubnetPool", "prod", **POOL), tenant("ann", {"cidr": "10.61.0.0/24"})],
    ],
    ids=["apart", "pools elsewhere", "in a pool", "reserved there", "beside a pool"],
)
def test_nothing_is_wrong(tmp_path: Path, documents: list[dict[str, Any]]) -> None:
    assert problems(tmp_path, *documents) == []


def test_overlaps_between_tenants_and_within_one(tmp_path: Path) -> None:
    ann = tenant("ann", {"cidr": "10.61.0.0/16"}, {"cidr": "10.61.9.0/24", "cidrV6": "2001:db8::/64"})
    ben = tenant("ben", {"cidr": "10.61.1.0/24"}, {"cidr": "2001:db8::/60"})
    (one, two, three) = problems(tmp_path, ann, ben)
    assert one == (
        *("error", "ann", "spec.namespaces[1].subnet.cidr"),
        "10.61.9.0/24 overlaps 10.61.0.0/16, the subnet of ann-0, tenant ann: choose other addresses for one of them",
    )
    assert two == (
        *("error", "ben", "spec.namespaces[0].subnet.cidr"),
        "10.61.1.0/24 overlaps 10.61.0.0/16, the subnet of ann-0, tenant ann: choose other addresses for one of them",
    )
    assert three[:3] == ("error", "ben", "spec.namespaces[1].subnet.cidr")


def test_the_same_block_is_told_once(tmp_path: Path) -> None:
    (one,) = problems(tmp_path, tenant("ann", {"cidr": "10.61.0.0/24"}), tenant("ben", {"cidr": "10.61.0.0/24"}))
    assert "10.61.0.0/24 is declared by SecureTenant ann as well" in one[3]
    (one,) = problems(tmp_path, tenant("ann", {"cidr": "10.61.0.0/24"}, {"cidr": "10.61.0.0/24"}))
    assert "overlaps 10.61.0.0/24, the subnet of ann-0" in one[3]


def test_a_block_of_a_pool_that_is_not_reserved_there(tmp_path: Path) -> None:
    (one,) = problems(tmp_path, tenant("ann", {"cidr": "10.60.1.0/24"}), document("SubnetPool", "prod", **POOL))
    assert one == (
        *("error", "ann", "spec.namespaces[0].subnet.cidr"),
        "10.60.1.0/24 is in SubnetPool prod, which gives it to somebody else sooner or later: write pool: prod, or "
        "have it reserved there",
    )


def test_a_pool_with_nobody_who_gives_out_subnets(tmp_path: Path) -> None:
    ann = tenant("ann", {"pool": "prod"})
    ann["spec"]["subnets"] = {"provider": "None"}
    assert problems(tmp_path, ann) == [
        (
            *("error", "ann", "spec.namespaces[0].subnet.pool"),
            "nobody gives out subnets with subnets.provider None: declare the cidr that its pods have",
        )
    ]


def test_a_size_of_a_family_that_the_pool_lacks(tmp_path: Path) -> None:
    pool = document("SubnetPool", "prod", cidrs=["10.60.0.0/22"])
    assert problems(tmp_path, pool, tenant("ann", {"pool": "prod", "prefixLengthV6": 64})) == [
        (
            *("warning", "ann", "spec.namespaces[0].subnet.prefixLengthV6"),
            "SubnetPool prod has no cidr of IPv6: remove prefixLengthV6, or add one there",
        )
    ]


def test_what_no_pool_can_meet(tmp_path: Path) -> None:
    ann = tenant("ann", {"pool": "prod", "prefixLength": 21, "prefixLengthV6": 48}, {"pool": "test"})
    assert problems(tmp_path, document("SubnetPool", "prod", **POOL), ann) == [
        (
            *("error", "ann", "spec.namespaces[0].subnet.prefixLength"),
            "no cidr of SubnetPool prod is larger than a /22: ask for that or a smaller block",
        ),
        (
            *("error", "ann", "spec.namespaces[0].subnet.prefixLengthV6"),
            "no cidr of SubnetPool prod is larger than a /56: ask for that or a smaller block",
        ),
        (
            *("warning", "ann", "spec.namespaces[1].subnet.pool"),
            "none of the files has a SubnetPool test: give its file as well, or correct the name",
        ),
    ]


def test_the_clusters_own_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURETENANT_CLUSTER_CIDRS", "10.96.0.0/12")
    (one,) = problems(tmp_path, tenant("ann", {"cidr": "10.100.0.0/24"}))
    assert one[3] == "10.100.0.0/24 overlaps 10.96.0.0/12, which the cluster uses itself: choose other addresses"


def test_a_pool_is_judged_by_its_models(tmp_path: Path) -> None:
    (one,) = problems(tmp_path, document("SubnetPool", "prod", cidrs=["10.60.0.0/25"]))
    assert one[1:3] == ("prod", "spec.cidrs")


def test_render_and_plan_take_files_that_hold_both(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump_all([document("SubnetPool", "prod", **POOL), tenant("ann", {"pool": "prod"})]))
    rendered = CliRunner().invoke(app, ["render", str(path)])
    assert rendered.exit_code == 0
    assert "kind: Namespace" in rendered.stdout
    assert "note: 1 SubnetPool checked: there is nothing to render" in rendered.stderr
    assert "subnets are not rendered" in rendered.stderr
    planned = CliRunner().invoke(app, ["plan", str(path), "--kubeconfig", str(tmp_path / "none")])
    assert planned.stderr.startswith("note: 1 SubnetPool checked: there is nothing to plan\n")
