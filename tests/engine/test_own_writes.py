"""What this process knows of its own writes."""

from dataclasses import replace

from securetenant.drift.assess import Survey
from securetenant.drift.judge import Finding
from securetenant.engine.own_writes import History
from securetenant.engine.writer import Outcome
from securetenant.kube.errors import Unreachable
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Ref
from tests.support.world import StaticWorld, tenant

GIVEN_UP = Ref(NAMESPACE, "", "pay-c")


def after(finding: Finding, outcome: Outcome) -> set[str]:
    """What may stand on the object by our own hand after a pass."""
    found = Survey(tenant("pay"), {}, [], {}, {}, frozenset(), [finding], None)
    history = History(StaticWorld())
    history.settle(found, outcome, {})
    return set(history.last("pay")(finding.ref))


def released(*, rollout: bool = True) -> Finding:
    return Finding(GIVEN_UP, "namespaces", "Stale", "Release", rollout=rollout)


def test_what_was_given_up_is_known_though_it_was_never_seen_in_order() -> None:
    """Its creation had no answer. Taken in again before the status is known to lack it, it is nobody's doing."""
    finding = released()
    assert after(finding, Outcome(done=[finding])) == {""}


def test_what_was_given_up_without_an_answer_is_known_when_it_is_seen() -> None:
    """The next pass finds it given up, and the one after that has to take it in again."""
    finding, nothing = released(), Survey(tenant("pay"), {}, [], {}, {}, frozenset(), [], None)
    history = History(StaticWorld())
    history.settle(replace(nothing, findings=[finding]), Outcome(failed=[(finding, Unreachable(0, "", "cut"))]), {})
    assert "" in history.last("pay")(GIVEN_UP)
    late = history.settle(nothing, Outcome(), {})
    assert [item.finding for item in late] == [finding]
    assert set(history.last("pay")(GIVEN_UP)) == {""}


def test_what_others_made_and_we_removed_is_not_remembered() -> None:
    finding = released(rollout=False)
    assert after(finding, Outcome(done=[finding])) == set()
