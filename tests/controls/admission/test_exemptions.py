"""Exemptions: how they are written, told and ended."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.api import crd
from securetenant.api.definitions import TENANT
from securetenant.api.status import ExemptionsStatus, ExemptionStatus, ExpiringExemption, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.api.types import KEY_LENGTH
from securetenant.api.workloads import EXEMPTIBLE, Exemption
from securetenant.checks.variables import EXEMPTIONS
from securetenant.controls.admission import control, exemptions, notices
from securetenant.controls.lookup import NAMED
from securetenant.controls.notice import Written
from securetenant.controls.registry import CHECKS
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Ref
from securetenant.model.platform import Platform
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, tenant

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WHY = {"reason": "vendor image", "ticket": "CHG-7", "approvedBy": "ciso"}


def exemption(check: str = "hostPorts", ends: timedelta = HOUR, **more: Any) -> dict[str, Any]:
    end = (NOW + ends).isoformat()
    return {"control": "runtime", "check": check, "namespace": "a", "expires": end, **WHY, **more}


def pay(*exempted: dict[str, Any], **more: Any) -> SecureTenant:
    return tenant("pay", **{"namespaces": ["a", "b"], "exemptions": list(exempted), **more})


def edited(of: SecureTenant, generation: int = 2, **status: Any) -> SecureTenant:
    """The tenant at a generation that its status does not speak of yet."""
    metadata = of.metadata.model_copy(update={"generation": generation})
    seen = SecureTenantStatus(observed_generation=generation - 1, **status)
    return of.model_copy(update={"metadata": metadata, "status": seen})


def wanted(of: SecureTenant, now: datetime = NOW) -> dict[str, Desired]:
    """The control's part of each namespace."""
    return {want.ref.name: want for want in NAMED["admission"].plan(of, StaticWorld([of], mine(of)), now).desired}


def written(of: SecureTenant, before: SecureTenant | None, now: datetime = NOW) -> list[Written]:
    """The namespaces as a rollout writes them. `before`: what they were written for."""
    stood = {name: observe(want, of) for name, want in wanted(before).items()} if before is not None else {}
    return [Written(want.ref, stood.get(name), want) for name, want in wanted(of, now).items()]


def told(of: SecureTenant, before: SecureTenant | None, now: datetime = NOW) -> list[tuple[str, str]]:
    found = notices.rollout(of, written(of, before, now), SecureTenantStatus(), now)
    return [(notice.reason, notice.message) for notice in found.notices]


# --- what can be exempted -----------------------------------------------------------------------------------------


def test_each_check_can_be_named_and_nothing_else() -> None:
    known = {one.control: tuple(check.name for check in one.checks if check.exemptible) for one in CHECKS}
    assert dict(EXEMPTIBLE) == known
    literals = Exemption.model_fields["control"].annotation
    assert set(getattr(literals, "__args__", ())) == set(EXEMPTIBLE)


@given(
    st.dictionaries(
        st.from_regex(r"([a-z]{1,4}[.]?[a-z]/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,5}[A-Za-z0-9])?", fullmatch=True),
        st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,5}[A-Za-z0-9])?)?", fullmatch=True),
        max_size=4,
    )
)
def test_what_is_written_is_read_back_whatever_the_labels(labels: dict[str, str]) -> None:
    one = pay(exemption(pods=labels)).spec.exemptions[0]
    (entry,) = exemptions.entries(exemptions.encoded([one]))
    assert (entry.check, entry.until) == ("runtime/hostPorts", "2026-11-01T13:00:00Z")
    assert dict(pair.split("=") for pair in filter(None, entry.pods.split(","))) == labels
    # The policies read no other form: see checks.variables.
    assert re.fullmatch(r"([^|=,;]+=[^|=,;]*(,[^|=,;]+=[^|=,;]*)*)?", entry.pods)


def test_the_annotation_of_all_that_a_spec_may_hold_fits() -> None:
    """In half of what the API server takes in the annotations of an object, 256 KiB."""
    schema = crd.spec_schema(TENANT)["properties"]["exemptions"]
    count, most = schema["maxItems"], schema["items"]["properties"]["pods"]["maxProperties"]
    labels = {f"{'x' * 63}.{'y' * 63}.{'z' * 61}/{'k' * 62}{number}": "v" * 63 for number in range(most)}
    assert {len(key) for key in labels} == {KEY_LENGTH}
    longest = exemption("readOnlyRootFilesystem", pods=labels)
    assert len(exemptions.encoded(pay(longest).spec.exemptions)) * count < 128 * 1024


def test_an_annotation_of_another_format_has_none() -> None:
    assert list(exemptions.entries("v0;runtime/hostPorts|2027-01-01T00:00:00Z|")) == []
    assert list(exemptions.entries("")) == []
    assert list(exemptions.entries("v1;nonsense;a|b")) == []


# --- the plan -----------------------------------------------------------------------------------------------------


def test_each_namespace_has_its_own_until_they_end() -> None:
    of = pay(exemption(), exemption("hostPaths", 2 * HOUR, pods={"tier": "x", "app": "web"}, namespace="b"))
    texts = {name: want.annotations[EXEMPTIONS] for name, want in wanted(of).items()}
    assert texts == {
        "a": "v1;runtime/hostPorts|2026-11-01T13:00:00Z|",
        "b": "v1;runtime/hostPaths|2026-11-01T14:00:00Z|app=web,tier=x",
    }
    texts = {name: want.annotations[EXEMPTIONS] for name, want in wanted(of, NOW + HOUR).items()}
    assert texts["a"] == "v1"
    assert texts["b"] != "v1"


def test_an_end_is_written_in_utc_and_never_later_than_it_is() -> None:
    (one,) = pay(exemption(expires="2027-01-01T01:30:00.9+02:00")).spec.exemptions
    assert exemptions.until(one.expires) == "2026-12-31T23:30:00Z"


@pytest.mark.parametrize(("spans", "days"), [((14 * 86400, 86400), 1), ((), 15)])
def test_the_pass_wakes_for_a_warning_and_for_the_end(spans: tuple[int, ...], days: int) -> None:
    of = pay(exemption(ends=15 * DAY))
    assert (
        NAMED["admission"].plan(of, StaticWorld([of], mine(of), Platform(expires_soon=spans)), NOW).wake_at
        == NOW + days * DAY
    )


def test_the_status_names_what_is_in_force_and_what_has_ended() -> None:
    of = pay(exemption("hostPaths", -HOUR), exemption(ends=30 * DAY), exemption("digest", control="images"))
    status = NAMED["admission"].plan(of, StaticWorld([of], mine(of)), NOW).status["exemptions"]
    assert isinstance(status, ExemptionsStatus)
    assert (status.active, status.by_control, status.ended) == (2, {"images": 1, "runtime": 1}, 1)
    assert status.next_expiry == NOW + HOUR
    assert [(one.check, one.ended) for one in status.items] == [
        ("digest", False),
        ("hostPorts", False),
        ("hostPaths", True),
    ]
    assert (status.items[0].reason, status.items[0].ticket, status.items[0].approved_by) == tuple(WHY.values())
    assert [(one.check, one.within) for one in status.expiring] == [("images/digest", "1d")]
    assert control.figures(SecureTenantStatus(exemptions=status)) == {
        "securetenant_exemptions_active": {("images",): 1, ("runtime",): 1},
        "securetenant_exemptions_expiry_timestamp_seconds": {(): (NOW + HOUR).timestamp()},
    }


def test_the_status_names_twenty_and_counts_all() -> None:
    every = [exemption(check, namespace=place) for check in EXEMPTIBLE["runtime"] for place in ("a", "b")]
    of = pay(*every)
    status = exemptions.told(of, ["a"], (), NOW)
    assert len(status.items) == 20
    assert status.active == len(every) // 2, "only where the namespace is the tenant's"


def test_a_tenant_without_exemptions_says_nothing_of_them() -> None:
    of = pay()
    assert NAMED["admission"].plan(of, StaticWorld([of], mine(of)), NOW).status == {}


# --- what is told -------------------------------------------------------------------------------------------------


def test_a_new_one_is_told_with_all_that_is_known_of_it() -> None:
    of = edited(pay(exemption(pods={"app": "web"})), 7)
    (notice,) = notices.rollout(of, written(of, pay()), SecureTenantStatus(), NOW).notices
    assert (notice.line, notice.reason, notice.is_warning) == ("exemption started", "ExemptionStarted", True)
    assert notice.fields == {
        "check": "runtime/hostPorts",
        "namespace": "a",
        "pods": "app=web",
        "expires": "2026-11-01T13:00:00Z",
        "why": "vendor image",
        "ticket": "CHG-7",
        "approved_by": "ciso",
        "cause": "declared, generation 7",
    }
    assert notice.message == (
        "runtime/hostPorts in a for app=web (CHG-7) until 2026-11-01T13:00:00Z: vendor image, approved by ciso; "
        "declared, generation 7"
    )


def test_one_that_ended_is_told_by_its_end_and_is_the_cause() -> None:
    of = pay(exemption()).model_copy(update={"status": SecureTenantStatus(observed_generation=1)})
    found = notices.rollout(of, written(of, of, NOW + HOUR), SecureTenantStatus(), NOW + HOUR)
    (notice,) = found.notices
    assert (notice.line, notice.reason, notice.is_warning) == ("exemption ended", "ExemptionEnded", False)
    assert notice.message == (
        "runtime/hostPorts in a (CHG-7): vendor image, approved by ciso; its end was 2026-11-01T13:00:00Z"
    )
    assert found.cause == "expiry of runtime/hostPorts in a (CHG-7)"


def test_one_that_left_the_spec_is_told_by_what_the_status_knew() -> None:
    known = ExemptionStatus(control="runtime", check="hostPorts", namespace="a", reason="r", ticket="CHG-1")
    for items, why in (([known], "(CHG-1): r"), ([], ": its reason is not known any more")):
        of = edited(pay(), 8, exemptions=ExemptionsStatus(items=items))
        ((reason, message),) = told(of, pay(exemption()))
        assert reason == "ExemptionEnded"
        assert why in message
        assert message.endswith("; no longer declared, generation 8")


def test_another_end_is_told_once_as_a_start() -> None:
    ((reason, message),) = told(edited(pay(exemption(ends=2 * HOUR))), pay(exemption()))
    assert reason == "ExemptionStarted"
    assert "until 2026-11-01T14:00:00Z" in message
    assert message.endswith("; its end was 2026-11-01T13:00:00Z (generation 2)")


def test_nothing_is_told_where_nothing_changed_or_the_namespace_was_another_s() -> None:
    of = pay(exemption())
    assert told(of, of) == []
    forged = namespace("a", annotations={EXEMPTIONS: "v1;runtime/privileged|2030-01-01T00:00:00Z|"})
    want = wanted(pay())["a"]
    assert notices.rollout(pay(), [Written(want.ref, forged, want)], SecureTenantStatus(), NOW).notices == []


def test_all_end_with_the_namespace() -> None:
    of = tenant("pay", namespaces=["a"], exemptions=[exemption()], deleting=True)
    have = observe(wanted(pay(exemption()))["a"], of)
    gone = [Written(have.ref, have, None)]
    ((reason, message),) = [
        (notice.reason, notice.message) for notice in notices.rollout(of, gone, SecureTenantStatus(), NOW).notices
    ]
    assert reason == "ExemptionEnded"
    assert message.endswith("; the SecureTenant is deleted")


def test_one_that_ends_soon_is_a_warning_by_its_end_and_threshold() -> None:
    soon = ExpiringExemption(check="runtime/hostPorts", namespace="a", expires=NOW + HOUR, within="1d")
    of = pay(exemption())
    weeks = notices.warnings(of, SecureTenantStatus(exemptions=ExemptionsStatus(expiring=[soon])))
    other = soon.model_copy(update={"within": "1h"})
    assert not weeks.keys() & notices.warnings(of, _expiring(other)).keys()
    (notice,) = weeks.values()
    assert (notice.line, notice.reason, notice.is_warning) == ("exemption expires soon", "ExpiresSoon", True)
    assert notice.message == (
        "exemption runtime/hostPorts in a (CHG-7) ends at 2026-11-01T13:00:00Z, within 1d: mend what needs it, or "
        "renew it"
    )
    assert notices.warnings(of, SecureTenantStatus()) == {}


def _expiring(one: ExpiringExemption) -> SecureTenantStatus:
    return SecureTenantStatus(exemptions=ExemptionsStatus(expiring=[one]))


def test_what_ends_with_a_released_tenant_is_named() -> None:
    of = pay(exemption(), exemption("hostPaths", -HOUR))
    assert notices.ending(of, NOW) == [
        "the lock on its namespaces",
        "the lock on what was made in them",
        "exemption runtime/hostPorts in a (CHG-7)",
    ]
    assert notices.ending(pay(locks={"namespaces": False}), NOW) == ["the lock on what was made in them"]
    assert notices.ending(pay(locks={"namespaces": False, "posture": False}), NOW) == []


# --- validate -----------------------------------------------------------------------------------------------------


def test_validate_warns_of_one_that_is_over_or_far_from_it() -> None:
    of = pay(exemption("hostPaths", -HOUR), exemption(ends=91 * DAY), exemption("seccomp", ends=90 * DAY))
    found = list(notices.review(of, StaticWorld([of]), NOW))
    assert [(problem.path, problem.severity) for problem in found] == [
        ("spec.exemptions[0].expires", "warning"),
        ("spec.exemptions[1].expires", "warning"),
    ]
    assert "ended at 2026-11-01T11:00:00Z: remove it" in found[0].message
    assert "more than 90d from now" in found[1].message
    nearer = StaticWorld([of], platform=Platform(exemption_longest=86400))
    assert len(list(notices.review(of, nearer, NOW))) == 3


def test_the_kind_of_the_part_is_the_namespace() -> None:
    assert {want.ref for want in wanted(pay()).values()} == {Ref(NAMESPACE, "", "a"), Ref(NAMESPACE, "", "b")}
