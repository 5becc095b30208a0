"""Reading files: documents, Lists, lines, and what is refused."""

import json
from pathlib import Path

import pytest

from securetenant.cli.documents import Document, Found, Unreadable, read
from tests.support.reading import parse, problems

TENANT = "apiVersion: securetenant.dev/v1alpha1\nkind: SecureTenant\nmetadata: {name: %s}\n"


def written(folder: Path, text: str, name: str = "t.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def fault(folder: Path, text: str) -> tuple[int, str]:
    found = read([written(folder, text)])
    (one,) = found.faults
    return one.line, one.message


def names(found: Found) -> list[str]:
    return [document.name for document in found.documents]


def test_several_documents_and_other_kinds(tmp_path: Path) -> None:
    text = f"---\n{TENANT % 'a'}---\n---\nkind: ConfigMap\n---\njust text\n---\n{TENANT % 'b'}"
    found = read([written(tmp_path, text)])
    assert names(found) == ["a", "b"]
    assert found.others == 2
    assert [document.line for document in found.documents] == [2, 11]


@pytest.mark.parametrize("kind", ["List", "SecureTenantList"])
def test_items_of_a_list(tmp_path: Path, kind: str) -> None:
    text = f"""\
apiVersion: {"v1" if kind == "List" else "securetenant.dev/v1alpha1"}
kind: {kind}
items:
- apiVersion: securetenant.dev/v1alpha1
  kind: SecureTenant
  metadata:
    name: a
- apiVersion: securetenant.dev/v1alpha1
  kind: SecureTenant
  metadata:
    name: b
"""
    found = read([written(tmp_path, text)])
    assert names(found) == ["a", "b"]
    assert found.documents[1].line == 8
    assert found.documents[1].mark("metadata.name").line == 11


def test_a_folder_is_searched_in_order_and_each_file_is_read_once(tmp_path: Path) -> None:
    for name in ("b/x.yml", "a.yaml", "c.json", ".hidden/y.yaml", "notes.txt"):
        written(tmp_path, json.dumps({"apiVersion": "securetenant.dev/v1alpha1", "metadata": {"name": name}}), name)
    found = read([str(tmp_path), str(tmp_path / "a.yaml")])
    assert names(found) == ["a.yaml", "c.json", "b/x.yml"]
    assert found.files == 3


@pytest.mark.parametrize("version", ["securetenant.dev/v1alpha1", "securetenant.dev/v9"])
def test_a_misspelt_kind_or_version_is_ours(version: str) -> None:
    assert Document("x", {"apiVersion": version, "kind": "SecureTenent"}, 1).is_ours


def test_marks_lead_to_the_key_and_to_the_nearest_parent(tmp_path: Path) -> None:
    text = TENANT % "a" + "spec:\n  namespaces:\n  - name: shop\n    labels:\n      example.com/a: b\n"
    (document,) = parse(text, "t")
    assert document.mark("spec.namespaces[0].name").line == 6
    assert document.mark("spec.namespaces[0].labels[example.com/a]").line == 8
    assert document.mark("spec.namespaces[0].quota[requests.cpu]").line == 6
    assert document.mark("spec.nodes.selector").line == 4
    assert document.mark("").line == 1


def test_paths_are_written_as_the_models_write_them() -> None:
    text = TENANT % "a" + "spec:\n  namespaces:\n  - name: shop\n    labels:\n      example.com/a: 1\n"
    (document,) = parse(text, "t")
    (problem,) = problems(document.body)
    assert document.mark(problem.path).line == 8


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice in one mapping, first in line 1", id="twice"),
        pytest.param("a:\n  b: 2\n  b: 3\n", 3, "'b' stands twice", id="twice-within"),
        pytest.param("a: !!python/object/apply:os.system [id]\n", 1, "tag", id="python-tag"),
        pytest.param("a: !custom x\n", 1, "tag '!custom' is refused", id="custom-tag"),
        pytest.param("a: !!binary aGk=\n", 1, "refused", id="binary"),
        pytest.param("a: !!int x\n", 1, "refused", id="tag-that-does-not-fit"),
        pytest.param("ok: 1\na: [1, 2\n", 3, "not YAML", id="syntax"),
        pytest.param("a:\n\t- b\n", 2, "not YAML", id="tab"),
        pytest.param("a: {{ .Values.x }}\n", 1, "a key must be text", id="template"),
        pytest.param("a: &a [*a]\n", 1, "an anchor holds itself", id="cycle"),
        pytest.param("a: *nowhere\n", 1, "not YAML", id="unknown-anchor"),
        pytest.param("a: " + "[" * 200 + "]" * 200, 1, "nested deeper", id="deep"),
        pytest.param("a: 1\n<<: 3\n", 2, "<< must stand before a mapping", id="merge-of-a-number"),
    ],
)
def test_refused(tmp_path: Path, text: str, line: int, said: str) -> None:
    at, message = fault(tmp_path, text)
    assert said in message
    assert at == line


def test_a_bomb_of_anchors_is_refused(tmp_path: Path) -> None:
    text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert "too many values" in fault(tmp_path, text)[1]


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    written(tmp_path, "a: [", "bad.yaml")
    written(tmp_path, TENANT % "good", "good.yaml")
    found = read([str(tmp_path)])
    assert names(found) == ["good"]
    assert len(found.faults) == 1


def test_anchors_and_merges() -> None:
    (document,) = parse("base: &b {x: 1, z: 2}\nmade:\n  <<: *b\n  z: 3\nkind: k\n", "t")
    assert document.body["made"] == {"x": 1, "z": 3}
    assert document.mark("made.z").line == 4


@pytest.mark.parametrize(
    "text", ['{\t"a": {"kind": "x"}}', '{"a": "\\ud83d\\ude00"}'], ids=["tabs-between", "surrogate-pair"]
)
def test_json_that_is_no_yaml(text: str) -> None:
    (document,) = parse(text, "t.json")
    assert document.body == json.loads(text)


def test_json_with_a_key_twice(tmp_path: Path) -> None:
    assert "twice" in fault(tmp_path, '{\t"a": 1, "a": 2}')[1]


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    (tmp_path / "empty").mkdir()
    for path, said in (("none.yaml", "No such file"), ("latin.yaml", "not UTF-8"), ("empty", "no file below")):
        with pytest.raises(Unreadable, match=said):
            read([str(tmp_path / path)])
