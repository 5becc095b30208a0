"""A real operator with some of its constants shortened, so that a test need not wait out the minutes that they mean."""

import importlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_KEY: Final = re.compile(r"(?P<module>[\w.]+)\.(?P<name>\w+)(?:\((?P<argument>\w+)\))?")
# A mistake must end the operator: what fails in sitecustomize is passed over otherwise.
_SITECUSTOMIZE: Final = """
import os, traceback
try:
    exec({code!r}, {{}})
except BaseException:
    traceback.print_exc()
    os._exit(1)
"""


def shortened(folder: Path, constants: Mapping[str, object], code: str = "") -> dict[str, str]:
    """The environment of an operator whose `constants` have these values, and in which `code` runs before all else.

    A key is a constant, "engine.controller.PULSE", or a default of a class, "kube.informer.Informer(backoff)".
    AssertionError for one that is not there (any more): set all the same it would change nothing, and the test would
    wait for minutes, or pass by chance.
    """
    place = folder / "shortened"
    place.mkdir(parents=True, exist_ok=True)
    lines = [assignment(key, value) for key, value in constants.items()]
    (place / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(code="\n".join([*lines, code])))
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH"))))}


def assignment(key: str, value: object) -> str:
    """The line of Python that sets it."""
    found = _KEY.fullmatch(key)
    assert found is not None, f"neither a constant nor a keyword: {key}"
    module, name, argument = f"securetenant.{found['module']}", found["name"], found["argument"]
    owner: Any = getattr(importlib.import_module(module), name, None)
    assert owner is not None, f"{module} has no {name}"
    if argument is None:
        return f"import {module} as module; module.{name} = {value!r}"
    assert argument in owner.__init__.__kwdefaults__, f"{name} has no keyword {argument} with a default"
    return f"import {module} as module; module.{name}.__init__.__kwdefaults__[{argument!r}] = {value!r}"
