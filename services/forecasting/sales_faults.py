"""Reports of faults in sales data."""

from dataclasses import dataclass

SHOWN = 5
"""Rows named of each kind of fault."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault: in which column, how often, and the first of them with their rows."""

    column: str
    problem: str
    total: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.column}: {self.problem}"]
        if self.examples:
            lines[0] += f" ({self.total})"
            lines += [f"  {example}" for example in self.examples]
        if self.examples and self.total > len(self.examples):
            lines.append(f"  and {self.total - len(self.examples)} more")
        return "\n".join(lines)


class DataError(Exception):
    """A file cannot be used; nothing of it was loaded."""

    def __init__(self, name: str, faults: list[Fault]):
        self.faults = tuple(faults)
        total = sum(fault.total for fault in faults)
        report = "\n".join(f"  {line}" for fault in faults for line in str(fault).splitlines())
        super().__init__(f"{name}: {total} fault{'s' * (total > 1)}, nothing was loaded\n{report}")
