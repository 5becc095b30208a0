"""What `plan` makes of findings: fields, sums, exit codes."""

import io
from collections.abc import Sequence
from typing import Any, Final

import pytest
from rich.console import Console

from securetenant.cli.plan_changes import Change, Forecast, UnmetCondition, changes, sums, unmet_conditions
from securetenant.cli.plan_output import print_as_text
from securetenant.controls.control import Deviation
from securetenant.drift.assess import assess
from securetenant.model.difference import Field
from securetenant.model.kinds import CLUSTER_ROLE_BINDING, RESOURCE_QUOTA
from securetenant.model.objects import Desired, Observed, Ref
from tests.support.world import NOW, StaticWorld, mine, observe, tenant


def change(**given: Any) -> Change:
    fields: Any = {
        "effect": "update",
        "drift": False,
        "reason": "Changed",
        "control": "quota",
        "ref": Ref(RESOURCE_QUOTA, "n", "securetenant"),
        **given,
    }
    return Change(**fields)


def forecast(*changes: Change, **given: Any) -> Forecast:
    fields: Any = {"tenant": "t", "mode": "Enforce", "state": "judged", "changes": changes, **given}
    return Forecast(**fields)


@pytest.mark.parametrize(
    ("one", "code"),
    [
        pytest.param(forecast(), 0, id="nothing"),
        pytest.param(forecast(state="paused"), 0, id="paused"),
        pytest.param(forecast(unmet=(UnmetCondition("WhitelistAgreed", "Pending", "x", False),)), 0, id="pending"),
        pytest.param(forecast(change()), 2, id="rollout"),
        pytest.param(forecast(change(effect="report", drift=True)), 2, id="audit"),
        pytest.param(forecast(change(effect="report", drift=True, reason="Foreign")), 2, id="foreign"),
        pytest.param(forecast(unmet=(UnmetCondition("NodesReady", "NoNodes", "x", True),)), 2, id="blocked"),
        pytest.param(forecast(state="invalid", problem="x"), 1, id="invalid"),
    ],
)
def test_exit_code(one: Forecast, code: int) -> None:
    assert sums([forecast(), one]).exit_code == code


WIDE: Final = Deviation(Ref(CLUSTER_ROLE_BINDING, "", "wide"), "uid", "Foreign", "gives everyone all")


def test_what_is_the_clusters_is_shown_and_is_no_agreement() -> None:
    assert sums([forecast()], [WIDE]).exit_code == 2
    assert sums([forecast(state="invalid", problem="x")], [WIDE]).exit_code == 1
    text = shown(forecast(), cluster=[WIDE])
    assert text == (
        "The cluster, and no one tenant\n    ? ClusterRoleBinding/wide foreign: gives everyone all (reported only)\n\n"
        "Plan for 1 tenant: 0 to create, 0 to update, 0 to delete, 0 drifted, 0 foreign, 1 of the cluster's.\n"
    )


def shown(*forecasts: Forecast, color: bool = False, cluster: Sequence[Deviation] = ()) -> str:
    out = io.StringIO()
    console = Console(
        file=out, color_system="standard" if color else None, force_terminal=color, soft_wrap=True, highlight=False
    )
    print_as_text(console, forecasts, cluster)
    return out.getvalue()


def test_text_of_drift() -> None:
    text = shown(forecast(change(drift=True, manager="mallory", fields=(Field("spec.hard.pods", "9999", "100"),))))
    assert "    ! ResourceQuota/securetenant changed as the field manager mallory (put right)\n" in text
    assert '        spec.hard.pods: "9999" -> "100"\n' in text
    assert "0 to create, 1 to update, 0 to delete, 1 drifted, 0 foreign" in text


def test_colour_only_where_wanted() -> None:
    assert "\x1b[" in shown(forecast(change()), color=True)
    assert "\x1b[" not in shown(forecast(change()))


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;owned\x07"
    text = shown(
        forecast(
            change(drift=True, manager=evil, ref=Ref(RESOURCE_QUOTA, "n", evil), fields=(Field(evil, evil, None),)),
            change(reason="Foreign", drift=True, effect="report", message=evil, ref=Ref(RESOURCE_QUOTA, evil, "q")),
            tenant=evil,
            unmet=(UnmetCondition("A", "B", evil, True),),
        )
    )
    assert "\x1b" not in text
    assert "\x07" not in text


def test_quiet_tenants_are_only_counted() -> None:
    text = shown(forecast(tenant="quiet"), forecast(tenant="other"))
    assert text == "No changes. 2 tenants as declared.\n"


# --- quotas ----------------------------------------------------------------------------------------------------

PAY = tenant("pay", namespaces=["pay"], quota={"tenant": {"pods": "2"}})
QUOTA = Desired(Ref(RESOURCE_QUOTA, "pay", "securetenant"), "quota", {"spec": {"hard": {"pods": "2"}}})


def of_quota(*objects: Observed) -> tuple[list[Change], list[UnmetCondition]]:
    """What is said of quotas in a cluster that holds these."""
    found = assess(PAY, StaticWorld([PAY], objects), NOW)
    return [c for c in changes(found) if c.ref.kind is RESOURCE_QUOTA], unmet_conditions(found)


def test_a_quota_that_is_to_be_made_is_no_obstacle() -> None:
    """Nothing is counted where nothing is made yet."""
    for objects in ((), mine(PAY)):
        made, said = of_quota(*objects)
        assert [change.effect for change in made] == ["create"]
        assert said == []


def test_a_quota_that_is_to_be_counted_is_no_change_and_in_the_way() -> None:
    made, said = of_quota(*mine(PAY), observe(QUOTA, PAY))
    assert made == []
    assert [(one.reason, one.blocking) for one in said] == [("Uncounted", True)]


def test_a_forged_status_is_a_change() -> None:
    forged = observe(QUOTA, PAY, status={"hard": {"pods": "100"}, "used": {"pods": "0"}})
    [made], _ = of_quota(*mine(PAY), forged)
    assert (made.effect, made.drift, made.fields) == ("update", True, (Field("status.hard.pods", "100", "2"),))
