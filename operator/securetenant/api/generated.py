"""The text of files that are generated from the code and kept in git (crds/, manifests/)."""

from typing import Any


def text(header: str, *documents: Any) -> str:
    """YAML without aliases, so that shared parts are written out; a string of several lines is written as such."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Plain.add_representer(str, string)
    return header + yaml.dump_all(documents, Dumper=Plain, sort_keys=False, width=110, allow_unicode=True)
