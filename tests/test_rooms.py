"""Who may know whom: the imports of every module, read from its source; and the order of tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONGEST_FILES

ROOT = Path(__file__).resolve().parents[1]


def modules(*rooms: str) -> list[Path]:
    return sorted(file for room in rooms for file in (ROOT / room).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Full names of the modules, and of what is imported from them."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def knows(file: Path, *rooms: str) -> set[str]:
    return {name for name in imported(file) if any(f"{name}.".startswith(f"{room}.") for room in rooms)}


def test_there_is_something_to_look_at() -> None:
    assert len(modules("infra", "stacks", "services")) > 40
    assert knows(ROOT / "stacks" / "data.py", "infra.google.bucket") == {
        "infra.google.bucket",
        "infra.google.bucket.Bucket",
    }


@pytest.mark.parametrize("file", modules("services"), ids=lambda file: str(file.relative_to(ROOT)))
def test_services_know_no_infrastructure(file: Path) -> None:
    assert not knows(file, "infra", "stacks", "scripts")


@pytest.mark.parametrize("file", modules("infra"), ids=lambda file: str(file.relative_to(ROOT)))
def test_infra_knows_no_stack(file: Path) -> None:
    assert not knows(file, "stacks", "scripts")
    assert knows(file, "services") == knows(file, "services.contracts")


@pytest.mark.parametrize("file", modules("stacks"), ids=lambda file: str(file.relative_to(ROOT)))
def test_stacks_know_infra_and_contracts(file: Path) -> None:
    assert knows(file, "services") == knows(file, "services.contracts")
    assert not knows(file, "scripts")


def test_nothing_that_is_deployed_knows_the_simulator() -> None:
    constructs = [file for file in modules("infra") if "simulator" not in file.parts]
    knowing = [file for file in [*constructs, *modules("stacks")] if knows(file, "infra.simulator")]
    assert knowing == [ROOT / "stacks" / "__main__.py"]  # which links it into what was synthesized


def test_one_module_imports_the_bindings() -> None:
    """Anyone else who did, first, would switch the fast path off."""
    bindings = (
        "cdktf",
        "constructs",
        "jsii",
        "cdktf_cdktf_provider_google",
        "cdktf_cdktf_provider_kubernetes",
    )
    knowing = [file for file in modules("infra", "stacks", "services") if knows(file, *bindings)]
    assert knowing == [ROOT / "infra" / "cdk" / "__init__.py"]


def test_the_files_that_tests_start_with_exist() -> None:
    assert len(set(LONGEST_FILES)) == len(LONGEST_FILES)
    assert [file for file in LONGEST_FILES if not (ROOT / "tests" / file).exists()] == []
