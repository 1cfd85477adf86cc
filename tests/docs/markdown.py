"""What the documents say: commands of their shell blocks, words in backticks, links and anchors."""

import dataclasses
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import REPOSITORY

OF_SITE = sorted((REPOSITORY / "docs").glob("*.md"))
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", ".github/SECURITY.md")),
    *OF_SITE,
]

# What tests/newcomer runs on a platform that is up.
ON_A_PLATFORM = ("curl", "scripts/publish", "scripts/watch", "scripts/replay", "scripts/drain_time")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of a shell block.

    Attributes:
        text: for a shell.
        comment: what stands beside it.
        document: where it is.
    """

    text: str
    comment: str
    document: Path

    def __str__(self) -> str:
        return f"{self.document.stem}: {self.text}"

    @property
    def variables(self) -> dict[str, str]:
        """Variables set before the command."""
        return dict(word.split("=", 1) for word in self._split()[0])

    @property
    def words(self) -> list[str]:
        return self._split()[1]

    def _split(self) -> tuple[list[str], list[str]]:
        words = shlex.split(self.text)
        start = next(index for index, word in enumerate(words) if not re.fullmatch(r"[A-Z_]+=.*", word))
        return words[:start], words[start:]

    def starts(self, *words: str) -> bool:
        return self.words[: len(words)] == list(words)


def blocks(document: Path, language: str) -> list[str]:
    """The content of a document's fenced blocks of a language, also of those in lists."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", document.read_text(), re.M | re.S)
    return [textwrap.dedent(each) for each in found]


def commands() -> Iterator[Command]:
    for document in DOCUMENTS:
        for block in blocks(document, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                text, _, comment = line.partition(" # ")
                yield Command(text.strip(), comment.strip(), document)


def prose(document: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.M | re.S)


def spans(document: Path) -> list[str]:
    """Words in backticks."""
    return re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", prose(document))


def anchors(document: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(document), re.M):
        text = re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        assert anchor not in found, f"{document.name} has two headings for #{anchor}"
        found.add(anchor)
    return found
