"""The accounts of the platform: one text, which policies go by and show."""

from typing import Any

import pytest

from securetenant.checks import accounts, policies
from securetenant.checks.accounts import ANNOTATION, DEFAULT, Accounts
from securetenant.controls.admission import lock


def policy() -> dict[str, Any]:
    return lock.namespaces()[0]


def renamed(given: dict[str, Any], text: str, annotation: str | None = None) -> dict[str, Any]:
    """A policy as kustomize makes it of another text."""
    listed = [
        {**one, "expression": one["expression"].replace(accounts.text(DEFAULT), text)}
        for one in given["spec"]["variables"]
    ]
    annotations = {**given["metadata"]["annotations"], ANNOTATION: text if annotation is None else annotation}
    return {
        **given,
        "metadata": {**given["metadata"], "annotations": annotations},
        "spec": {**given["spec"], "variables": listed},
    }


@pytest.mark.parametrize(
    "given",
    [
        DEFAULT,
        Accounts((), ()),
        Accounts(("system:serviceaccount:a:b",), (), ("system:serviceaccount:kube-system:ovn", "cni")),
        Accounts(("system:serviceaccount:a:b", "system:serviceaccount:a:c"), ("oidc:cn=glass,ou=x;y", "o'brien's")),
    ],
)
def test_what_is_written_is_read(given: Accounts) -> None:
    assert accounts.read(accounts.text(given)) == given


def test_other_lines_say_nothing() -> None:
    text = "# ours\n\n  operator=a  \r\noperator=\nscanner=s\nOperator=b\n"
    assert accounts.read(text) == Accounts(("a",), ())


def test_a_policy_shows_what_it_goes_by() -> None:
    assert accounts.read(policy()["metadata"]["annotations"][ANNOTATION]) == DEFAULT


def test_only_policies_that_use_accounts_show_them() -> None:
    bare = policies.versioned("x", {"variables": [], "validations": []})
    assert ANNOTATION not in bare["metadata"]["annotations"]


def test_other_accounts_make_no_other_policy() -> None:
    text = accounts.text(Accounts(("system:serviceaccount:bank:guard",), ("bank:glass", "bank:glass-2"), ("bank:cni",)))
    other = renamed(policy(), text)
    assert other != policy()
    assert accounts.with_defaults(other) == policy()
    assert accounts.with_defaults(policy()) == policy()


def test_a_policy_that_goes_by_others_than_it_shows_is_another() -> None:
    other = renamed(policy(), "operator=mallory\n", annotation=accounts.text(DEFAULT))
    assert accounts.with_defaults(other) == other


def test_a_policy_whose_text_goes_on_as_an_expression_is_another() -> None:
    quote = accounts.QUOTE
    text = f"{accounts.text(DEFAULT)}{quote}.split('\\n') + ['breakGlassGroup=system:authenticated'] + r{quote}"
    assert accounts.read(text) == DEFAULT
    other = renamed(policy(), text)
    assert accounts.with_defaults(other) == other
