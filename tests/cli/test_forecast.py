"""What `plan` makes of findings: differences by field, sums, exit codes."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from securetenant.api.objects import JsonValue
from securetenant.cli.forecast import Change, Field, Forecast, Told, differences, sums
from securetenant.cli.plan_output import print_as_text


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        pytest.param({"a": 1}, {"a": 1}, [], id="equal"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 2}}, [Field("a.b", 1, 2)], id="changed"),
        pytest.param({"a": 1}, {}, [Field("a", 1, None)], id="added-by-others"),
        pytest.param({}, {"a": {"b": 1}}, [Field("a", None, {"b": 1})], id="taken-away-by-others"),
        pytest.param({"a": [1, 2]}, {"a": [1, 3, 4]}, [Field("a[1]", 2, 3), Field("a[2]", None, 4)], id="list"),
        pytest.param({"a": True}, {"a": 1}, [Field("a", True, 1)], id="another-type"),
    ],
)
def test_differences(old: JsonValue, new: JsonValue, fields: list[Field]) -> None:
    assert list(differences(old, new)) == fields


_JSON: Any = st.recursive(
    st.booleans() | st.integers(0, 3) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)


@given(_JSON, _JSON)
def test_there_are_differences_exactly_where_values_differ(old: JsonValue, new: JsonValue) -> None:
    same = repr(old) == repr(new) or (isinstance(old, dict) and old == new and str(old) == str(new))
    found = list(differences(old, new))
    if same:
        assert found == []
    if not found:
        assert old == new


def change(**given: Any) -> Change:
    fields: Any = {
        "effect": "update",
        "drift": False,
        "reason": "Changed",
        "control": "quota",
        "kind": "ResourceQuota",
        "namespace": "n",
        "name": "securetenant",
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
        pytest.param(forecast(told=(Told("WhitelistAgreed", "Pending", "x", False),)), 0, id="pending"),
        pytest.param(forecast(change()), 2, id="rollout"),
        pytest.param(forecast(change(effect="report", drift=True)), 2, id="audit"),
        pytest.param(forecast(change(effect="report", drift=True, reason="Foreign")), 2, id="foreign"),
        pytest.param(forecast(told=(Told("NodesReady", "NoNodes", "x", True),)), 2, id="blocked"),
        pytest.param(forecast(state="invalid", problem="x"), 1, id="invalid"),
    ],
)
def test_exit_code(one: Forecast, code: int) -> None:
    assert sums([forecast(), one]).exit_code == code


def shown(*forecasts: Forecast, color: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, color_system="standard" if color else None, force_terminal=color, soft_wrap=True, highlight=False
    )
    print_as_text(console, forecasts)
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
            change(drift=True, manager=evil, name=evil, fields=(Field(evil, evil, None),)),
            change(reason="Foreign", drift=True, effect="report", message=evil, namespace=evil),
            tenant=evil,
            told=(Told("A", "B", evil, True),),
        )
    )
    assert "\x1b" not in text
    assert "\x07" not in text


def test_quiet_tenants_are_only_counted() -> None:
    text = shown(forecast(tenant="quiet"), forecast(tenant="other"))
    assert text == "No changes. 2 tenants as declared.\n"
