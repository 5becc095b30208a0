"""An existing cluster in the sandbox's place, and which ones are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import cluster
from sandbox.errors import SandboxError
from tests.support.sandbox import Admin, Plane


def kubeconfig(context: str = "kind-dev", server: str = "https://127.0.0.1:6443", *, name: str = "c") -> dict[str, Any]:
    return {
        "current-context": context,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": context, "context": {"cluster": name, "user": "u"}}],
    }


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        pytest.param(kubeconfig("bank-prod"), "context 'bank-prod' has 'prod'", id="context"),
        pytest.param(kubeconfig("PRODUCTION"), "has 'PRODUCTION'", id="upper case"),
        pytest.param(kubeconfig("eu_live_1"), "has 'live'", id="live"),
        pytest.param(kubeconfig(name="prod1"), "cluster 'prod1' has 'prod'", id="cluster"),
        pytest.param(kubeconfig(server="https://k8s.prod.bank.example"), "has 'prod'", id="server's name"),
        pytest.param(kubeconfig(server="https://k8s.bank.example:6443"), "neither on this machine", id="a name"),
        pytest.param(kubeconfig(server="https://8.8.8.8:6443"), "nor at a private address", id="public address"),
        pytest.param(kubeconfig("reproduce"), "", id="prod inside a word"),
        pytest.param(kubeconfig("deliver"), "", id="live inside a word"),
        pytest.param(kubeconfig(), "", id="this machine"),
        pytest.param(kubeconfig(server="https://localhost:6443"), "", id="localhost"),
        pytest.param(kubeconfig(server="https://[::1]:6443"), "", id="IPv6 loopback"),
        pytest.param(kubeconfig(server="https://10.1.2.3:6443"), "", id="private address"),
    ],
)
def test_what_looks_like_production(config: dict[str, Any], reason: str) -> None:
    single = cluster.one_context(config, config["current-context"], Path("/k/config"))

    found = cluster.looks_like_production(single["current-context"], single)

    assert reason in found
    assert bool(found) == bool(reason)


@pytest.mark.parametrize("allowed", [None, "bank-production", "bank"], ids=["not told", "told of another", "a prefix"])
def test_production_is_refused_unless_exactly_that_context_is_named(tmp_path: Path, allowed: str | None) -> None:
    source = tmp_path / "config"
    source.write_text(yaml.safe_dump(kubeconfig("bank-prod")))
    environment = {cluster.KUBECONFIG: str(source)} | ({cluster.ALLOW: allowed} if allowed else {})

    with pytest.raises(SandboxError, match=f"'bank-prod' .* is refused: .*set {cluster.ALLOW}=bank-prod"):
        cluster.attach(tmp_path / "attached", environment)

    assert not (tmp_path / "attached").exists(), "a refused context's credentials were copied"


def test_without_a_kubeconfig_there_is_no_cluster(tmp_path: Path) -> None:
    assert cluster.attach(tmp_path, {"KUBECONFIG": "/somebody/elses"}) is None


def test_an_unknown_context_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"no context 'x'; it has: kind-dev"):
        cluster.one_context(kubeconfig(), "x", tmp_path / "config")


def test_an_unreadable_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"nowhere: No such file"):
        cluster.attach(tmp_path, {cluster.KUBECONFIG: str(tmp_path / "nowhere")})


@pytest.mark.cluster
async def test_an_allowed_cluster_is_used_and_is_not_ours(plane: Plane, tmp_path: Path) -> None:
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["contexts"][0]["name"] = "bank-prod"
    source = tmp_path / "config"
    source.write_text(yaml.safe_dump(config))
    environment = {cluster.KUBECONFIG: str(source), cluster.CONTEXT: "bank-prod", cluster.ALLOW: "bank-prod"}

    attached = cluster.attach(tmp_path / "attached", environment)

    assert attached is not None
    async with Admin(attached) as admin:
        assert "gitVersion" in await admin.get("/version")
    with pytest.raises(SandboxError, match="does not belong to this process"):
        attached.stop_apiserver()
