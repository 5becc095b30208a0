"""Constraints that are written once and enforced twice: by the models, and by the CRD as schema and CEL.

Each is an annotation of a type (`Annotated[str, Text(...)]`) or part of the `RULES` of a model. The Python side and the
CEL side of a rule are written next to each other; tests run tests/corpus through both, which must agree, and through
cel-expr-python, wherever that can run the CEL.

Why the models keep a Python side, and do not run the CEL (measured with cel-expr-python 0.1.3 on Python 3.11, 2 CPUs):
the operator parses every tenant, and would need 14 MB more, of the 100 MB that are its goal at 1,000 tenants. Parsing
one would take, instead of 60 us for a tenant of the benchmark and 180 us for examples/bank/payments.yaml,
- 85 and 260 us with one expression for the whole spec, which does not say what is wrong with it;
- 110 and 390 us with one per model, 180 and 720 us with one per rule;
- 4 and 12 ms if that includes the rules on keys of maps: a regular expression is compiled at each evaluation.
It lacks functions for 13 of the 54 rules of the spec (quantities, addresses), and it ends a text at NUL. Nor can the
operator leave the rules to the API server, which keeps what it accepted by an older or a weaker CRD: the rights of a
tenant would be granted to system:authenticated, for one.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

RULES_KEY: Final = "x-kubernetes-validations"


def refusal(message: str, path: tuple[str | int, ...] = (), inputs: tuple[str, ...] = ()) -> PydanticCustomError:
    """An error with exactly this message.

    `path` is the invalid field, relative to where the error is raised; `inputs` are the fields that the rule read, so
    that a rule whose inputs are themselves invalid can be skipped (see load.py).
    """
    return PydanticCustomError("constraint", "{message}", {"message": message, "path": path, "inputs": inputs})


class Text:
    """A string that matches `pattern` (no anchors, and only syntax that Python's re and RE2 share).

    In the CRD it is a CEL rule, which can have its own message; `deep` within lists of lists, where a CEL rule would
    exceed the API server's cost budget, it is a plain pattern.
    """

    def __init__(self, pattern: str, hint: str, max_length: int, *, deep: bool = False) -> None:
        self.pattern, self.hint, self.max_length, self.deep = pattern, hint, max_length, deep
        self._match = re.compile(pattern, re.ASCII).fullmatch

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = {**handler(schema), "maxLength": self.max_length}
        if self.deep:
            return {**made, "pattern": f"^(?:{self.pattern})$"}
        return _with_rule(made, {"rule": self.cel("self"), "message": f"must be {self.hint}"})

    def cel(self, variable: str) -> str:
        """The same check as a CEL expression."""
        pattern = self.pattern.replace(chr(92), chr(92) * 2).replace("'", f"{chr(92)}'")
        return f"{variable}.matches('^(?:{pattern})$')"

    def matches(self, value: str) -> bool:
        return len(value) <= self.max_length and self._match(value) is not None

    def check(self, value: str) -> str:
        if not self.matches(value):
            raise refusal(f"{_shown(value)} is invalid: must be {self.hint}")
        return value


class Rule:
    """A condition on a value. `field`: the model's field that the error names; `inputs`: all fields that it reads."""

    def __init__(
        self,
        cel: str,
        message: str,
        holds: Callable[[Any], bool],
        *,
        field: str = "",
        inputs: tuple[str, ...] = (),
    ) -> None:
        self.cel, self.message, self.holds = " ".join(cel.split()), message, holds
        self.field, self.inputs = field, inputs

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _with_rule(handler(schema), self.kubernetes())

    def check(self, value: Any) -> Any:
        if not self.holds(value):
            raise refusal(self.message, (self.field,) if self.field else (), self.inputs)
        return value

    def kubernetes(self) -> dict[str, str]:
        rule = {"rule": self.cel, "message": self.message}
        return {**rule, "fieldPath": f".{self.field}"} if self.field else rule


class EachEntry:
    """A condition on each entry of a map, by key and value. In the CEL expression the key is `k`."""

    def __init__(self, cel: str, message: str, holds: Callable[[str, Any], bool]) -> None:
        self.cel, self.message, self.holds = f"self.all(k, {' '.join(cel.split())})", message, holds

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _with_rule(handler(schema), {"rule": self.cel, "message": self.message})

    def check(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for key, item in value.items():
            if not self.holds(key, item):
                raise refusal(self.message, (key,))
        return value


class Unique:
    """A list without duplicates: of scalars, or of objects with distinct values of the field `key`."""

    def __init__(self, key: str = "") -> None:
        self.key = key

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return {**handler(schema), **(listed if self.key else {"x-kubernetes-list-type": "set"})}

    def check(self, value: list[Any]) -> list[Any]:
        if len(value) > 1:
            seen = set()
            for index, item in enumerate(value):
                name = getattr(item, self.key) if self.key else item
                if name in seen:
                    path = (index, self.key) if self.key else (index,)
                    raise refusal(f"{_shown(name)} is listed twice: remove one", path)
                seen.add(name)
        return value


class SpecModel(BaseModel):
    """User input. Strict: what the API server would reject ("8443" for a number) is rejected here as well."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        revalidate_instances="never",
    )

    # Rules that involve several fields of the model.
    RULES: ClassVar[tuple[Rule, ...]] = ()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself, since it is frozen: pydantic would copy the default of a section for every tenant that omits it."""
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        # For a nested model, pydantic passes the schema that was made here before, which already has the rules.
        is_made = cls.RULES and schema.get("function", {}).get("function") == cls.RULES[-1].check
        for rule in () if is_made else cls.RULES:
            schema = core_schema.no_info_after_validator_function(rule.check, schema)
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler.resolve_ref_schema(handler(schema))
        for rule in cls.RULES:
            made = _with_rule(made, rule.kubernetes())
        return made


def _with_rule(schema: JsonSchemaValue, rule: dict[str, str]) -> JsonSchemaValue:
    """The schema with the rule, added once: pydantic asks a model for its schema at more than one level."""
    rules = schema.get(RULES_KEY, [])
    return schema if rule in rules else {**schema, RULES_KEY: [*rules, rule]}


def _shown(value: str | int) -> str:
    return repr(f"{value[:60]}…" if isinstance(value, str) and len(value) > 60 else value)
