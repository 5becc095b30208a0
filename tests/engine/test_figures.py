"""The figures of tenants, from their plans to the text of a scrape: every series, in its order."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from securetenant.api.refused import Refusal
from securetenant.api.status import Condition, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.lookup import FAMILIES, NAMES
from securetenant.drift.assess import assess
from securetenant.drift.judge import Finding
from securetenant.engine import status
from securetenant.engine.contention import ManagerConflict
from securetenant.engine.reporter import Reporter
from securetenant.engine.status import Pass
from securetenant.model import names
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Observed, Ref
from securetenant.reach import report as reachability
from securetenant.reach.holds import Difference, Holds
from securetenant.telemetry.events import Events
from securetenant.telemetry.metrics import Metrics
from tests.support.world import NOW, StaticWorld, mine, observed, tenant

EXPECTED: Final = Path(__file__).with_name("figures.txt")
CIDR: Final = {"cidr": "10.8.0.0/16"}
EXEMPTION: Final = {"control": "runtime", "check": "hostPorts", "reason": "r"}


def everything(name: str, **more: Any) -> SecureTenant:
    """A tenant with something in each section of its spec, and flows in each state."""
    ends = (NOW + timedelta(hours=5)).isoformat()
    over = (NOW - timedelta(hours=1)).isoformat()
    rules = [
        {"name": "office", "from": [CIDR, {"cidr": "10.9.0.0/16"}], "expires": ends},
        {"name": "old", "from": [CIDR], "expires": over},
        {"name": "peer", "from": [{"tenant": "nobody"}]},
    ]
    return tenant(
        name,
        **{
            "namespaces": [{"name": f"{name}-a", "subnet": {"cidr": "10.60.0.0/24"}}, f"{name}-b"],
            "subnets": {"provider": "None"},
            "network": {"ingress": rules},
            "quota": {"tenant": {"requests.cpu": "4500m", "requests.memory": "1Gi", "pods": "20"}},
            "limits": {"container": {"max": {"cpu": "2"}}},
            "nodes": {"selector": {"matchLabels": {"pool": name}}},
            "exemptions": [
                {**EXEMPTION, "namespace": f"{name}-a", "expires": ends},
                {**EXEMPTION, "namespace": f"{name}-b", "expires": over},
            ],
            **more,
        },
    )


def node(name: str, of: str) -> Observed:
    """A node that the tenant has dedicated."""
    taint = {"key": names.NODE_TAINT, "value": of, "effect": "NoSchedule"}
    labels = {"pool": of, names.NODE_LABEL_TENANT: of}
    return observed("Node", name, labels=labels, spec={"taints": [taint]})


def quota(of: str) -> Observed:
    """The quota of a namespace, as kube-controller-manager has counted it."""
    hard = {"pods": "9", "requests.cpu": "1", "requests.memory": "256Mi"}
    counted = {"hard": hard, "used": {"pods": "3", "requests.cpu": "250m", "requests.memory": "1.5Mi"}}
    return observed("ResourceQuota", names.CHILD_PREFIX, of, spec={"hard": hard}, status=counted)


def looked_at(of: SecureTenant, refusal: Refusal | None = None) -> Pass:
    """A pass over the tenant in a world with its namespaces, two nodes and a quota."""
    objects = [*mine(of), quota(f"{of.name}-a"), node(f"{of.name}-1", of.name), node(f"{of.name}-2", of.name)]
    found = assess(of, StaticWorld([of], objects), NOW, refusal=refusal)
    return Pass(of, found.plans, found.held, refusal=refusal)


def finding(control: str, reason: Any, *, rollout: bool = False) -> Finding:
    return Finding(Ref(NETWORK_POLICY, "full-a", "theirs"), control, reason, "Delete", rollout=rollout)


def shown() -> str:
    """The tenants' series after the report of one in order, one that is paused, one whose spec is refused, and one that
    is being deleted."""
    metrics = Metrics(NAMES, (*FAMILIES, *reachability.FAMILIES))
    metrics.watch_generation_lag({"full": 0, "paused": 2}.get)
    reporter = Reporter(metrics, Events(_unsent, identity="pod", clock=lambda: 0.0), now=lambda: NOW)

    def passed(result: Pass) -> SecureTenantStatus:
        computed = status.compute(result, NOW)
        reporter.report(result, computed, 0.0)
        return computed

    full = looked_at(everything("full"))
    full.outstanding = [finding("network", "Foreign"), finding("access", "Foreign")]
    full.corrected = full.detected = [finding("network", "Missing")]
    full.rolled_out = [finding("quota", "Changed", rollout=True), finding("network", "Changed", rollout=True)]
    opened = Difference("ingress", "full-a", "everywhere", "TCP 80", (finding("network", "Foreign").ref,))
    full.holds = Holds(unexpected=[opened])
    full.contested = {finding("network", "Foreign").ref: ManagerConflict("network", "mallory", lasting=False)}
    before = status.dump(passed(full))
    passed(Pass(everything("paused", mode="Paused", status=before), {}, {}))
    passed(looked_at(everything("refused", status=before), Refusal("spec.x: no", 0)))
    waiting = Condition(type="Ready", status="False", reason="Deleting", message="waits")
    reporter.deleting(everything("going", deleting=True, status=before), waiting)
    text = metrics.text()
    return text[text.index("# HELP securetenant_drift_objects") :]


async def _unsent(method: str, path: str, body: dict[str, Any]) -> None: ...


def test_the_text_is_what_it_was() -> None:
    assert shown() == EXPECTED.read_text()
