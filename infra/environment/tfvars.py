"""Read a `.tfvars` file: plain values with the line of every key, and every fault of the text itself.

Terraform accepts only constant values there, and so does this reader: an expression is a fault, not a value.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hcl2
from hcl2.rules.base import AttributeRule, BlockRule, StartRule
from hcl2.rules.containers import ObjectRule, TupleRule
from hcl2.rules.expressions import ExprTermRule, UnaryOpRule
from hcl2.rules.literal_rules import FloatLitRule, IntLitRule, LiteralValueRule
from hcl2.rules.strings import StringRule
from hcl2.utils import SerializationOptions
from lark.exceptions import UnexpectedInput

Key = tuple[str | int, ...]
"""Path of a value: `("node_pool", "max_nodes")`, `("zones", 0)`."""

_PLAIN = SerializationOptions(
    strip_string_quotes=True, with_comments=False, preserve_scientific_notation=False
)


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong with a file."""

    file: Path
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: "
        return where + (f"{self.key}: " if self.key else "") + self.message


@dataclass
class Document:
    """The content of a file.

    Attributes:
        values: plain values; None for a value that cannot be used.
        lines: line of every key.
        faults: faults found while reading.
        faulty: keys whose values cannot be used; the empty key stands for the whole file.
    """

    file: Path
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    lines: dict[Key, int] = field(default_factory=dict[Key, int])
    faults: list[Fault] = field(default_factory=list[Fault])
    faulty: set[Key] = field(default_factory=set[Key])

    def fault(self, key: Key, message: str) -> Fault:
        """A fault at a key; its line is that of the key or, without one, of the closest object around it."""
        name = ".".join(map(str, key))
        while key and key not in self.lines:
            key = key[:-1]
        return Fault(self.file, self.lines.get(key, 1), name, message)

    def refuse(self, key: Key, message: str) -> None:
        """Record that the value of this key cannot be used."""
        self.faults.append(self.fault(key, message))
        self.faulty.add(key)


def read(file: Path) -> Document:
    """Parse a file; an OSError if it cannot be read."""
    document = Document(file)
    try:
        start: StartRule = hcl2.parses(file.read_text(encoding="utf-8"))
    except UnexpectedInput as error:
        document.lines[()] = max(error.line, 1)
        document.refuse((), f"not HCL: unexpected text at column {max(error.column, 1)}")
        return document
    except UnicodeDecodeError as error:
        document.refuse((), f"not UTF-8 text: byte {error.start}")
        return document
    for child in start.body.children:
        if isinstance(child, AttributeRule):
            _assign(document, document.values, (child.identifier.serialize(_PLAIN),), child)
        elif isinstance(child, BlockRule):
            name = child.labels[0].serialize(_PLAIN)
            document.lines[(name,)] = _line(child)
            document.refuse((name,), f"a block; expected a value: {name} = {{ ... }}")
    return document


def _line(rule: Any) -> int:
    return rule._meta.line  # the only place where the library keeps the parser's positions


def _assign(document: Document, target: dict[str, Any], key: Key, assignment: Any) -> None:
    first = document.lines.get(key)
    document.lines[key] = _line(assignment)
    if first is None:
        target[str(key[-1])] = _value(document, key, assignment.expression)
    else:
        document.refuse(key, f"given twice; first on line {first}")


def _value(document: Document, key: Key, expression: Any) -> Any:
    """The plain value of an expression; None, and a fault in the document, if it has none."""
    inner = expression.expression if isinstance(expression, ExprTermRule) else expression
    if isinstance(inner, ObjectRule):
        elements: dict[str, Any] = {}
        for element in inner.elements:
            _assign(document, elements, (*key, str(element.key.serialize(_PLAIN))), element)
        return elements
    if isinstance(inner, TupleRule):
        document.lines |= {(*key, index): _line(item) for index, item in enumerate(inner.elements)}
        return tuple(_value(document, (*key, index), item) for index, item in enumerate(inner.elements))
    if _is_constant(inner):
        return inner.serialize(_PLAIN)
    document.refuse(key, f"expected a plain value, found the expression {expression.serialize(_PLAIN)}")
    return None


def _is_constant(rule: Any) -> bool:
    if isinstance(rule, UnaryOpRule):
        operand = rule.expr_term.expression
        return rule.operator == "-" and isinstance(operand, IntLitRule | FloatLitRule)
    if isinstance(rule, StringRule):
        return all(part.content.lark_name() == "STRING_CHARS" for part in rule.string_parts)
    return isinstance(rule, IntLitRule | FloatLitRule | LiteralValueRule)
