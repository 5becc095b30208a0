"""Constraints that hold in two places from one text: in the models, and as schema and CEL in the CRD.

Each is an annotation of a type (`Annotated[str, Text(...)]`) or stands in the `RULES` of a model. The Python side
and the CEL side of a rule are written beside each other; tests/corpus runs through both and they must agree.
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

    `path` leads from the place where it is raised to the field at fault; `inputs` are the fields that the rule
    read, so that a rule whose inputs are wrong by themselves can be passed over (see load.py).
    """
    return PydanticCustomError("constraint", "{message}", {"message": message, "path": path, "inputs": inputs})


class Text:
    """A string of one syntax. `pattern` is without anchors, in the part that Python's re and RE2 share.

    In the CRD it is CEL, which has a message of its own; where it stands `deep` within lists of lists, the cost that
    the API server allows for CEL does not suffice, and it is a plain pattern.
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
        return _with_rule(made, {"rule": self.cel("self"), "message": f"refused: write {self.hint}"})

    def cel(self, variable: str) -> str:
        """The CEL of the same test."""
        pattern = self.pattern.replace(chr(92), chr(92) * 2).replace("'", f"{chr(92)}'")
        return f"{variable}.matches('^(?:{pattern})$')"

    def matches(self, value: str) -> bool:
        return len(value) <= self.max_length and self._match(value) is not None

    def check(self, value: str) -> str:
        if not self.matches(value):
            raise refusal(f"{_shown(value)} is refused: write {self.hint}")
        return value


class Rule:
    """What must hold of a value. `field` is the field to blame in a model, `inputs` the fields it reads (all)."""

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
    """What must hold of each entry of a map, by its key and value. In the CEL the key is `k`."""

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
    """A list without duplicates: of scalars, or of objects by their field `key`."""

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
                    raise refusal(f"{_shown(name)} stands here twice: keep one of the two", path)
                seen.add(name)
        return value


class SpecModel(BaseModel):
    """What people write. Strict: what the API server would refuse ("8443" for a number) is refused here as well."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        revalidate_instances="never",
    )

    # The rules that tie the fields of the model together.
    RULES: ClassVar[tuple[Rule, ...]] = ()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: it is frozen. pydantic copies the default of a section for every tenant that does not give it."""
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        # Of a model within another one pydantic gives what was made here before: with the rules in it.
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
    """The schema with the rule (once: pydantic asks a model for its schema at more than one level)."""
    rules = schema.get(RULES_KEY, [])
    return schema if rule in rules else {**schema, RULES_KEY: [*rules, rule]}


def _shown(value: str | int) -> str:
    return repr(f"{value[:60]}…" if isinstance(value, str) and len(value) > 60 else value)
