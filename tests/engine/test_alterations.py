"""What admission changes in our writes: how it is reported, and when it is written again."""

from dataclasses import replace

import pytest

from securetenant.drift.judge import Finding
from securetenant.engine.alterations import FIRST_WAIT, Alterations
from securetenant.engine.writer import Altered, Outcome
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from tests.support.clock import Clock
from tests.support.world import observe, tenant

PAY = tenant("pay", namespaces=["pay"])
DENY = Desired(Ref(NETWORK_POLICY, "pay", "deny"), "network", {"spec": {"podSelector": {}}})
STANDS = observe(replace(DENY, labels={"mesh": "on"}), PAY)
MISSING = Finding(DENY.ref, "network", "Missing", "Create", rollout=True, desired=DENY)
CHANGED = Finding(
    DENY.ref, "network", "Changed", "Replace", rollout=False, desired=DENY, observed=STANDS, manager="mesh"
)


@pytest.mark.parametrize(("finding", "manager"), [(MISSING, ""), (CHANGED, "mesh")], ids=["rollout", "drift"])
def test_what_admission_changed_is_a_deviation_until_it_is_as_wanted(finding: Finding, manager: str) -> None:
    clock = Clock()
    alterations = Alterations(clock.monotonic)
    (reported,) = alterations.outstanding("pay", [finding], Outcome(altered=[Altered(finding, STANDS, "labels.mesh")]))
    assert (reported.reason, reported.rollout, reported.manager) == ("Changed", False, manager)
    assert (reported.path, reported.observed) == ("labels.mesh", STANDS)
    assert reported.message.startswith("admission changed it at labels.mesh: ")
    assert alterations.wait("pay", STANDS) == FIRST_WAIT
    # The next pass finds it as it was left, and does not write.
    found = replace(finding, reason="Changed", observed=STANDS)
    (again,) = alterations.outstanding("pay", [found], Outcome())
    assert (again.path, again.rollout, again.manager) == ("labels.mesh", False, manager)
    assert alterations.outstanding("pay", [], Outcome()) == []
    assert alterations.wait("pay", STANDS) == 0.0
