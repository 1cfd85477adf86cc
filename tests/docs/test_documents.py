"""The documents fit the repository: links, anchors, files, keys, commands in the text, generated tables."""

import ast
import json
import re
import textwrap
from pathlib import Path
from urllib.parse import unquote

import pytest

from infra.environment import Environment, tfvars
from infra.environment.value_types import Section
from tests.conftest import REPOSITORY
from tests.docs import environment_reference
from tests.docs.markdown import DOCUMENTS, OF_SITE, anchors, blocks, prose, spans
from tests.test_rooms import knows, modules

by_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)


def test_the_readme_is_short_and_leads_to_every_document() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    for document in OF_SITE:
        assert f"](docs/{document.name})" in text


@by_document
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"]\(([^)\s]+)\)", prose(document))
    for link in (each for each in links if not each.startswith(("https://", "http://"))):
        path, _, anchor = unquote(link).partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name}: {link}"
        # The site has nothing but docs/.
        assert target.is_relative_to(document.parent if document in OF_SITE else REPOSITORY)
        if anchor:
            assert anchor in anchors(target), f"{document.name}: {link}"


@by_document
def test_blocks_of_code_can_be_parsed(document: Path, tmp_path: Path) -> None:
    known = {"bash", "hcl", "json", "mermaid", "python", ""}
    assert {*re.findall(r"^```(\w*)$", document.read_text(), re.M)} <= known
    for block in blocks(document, "python"):
        ast.parse(textwrap.dedent(block))
    for block in blocks(document, "hcl"):
        file = tmp_path / "block.tfvars"
        file.write_text(block)
        assert tfvars.read(file).faults == []
    for block in blocks(document, "json"):
        text = block.strip()
        while text:
            _, end = json.JSONDecoder().raw_decode(text)
            text = text[end:].lstrip()


@by_document
def test_files_that_are_named_exist(document: Path) -> None:
    tops = {file.name for file in REPOSITORY.iterdir() if file.is_dir()} - {"build", "node_modules", ".local"}
    for span in spans(document):
        path = re.split(r"[\s:#(]", span, maxsplit=1)[0]
        if "/" not in path or path.split("/")[0] not in tops or re.search(r"[<>A-Z{]", path):
            continue
        assert list(REPOSITORY.glob(path.rstrip("/"))), f"{document.name}: {span}"


@by_document
def test_commands_in_the_text_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    for span in spans(document):
        words = span.split()
        if words[0] == "make":
            named = [word for word in words[1:] if re.fullmatch("[a-z-]+", word)]
            assert set(named) <= targets, f"{document.name}: {span}"
        if words[:2] == ["python", "-m"]:
            module = REPOSITORY / words[2].replace(".", "/")
            assert module.with_suffix(".py").exists() or module.is_dir() or "<" in words[2], span


@by_document
def test_keys_that_are_named_are_those_of_environment_files(document: Path) -> None:
    for span in spans(document):
        first, *rest = span.split(" = ")[0].split(".")
        if (
            not rest
            or first not in Environment.model_fields
            or not all(re.fullmatch(r"\w+", each) for each in rest)
            or (first == "services" and rest[0] != "NAME")  # a module
        ):
            continue
        section = _section(Environment, first)
        if section is None or rest == ["py"]:
            continue
        rest = [key for key in rest if key != "NAME"]
        for index, key in enumerate(rest):
            assert section is not None
            assert key in section.model_fields, f"{document.name}: {span}"
            section = _section(section, key) if index < len(rest) - 1 else None


def _section(section: type[Section], key: str) -> type[Section] | None:
    """The section at a key of another one."""
    found = [each for each, _ in environment_reference.sections_of(section.model_fields[key].annotation)]
    return found[0] if found else None


def test_rooms_import_what_the_table_of_rooms_says() -> None:
    section = (REPOSITORY / "docs" / "architecture.md").read_text().split("\n## Rooms\n")[1].split("\n## ")[0]
    rows = [re.findall(r"[^|]+", line) for line in section.splitlines() if line.startswith("| `")]
    rooms = {
        room: set(re.findall("`([^`]+)`", allowed))
        for first, _, allowed in rows
        if "every other room" not in allowed
        for room in re.findall("`([^`]+)`", first)
    }
    for room, allowed in rooms.items():
        files = modules(room) if "/" in room else (REPOSITORY / room).glob("*.py")
        for file in {*files} - {REPOSITORY / "stacks" / "__main__.py"}:
            names = knows(file, "infra", "stacks", "services", "scripts")
            found = {_room(name) for name in names if "." in name}
            assert found - {room} <= allowed, f"{file} imports what `{room}` may not"
    folders = {
        f"{file.parent.parent.name}/{file.parent.name}" for file in REPOSITORY.glob("[is]*/*/__init__.py")
    }
    assert {each for each in folders if not each.startswith("scripts/")} <= rooms.keys()


def _room(module: str) -> str:
    """The room of a module: its folder below infra or services, else the folder at the top."""
    top, *rest = module.split(".")
    return f"{top}/{rest[0]}" if rest and (REPOSITORY / top / rest[0]).is_dir() else top


def test_the_reference_of_environment_files_is_current() -> None:
    document = environment_reference.DOCUMENT.read_text()
    assert document == environment_reference.document(document), "run `make docs`"


def test_the_reference_has_every_key() -> None:
    text = environment_reference.tables()
    for example in (
        '| `cloud` | `"google"`, `"simulated"` | required |',
        "| `max_nodes` | integer, 1 to 1000 | required |",
        '| `days` | list of: `"MO"`, `"TU"`',
        "| `encryption` | true or false | `false` |",
        "| `retention_days` | integer, 1 to 31 | `7` |",
        "## `cluster.maintenance.exclusions[]`",
        "## `cluster.general`, `cluster.spot`",
    ):
        assert example in text, example


def test_the_picture_is_text() -> None:
    picture = REPOSITORY / "docs" / "page.svg"
    assert picture.stat().st_size < 150_000
    assert picture.read_text().startswith("<svg ")
