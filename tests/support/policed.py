"""Admission policies that tell accounts apart, evaluated as the API server evaluates them, on requests as data.

With cel-expr-python, as the checks are. Variables are bound when they are needed, as there: one that fails on requests
that never come to it does no harm.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

from securetenant.checks import accounts
from securetenant.checks.targets import Document
from securetenant.checks.variables import VARIABLE
from tests.support.life import Json

_INPUTS: Final = ("object", "oldObject", "namespaceObject", "request", "variables")
#: They depend on no request.
_FIXED: Final = tuple(accounts.variables())


@dataclass(frozen=True, slots=True)
class Request:
    """A request as an admission policy sees it. `kind`: "NetworkPolicy". `space`: the metadata of its namespace."""

    operation: str
    group: str
    resource: str
    kind: str
    old: Json | None = None
    new: Json | None = None
    user: str = "mallory"
    groups: Sequence[str] = ()
    subresource: str = ""
    namespace: str = ""
    space: Json = field(default_factory=dict)
    dry_run: bool = False
    #: The operator's accounts, if the platform names others.
    operators: Sequence[str] = ()


class Verdict(NamedTuple):
    """`refused`: the message; "" if the request is admitted. `audited`: the audit annotations that it leaves."""

    refused: str
    audited: Mapping[str, str]


#: The message of a request that is refused since something could not be evaluated.
ERROR: Final = "(an error)"


class Policy:
    """A ValidatingAdmissionPolicy, compiled, with some of its texts exchanged; RuntimeError for what is no CEL."""

    def __init__(self, document: Document, instead: Mapping[str, str] | None = None) -> None:
        spec = document["spec"]
        texts = {one["name"]: one["expression"] for one in spec["variables"]} | dict(instead or {})
        self._rules = spec["matchConstraints"]["resourceRules"]
        self._environment = cel.NewEnv(
            variables=dict.fromkeys(_INPUTS, cel.Type.DYN),
            extensions=[ext_bindings.ExtBindings(), ext_optional.ExtOptional(), ext_strings.ExtStrings()],
        )
        self._fixed: dict[str, Any] = {}
        for name in _FIXED:
            if name in texts:
                self._fixed[name] = (
                    self._environment.compile(texts[name]).eval(data={"variables": self._fixed}).plain_value()
                )
        conditions = [texts.get(one["name"], one["expression"]) for one in spec.get("matchConditions", ())]
        self._conditions = [self._compiled(one, texts) for one in conditions]
        # The first is about the operator's probe.
        self._validations = [
            (
                self._compiled(texts.get(f"validation {number}", one["expression"]), texts),
                self._compiled(one["messageExpression"], texts),
            )
            for number, one in enumerate(spec["validations"][1:])
        ]
        self._audited = {
            one["key"]: self._compiled(one["valueExpression"], texts) for one in spec.get("auditAnnotations", ())
        }

    def verdict(self, request: Request) -> Verdict:
        """What the policy says to a request."""
        data = self._data(request)
        if not any(_matches(rule, request) for rule in self._rules) or any(
            self._value(one, data) is False for one in self._conditions
        ):
            return Verdict("", {})
        audited = {key: str(value) for key, one in self._audited.items() if (value := self._value(one, data)) != ""}
        for validation, message in self._validations:
            value = self._value(validation, data)
            if value is not True:
                return Verdict((value is False and self._value(message, data)) or ERROR, audited)
        return Verdict("", audited)

    def _data(self, request: Request) -> dict[str, Any]:
        thing = request.new or request.old or {}
        given: Json = {
            "operation": request.operation,
            "userInfo": {"username": request.user, "groups": list(request.groups)},
            "resource": {"group": request.group, "resource": request.resource},
            "kind": {"group": request.group, "kind": request.kind},
            "name": thing.get("metadata", {}).get("name", ""),
            "dryRun": request.dry_run,
        }
        given |= {"namespace": request.namespace} if request.namespace else {}
        given |= {"subResource": request.subresource} if request.subresource else {}
        return {
            "object": request.new,
            "oldObject": request.old,
            "namespaceObject": {"metadata": {"name": request.namespace, **request.space}}
            if request.namespace
            else None,
            "request": given,
            "variables": self._fixed | ({accounts.OPERATORS: list(request.operators)} if request.operators else {}),
        }

    @staticmethod
    def _value(expression: Any, data: Mapping[str, Any]) -> Any:
        result = expression.eval(data=data)
        return None if result.type() == cel.Type.ERROR else result.plain_value()

    def _compiled(self, text: str, texts: Mapping[str, str]) -> Any:
        """With the variables that it needs. One that is used once stands in its place, so that it is evaluated only if
        it is needed; the others are bound at once as far as possible: cel-cpp takes no more than 32 levels."""
        levels: dict[str, int] = {}

        def level(text: str) -> int:
            found = [name for name in VARIABLE.findall(text) if name not in self._fixed]
            for name in found:
                if name not in levels:
                    levels[name] = level(texts[name])
            return max((levels[name] + (used[name] > 1) for name in found), default=0)

        def bound(text: str) -> str:
            return VARIABLE.sub(lambda one: one[0] if one[1] in self._fixed else place(one[1]), text)

        def place(name: str) -> str:
            return f"level{levels[name]}.{name}" if used[name] > 1 else f"dyn({bound(texts[name])})"

        used = Counter(self._uses(text, texts))
        last = level(text)
        made = bound(text)
        for number in range(last - 1, -1, -1):
            entries = [
                f"'{name}': dyn({bound(texts[name])})" for name in levels if used[name] > 1 and levels[name] == number
            ]
            made = f"cel.bind(level{number}, {{{', '.join(entries)}}}, {made})"
        return self._environment.compile(made)

    def _uses(self, text: str, texts: Mapping[str, str]) -> list[str]:
        """Each use of a variable in a text and in the variables that it needs."""
        needed, waiting = [], [text]
        seen: set[str] = set()
        while waiting:
            found = [name for name in VARIABLE.findall(waiting.pop()) if name not in self._fixed]
            waiting += [texts[name] for name in dict.fromkeys(found) if name not in seen]
            seen.update(found)
            needed += found
        return needed


def _matches(rule: Mapping[str, Any], request: Request) -> bool:
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    return (
        request.group in rule["apiGroups"]
        and resource in rule["resources"]
        and request.operation in rule["operations"]
        and (not rule.get("resourceNames"))
    )


def changed_by(item: Json, changes: Json) -> Json:
    """An object after a merge patch."""
    made = copy.deepcopy(item)
    for key, given in changes.items():
        if given is None:
            made.pop(key, None)
        else:
            made[key] = changed_by(made.get(key) or {}, given) if isinstance(given, dict) else given
    return made
