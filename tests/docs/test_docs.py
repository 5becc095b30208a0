"""The documentation is true: its examples are valid, its commands exist and do what is shown, its links lead on."""

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml
from typer.testing import CliRunner

from securetenant.api.tenant import SecureTenantSpec
from securetenant.cli.main import app
from securetenant.model import names
from securetenant.settings import Settings, variable
from tests.support.markdown import PAGES, ROOT, Block, anchors, blocks, every_block, links, prose, table
from tests.support.reading import problems

NOW: Final = datetime(2026, 11, 24, tzinfo=UTC)
LANGUAGES: Final = {"", "console", "sh", "yaml"}
SPEC_FIELDS: Final = {field.alias or name for name, field in SecureTenantSpec.model_fields.items()}
KUBECTL: Final = {
    *("apply", "auth", "create", "delete", "diff", "get", "label", "logs", "patch", "rollout", "top", "wait"),
}
# What the test runs itself; the others need a cluster or run for ever.
RUN: Final = {"validate", "render", "version"}


def pages() -> list[Any]:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]


def each(*languages: str) -> list[Any]:
    return [pytest.param(block, id=block.at) for block in every_block(*languages)]


# --- pages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} of {page.name} does not exist"
        assert not anchor or anchor in anchors(there), f"{there.name} has no heading for #{anchor}"


def test_pictures_are_shown_with_words_for_them_and_are_small() -> None:
    there = set((ROOT / "docs" / "pictures").iterdir())
    shown = set()
    for page in PAGES:
        text = page.read_text()
        shown |= {(page.parent / path).resolve() for path in re.findall(r'(?:src|srcset)="([^"]+)"', text)}
        assert all(re.search(r' alt="[^"]{20,}"', tag) for tag in re.findall(r"<img [^>]*>", text)), page.name
    assert shown == there
    assert all(path.stat().st_size < 150_000 for path in there)


@pytest.mark.parametrize("page", pages())
def test_blocks_are_of_a_language_that_is_checked(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("page", pages())
def test_paths_in_the_text_exist(page: Path) -> None:
    """Of those in backticks that name a folder of the checkout."""
    tops = "bench|crds|docs|examples|manifests|operator|sandbox|tests"
    made = {"bench/results/latest.json"}
    for path in re.findall(rf"`((?:{tops})/[\w./*-]*)`", prose(page)):
        assert "NAME" in path or path in made or list(ROOT.glob(path.rstrip("/"))), f"{page.name}: no {path}"


@pytest.mark.parametrize("page", [page for page in pages() if "internals" in page.values[0].parts])
def test_paths_of_the_code_in_internals_exist(page: Path) -> None:
    """They may begin below operator/securetenant."""
    named = set(re.findall(r"`([\w./-]+\.(?:py|toml|txt|md|yaml))`", prose(page)))
    there = {path for path in named if (ROOT / path).exists() or (ROOT / "operator" / "securetenant" / path).exists()}
    assert named == there, f"{page.name}: {sorted(named - there)}"


def test_every_decision_is_listed() -> None:
    """By number, name and date, and no number twice."""
    folder = ROOT / "docs" / "internals" / "decisions"
    listed = {link: (title, date) for link, title, date in table(folder / "README.md", "", "decision", "date")}
    records = [page for page in sorted(folder.glob("*.md")) if page.name != "README.md"]
    assert [f"[{page.name[:4]}]({page.name})" for page in records] == sorted(listed)
    assert len({page.name[:4] for page in records}) == len(records)
    for page in records:
        number, title = page.name[:4], listed[f"[{page.name[:4]}]({page.name})"][0]
        heading, _, date, *_ = page.read_text().splitlines()
        assert (heading, date[:10]) == (f"# {number}: {title}", listed[f"[{number}]({page.name})"][1])


def test_environment_variables_are_known() -> None:
    sources = [*ROOT.glob("sandbox/*.py"), *ROOT.glob("demo/*.py"), *ROOT.glob("operator/securetenant/**/*.py")]
    known = "\n".join(source.read_text() for source in sources)
    settings = {variable(field) for field in Settings.model_fields}
    for page in PAGES:
        for name in re.findall(r"\bSECURETENANT_[A-Z_]*[A-Z]\b", page.read_text()):
            assert name in settings or f'"{name}"' in known or name == "SECURETENANT_DNS", f"{page.name}: {name}"


# --- YAML -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", each("yaml"))
def test_yaml_is_valid(block: Block) -> None:
    """A SecureTenant, or a part of a spec, passes the models; anything else is a whole manifest."""
    for document in yaml.safe_load_all(block.text):
        if document.get("kind") == names.KIND:
            assert not problems(document, NOW)
        elif "apiVersion" not in document:
            assert document.keys() <= SPEC_FIELDS, f"neither a manifest nor a part of a spec: {sorted(document)}"
            whole = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "example"}}
            errors = [p for p in problems({**whole, "spec": document}, NOW) if p.severity == "error"]
            assert not errors
        else:
            assert document.get("kind")
            assert document["kind"] == "Kustomization" or document["metadata"]["name"]


def test_the_first_tenant_makes_what_the_readme_says(tmp_path: Path) -> None:
    (block,) = (block for block in blocks(ROOT / "README.md") if block.language == "yaml")
    file = tmp_path / "tenant.yaml"
    file.write_text(block.text)
    rendered = [one for one in yaml.safe_load_all(_run(["render", str(file)]).stdout) if one]
    section = prose(ROOT / "README.md").partition("| object in `payments-prod` |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| (\w+)(?: `([^`]+)`)? \|", section, re.MULTILINE)
    made = {(one["kind"], one["metadata"]["name"] if one["kind"] != "Namespace" else "") for one in rendered}
    assert made == set(told)


# --- commands ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a block, and what is shown below it."""

    words: tuple[str, ...]
    exit_code: int
    shown: tuple[str, ...]


def commands(block: Block) -> Iterator[Command]:
    """In `console` what stands behind "$ ", in `sh` each line. A comment "# exit code N" tells what it ends with."""
    lines = block.text.replace("\\\n", " ").splitlines()
    for index, line in enumerate(lines):
        if block.language == "console" and not line.startswith("$ "):
            continue
        shown: list[str] = []
        if block.language == "console":
            for below in lines[index + 1 :]:
                if below.startswith("$ "):
                    break
                shown.append(below)
        told = re.search(r"# exit code (\d+)", line)
        for part in _parts(line.removeprefix("$ ")):
            yield Command(part, int(told[1]) if told else 0, tuple(shown))


def _parts(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a line: a pipeline's and a list's one by one, without assignments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for token in [*lexer, ";"]:
        if redirected or token in (">", "<", ">>"):
            redirected = not redirected
        elif set(token) <= set(";|&"):
            if words:
                yield tuple(words)
            words = []
        elif words or "=" not in token:
            words.append(token)


def of(program: str) -> list[Any]:
    found = [
        (block, command)
        for block in every_block("console", "sh")
        for command in commands(block)
        if command.words[0] == program
    ]
    assert found, f"no command {program} in the docs"
    return [pytest.param(command, id=f"{block.at} {shlex.join(command.words)}"[:90]) for block, command in found]


def _run(arguments: list[str]) -> Any:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_every_command_is_of_a_program_that_is_looked_at() -> None:
    known = {"securetenant", "make", "kubectl", "pip", "podman", "kind", "export", "set", "test", "grep"}
    known |= {"kustomize", "helm"}
    used = {command.words[0] for block in every_block("console", "sh") for command in commands(block)}
    assert used <= known


@pytest.mark.parametrize("command", of("make"))
def test_make_targets_exist(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in command.words[1:]:
        name, equals, _ = word.partition("=")
        wanted = rf"\$\({name}\)" if equals else rf"^{name}:"
        assert re.search(wanted, makefile, re.MULTILINE), f"the Makefile knows no {word}"


def test_make_targets_in_the_text_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`(?:HOLD=0 )?make ([a-z-]+)", prose(page))) <= targets, page.name


@pytest.mark.parametrize("command", of("kubectl"))
def test_kubectl_is_given_what_exists(command: Command) -> None:
    written = {block.text.partition("\n")[0].removeprefix("# ") for block in every_block("yaml")}
    words = [word for word in command.words[1:] if word not in ("-n", "securetenant-system", "ledger-prod")]
    assert words[0] in KUBECTL
    for flag, value in itertools.pairwise(words):
        if flag in ("-k", "-f") and not value.startswith("-"):
            assert value in written or (ROOT / value).exists(), f"no {value}"
        if flag == "-k":
            assert (ROOT / value / "kustomization.yaml").exists()


@pytest.mark.parametrize("command", of("securetenant"))
def test_securetenant_takes_it(command: Command) -> None:
    group = typer.main.get_command(app)
    known = group.commands  # type: ignore[attr-defined]
    name, *rest = command.words[1:]
    assert name in known, f"there is no command {name}"
    flags = {flag for parameter in known[name].params for flag in parameter.opts} | {"-h", "--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"} <= flags


def runs(command: Command) -> bool:
    """Whether it needs no cluster."""
    words = command.words[1:]
    return words[0] in RUN or (words[0] == "reach" and words[1].startswith("examples/") and "cluster" not in words)


@pytest.mark.parametrize("command", [c for c in of("securetenant") if runs(c.values[0])])
def test_securetenant_does_what_is_shown(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines shown stand in the output, in this order, one after the other up to a line "..."."""
    monkeypatch.chdir(ROOT)
    result = _run([*command.words[1:]])
    assert result.exit_code == command.exit_code, result.output
    shown, output = list(command.shown), result.stdout.splitlines()
    shortened = "..." in shown
    expected = shown[: shown.index("...")] if shortened else shown
    assert expected == output[: len(expected)]
    assert shortened or not shown or len(output) == len(shown)


def test_subcommands_in_the_text_exist() -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for page in PAGES:
        named = set(re.findall(r"`securetenant ([a-z]+)", prose(page)))
        assert named <= known, f"{page.name}: {named - known}"


def test_json_output_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/cli.md tells of --output json."""
    monkeypatch.chdir(ROOT)
    assert json.loads(_run(["validate", "--output", "json", "examples/bank"]).stdout)["errors"] == 0
