"""What this process knows of its own writes."""

from dataclasses import replace

from securetenant.api.tenant import SecureTenant
from securetenant.drift.assess import Assessment, assess
from securetenant.drift.judge import Finding
from securetenant.engine.own_writes import OwnWrites
from securetenant.engine.writer import Outcome
from securetenant.kube.errors import Unreachable
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from securetenant.model.record import annotation
from tests.support.world import NOW, StaticWorld, mine, observe, tenant

GIVEN_UP = Ref(NAMESPACE, "", "pay-c")
RULE = Ref(NETWORK_POLICY, "pay-a", "securetenant-ingress-office")


def after(finding: Finding, outcome: Outcome) -> set[str]:
    """What may stand on the object by our own hand after a pass."""
    found = Assessment(tenant("pay"), {}, [], {}, {}, frozenset(), [finding], None)
    history = OwnWrites(StaticWorld())
    history.observe(found, outcome)
    return set(history.last("pay")(finding.ref))


def released(*, rollout: bool = True) -> Finding:
    return Finding(GIVEN_UP, "namespaces", "Stale", "Release", rollout=rollout)


def test_what_was_given_up_is_known_though_it_was_never_seen_in_order() -> None:
    """Its creation had no answer. Taken in again before the status is known to lack it, it is nobody's doing."""
    finding = released()
    assert after(finding, Outcome(done=[finding])) == {""}


def test_what_was_given_up_without_an_answer_is_known_when_it_is_seen() -> None:
    """The next pass finds it given up, and the one after that has to take it in again."""
    finding, nothing = released(), Assessment(tenant("pay"), {}, [], {}, {}, frozenset(), [], None)
    history = OwnWrites(StaticWorld())
    history.observe(replace(nothing, findings=[finding]), Outcome(failed=[(finding, Unreachable(0, "", "cut"))]))
    assert "" in history.last("pay")(GIVEN_UP)
    late = history.observe(nothing, Outcome())
    assert late == [finding]
    assert set(history.last("pay")(GIVEN_UP)) == {""}


def test_what_others_made_and_we_removed_is_not_remembered() -> None:
    finding = released(rollout=False)
    assert after(finding, Outcome(done=[finding])) == set()


def declaring(*cidrs: str) -> SecureTenant:
    """With a rule for each, and a namespace that it has held since long."""
    rules = [{"name": "office", "from": [{"cidr": cidr}]} for cidr in cidrs]
    status = {"namespaces": [{"name": "pay-a", "uid": "uid-Namespace/pay-a"}]}
    return tenant("pay", status=status, namespaces=["pay-a"], network={"ingress": rules})


WITHOUT, NARROW, WIDE = declaring(), declaring("10.8.0.0/16"), declaring("10.0.0.0/8")


class Story:
    """A cluster, and what is known of our own writes to it."""

    def __init__(self) -> None:
        self.world = StaticWorld([NARROW], mine(NARROW))
        self.history = OwnWrites(self.world)

    def look(self, pay: SecureTenant) -> Assessment:
        self.world.put(pay)
        return assess(pay, self.world, NOW, self.history.last("pay"), trusts=self.history.trusts("pay"))

    def rule(self, pay: SecureTenant) -> Finding:
        """What is wrong with the rule's object."""
        (finding,) = (finding for finding in self.look(pay).findings if finding.ref == RULE)
        return finding

    def wanted(self, pay: SecureTenant) -> Desired:
        return next(want for want in self.look(pay).desired if want.ref == RULE)

    def given_up_unseen(self) -> None:
        """The rule's object is created, of which no answer comes; and the rule is gone before the object is seen."""
        unanswered = Outcome(failed=[(self.rule(NARROW), Unreachable(0, "Unreachable", "cut"))])
        self.history.observe(self.look(NARROW), unanswered)
        assert self.history.observe(self.look(WITHOUT), Outcome()) == [], "nobody has seen that it was carried out"


def test_what_was_created_without_an_answer_is_known_though_it_is_not_seen_yet() -> None:
    story = Story()
    story.given_up_unseen()
    assert set(story.history.last("pay")(RULE)) == {annotation(story.wanted(NARROW), "pay", "uid-pay")}


def test_what_was_created_without_an_answer_is_nobodys_doing_when_it_is_seen_at_last() -> None:
    """It would be a deviation that was corrected, and blamed on nobody."""
    story = Story()
    story.given_up_unseen()
    story.world.put(observe(story.wanted(NARROW), NARROW))
    stale = story.rule(WITHOUT)
    assert (stale.reason, stale.action, stale.rollout) == ("Stale", "Delete", True)


def test_another_state_than_was_created_without_an_answer_is_somebodys_doing() -> None:
    """Its record is good, too: it is one of ours from before, which somebody kept and put there."""
    story = Story()
    story.given_up_unseen()
    story.world.put(observe(story.wanted(WIDE), WIDE))
    changed = story.rule(NARROW)
    assert (changed.reason, changed.action, changed.rollout) == ("Changed", "Replace", False)


def test_what_was_created_without_an_answer_is_known_in_place_of_what_stood_there_before() -> None:
    """The rule was in force, was taken off, and came back for a moment; or it was a wider one, which others deleted."""
    for before in (WIDE, NARROW):
        story = Story()
        story.world.put(observe(story.wanted(before), before))
        story.history.observe(story.look(before), Outcome())
        assert story.history.last("pay")(RULE)
        story.world.drop(RULE)
        if before is NARROW:
            stale = Finding(RULE, "network", "Stale", "Delete", rollout=True)
            story.history.observe(story.look(WITHOUT), Outcome(done=[stale]))
        story.given_up_unseen()
        story.world.put(observe(story.wanted(NARROW), NARROW))
        assert story.rule(WITHOUT).rollout
