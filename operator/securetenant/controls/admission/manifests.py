"""manifests/admission, generated from the checks of all controls.

`python -m securetenant.controls.admission.manifests` writes the files below `manifests/admission/` of the working
directory; with `--check` it compares instead, and exits with 1 if one is not up to date.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from securetenant.checks import policies
from securetenant.controls.registry import CHECKS

FOLDER: Final = Path("manifests") / "admission"
_HEADER: Final = (
    "# Generated from the checks in operator/securetenant/controls by\n"
    "# `python -m securetenant.controls.admission.manifests`. Do not edit.\n"
)


def documents() -> dict[str, list[policies.Document]]:
    """The policies and their bindings by file."""
    return {"pods.yaml": policies.pods(CHECKS), "workloads.yaml": policies.workloads(CHECKS)}


def texts() -> dict[str, str]:
    """The files' contents by name."""
    import yaml

    made = {
        name: _HEADER + yaml.dump_all(given, Dumper=_dumper(), sort_keys=False, width=110, allow_unicode=True)
        for name, given in documents().items()
    }
    resources = "".join(f"- {name}\n" for name in made)
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    return {**made, "kustomization.yaml": f"{_HEADER}{head}{resources}"}


def _dumper() -> Any:
    """A dumper without aliases: shared parts are written out."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Plain


def main() -> int:
    """Write the files, or compare them with what the checks say."""
    parser = argparse.ArgumentParser(prog="python -m securetenant.controls.admission.manifests", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 if one differs")
    wanted = texts()
    if not parser.parse_args().check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in wanted.items():
            (FOLDER / name).write_text(text)
        return 0
    found = {path.name: path.read_text() for path in FOLDER.glob("*.yaml")}
    wrong = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    for name in wrong:
        print(f"{FOLDER / name} is not up to date: run `{parser.prog}`", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
