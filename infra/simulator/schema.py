"""Provider schemas, rebuilt from the provider bindings that the stacks import.

The bindings are generated from the schemas of the real providers. They hold names, types, nesting, required
arguments and documentation; `facts.py` adds which optional arguments the provider computes.

A schema is a serialized `tfplugin6.Schema` per type, in one SQLite file per provider and version.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import re
import sqlite3
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tf.gen import tfplugin_pb2 as pb

from infra.simulator import facts

Kind = Literal["provider", "resource"]
CtyType = Any
"""A Terraform type in JSON notation: "string", ["list", "string"], ["object", {...}], ..."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_CACHE: Final = _ROOT / "build" / "schemas"
_MAX_DEPTH: Final = 8
"""Recursive blocks end at this depth, which no configuration reaches."""

# Generated JavaScript: functions `XToHclTerraform` hold the arguments, classes the readable attributes.
_FUNCTION: Final = re.compile(r"^function (\w+)ToHclTerraform\(struct[^)]*\) \{\n(.*?)^\}", re.M | re.S)
_SYNTHESIS: Final = re.compile(r"^    synthesizeHclAttributes\(\) \{\n(.*?)^    \}", re.M | re.S)
_ARGUMENT: Final = re.compile(
    r"^ +(\w+): \{\n +value: (.*),\n +isBlock: (\w+),\n +type: \"(\w+)\",\n +storageClassType:", re.M
)
_CLASS: Final = re.compile(r"^class (\w+) extends cdkt[fn]\.(\w+) \{\n(.*?)^\}", re.M | re.S)
_KINDS: Final[Mapping[str, Kind]] = {
    "TerraformProvider": "provider",
    "TerraformResource": "resource",
}
_DATA_SOURCES: Final = ("data-google-", "data-kubernetes-")
_TERRAFORM_TYPE: Final = re.compile(r'tfResourceType = "(\w+)"')
_GETTER: Final = re.compile(
    r"^    get \w+\(\) \{\n(?: +//[^\n]*\n)* +"
    r"return (.*?this\.(get\w+|interpolationForAttribute)\('([^']+)'\).*);",
    re.M,
)
_MEMBER: Final = re.compile(
    r"^ +this\._\w+ = new (?:\w+\.)?(\w+)\(this, \"(\w+)\"(?:, (true|false))?\)", re.M
)
_GETTER_TYPES: Final[Mapping[str, CtyType]] = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
    "getStringMapAttribute": ["map", "string"],
    "getNumberMapAttribute": ["map", "number"],
    "getBooleanMapAttribute": ["map", "bool"],
    "getAnyMapAttribute": "dynamic",
    "interpolationForAttribute": "dynamic",
}
_MEMBER_TYPES: Final[Mapping[str, CtyType]] = {
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
    "AnyMap": ["map", "dynamic"],
    "StringMapList": ["list", ["map", "string"]],
}
_PRIMITIVES: Final[Mapping[str, str]] = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "any": "dynamic",
}
_NESTING: Final = {
    "list": pb.Schema.NestedBlock.LIST,
    "set": pb.Schema.NestedBlock.SET,
    "struct": pb.Schema.NestedBlock.SINGLE,
}

# TypeScript declarations: required arguments and documentation.
_INTERFACE: Final = re.compile(r"^export interface (\w+)[^{\n]*\{\n(.*?)^\}", re.M | re.S)
_PROPERTY: Final = re.compile(r"(?:^    /\*\*\n(.*?)^    \*/\n)?^    readonly (\w+)(\?)?:", re.M | re.S)
_LINK: Final = re.compile(r"^Docs at Terraform Registry:.*?(?:\n\n|\Z)", re.M | re.S)


class SchemaError(Exception):
    """The bindings are not installed, or have an unknown form."""


@dataclass(frozen=True)
class _Argument:
    """An argument of a block."""

    name: str
    camel: str
    block: bool
    nesting: str
    many: bool
    struct: str | None
    primitive: str


@dataclass(frozen=True)
class _Declared:
    """The TypeScript declaration of an argument."""

    required: bool
    documentation: str


def _arguments(body: str) -> Iterator[_Argument]:
    for name, value, block, nesting in _ARGUMENT.findall(body):
        converters = re.findall(r"(\w+?)ToHclTerraform", value)
        struct = next((each for each in converters if each not in _PRIMITIVES), None)
        primitive = next((_PRIMITIVES[each] for each in converters if each in _PRIMITIVES), "dynamic")
        found = re.search(r"(?:struct|this)\._?(\w+)", value)
        if found is None:
            raise SchemaError(f"no property in the generated value `{value}`")
        yield _Argument(
            name=name,
            camel=found[1],
            block=block == "true",
            nesting=nesting,
            many="listMapperHcl" in value,
            struct=struct and struct.lower(),
            primitive=primitive,
        )


class _Module:
    """The generated code of one resource type or provider."""

    def __init__(self, javascript: str, declarations: str) -> None:
        self._functions = {name.lower(): body for name, body in _FUNCTION.findall(javascript)}
        self._classes = {name.lower(): body for name, _, body in _CLASS.findall(javascript)}
        self._interfaces = {name.lower(): body for name, body in _INTERFACE.findall(declarations)}
        self.kind, self._main = next(
            (_KINDS[base], (name, body)) for name, base, body in _CLASS.findall(javascript) if base in _KINDS
        )
        self.type_name = _TERRAFORM_TYPE.findall(javascript)[-1]

    def schema(self) -> pb.Schema:
        name, body = self._main
        synthesis = _SYNTHESIS.search(body)
        return pb.Schema(
            version=0,
            block=self._block(synthesis[1] if synthesis else "", body, f"{name}config".lower(), ()),
        )

    def _block(self, arguments: str, body: str, interface: str, path: tuple[str, ...]) -> pb.Schema.Block:
        block = pb.Schema.Block()
        declared = self._declared(interface)
        readable = self._readable(body)
        written = {argument.name: argument for argument in _arguments(arguments)}
        for name in sorted(written.keys() | readable.keys()):
            argument = written.get(name)
            if argument is None:
                block.attributes.add(
                    name=name,
                    type=json.dumps(readable[name]).encode(),
                    computed=True,
                    sensitive=facts.is_sensitive(self.type_name, (*path, name)),
                )
                continue
            says = declared.get(argument.camel, _Declared(False, ""))
            if argument.block and argument.struct is not None:
                if len(path) < _MAX_DEPTH:
                    block.block_types.append(self._nested(argument, argument.struct, says, (*path, name)))
                continue
            block.attributes.add(
                name=name,
                type=json.dumps(self._argument_type(argument, readable.get(name))).encode(),
                description=says.documentation,
                required=says.required,
                optional=not says.required,
                computed=not says.required
                and facts.is_computed(self.type_name, (*path, name), says.documentation),
                sensitive=facts.is_sensitive(self.type_name, (*path, name)),
                deprecated="@deprecated" in says.documentation,
            )
        return block

    def _nested(
        self, argument: _Argument, struct: str, says: _Declared, path: tuple[str, ...]
    ) -> pb.Schema.NestedBlock:
        single = argument.nesting == "struct"
        written, readable = self._functions.get(struct, ""), self._classes.get(f"{struct}outputreference", "")
        return pb.Schema.NestedBlock(
            type_name=argument.name,
            nesting=_NESTING[argument.nesting],
            min_items=1 if says.required and not single else 0,
            max_items=0 if argument.many or single else 1,
            block=self._block(written, readable, struct, path),
        )

    def _argument_type(self, argument: _Argument, readable: CtyType) -> CtyType:
        if argument.struct is not None:
            members = self._object_type(argument.struct)
            return [argument.nesting, members] if argument.nesting in ("list", "set", "map") else members
        # A free-form document (kubernetes_manifest) is a map in the bindings, a dynamic value in Terraform.
        if argument.primitive == "dynamic" or readable == "dynamic":
            return "dynamic"
        return argument.primitive if argument.nesting == "simple" else [argument.nesting, argument.primitive]

    def _declared(self, interface: str) -> dict[str, _Declared]:
        declared: dict[str, _Declared] = {}
        for comment, name, optional in _PROPERTY.findall(self._interfaces.get(interface, "")):
            lines = (line.strip().removeprefix("*").strip() for line in comment.splitlines())
            declared[name] = _Declared(not optional, _LINK.sub("", "\n".join(lines) + "\n").strip())
        return declared

    def _readable(self, body: str) -> dict[str, CtyType]:
        types: dict[str, CtyType] = {}
        for expression, getter, name in _GETTER.findall(body):
            kind = _GETTER_TYPES[getter]
            types[name] = ["set", kind[1]] if "tolist(" in expression else kind
        for name, attribute, is_set in _MEMBER.findall(body):
            if name in _MEMBER_TYPES:
                types[attribute] = _MEMBER_TYPES[name]
            else:
                struct = re.sub(r"(List|OutputReference)$", "", name).lower()
                types[attribute] = ["set" if is_set == "true" else "list", self._object_type(struct)]
        return types

    @functools.cache  # noqa: B019 -- a module lives as long as its types are read
    def _object_type(self, struct: str) -> CtyType:
        members = self._readable(self._classes.get(f"{struct}outputreference", ""))
        for argument in _arguments(self._functions.get(struct, "")):
            if argument.struct is None:
                members[argument.name] = self._argument_type(argument, members.get(argument.name))
        return ["object", members]


def _bindings(provider: str) -> Path:
    pattern = f"lib/python3*/site-packages/cdktf_cdktf_provider_{provider}/_jsii/*.jsii.tgz"
    found = next((_ROOT / ".venv").glob(pattern), None)
    if found is None:
        raise SchemaError(f"the bindings of provider {provider} are missing in .venv: run `make install`")
    return found


def _modules(archive: Path) -> Iterator[_Module]:
    javascript: defaultdict[str, list[str]] = defaultdict(list)
    declarations: defaultdict[str, list[str]] = defaultdict(list)
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = member.name.split("/")
            if len(parts) < 4 or parts[1] != "lib" or parts[2].startswith(_DATA_SOURCES):
                continue
            data = tar.extractfile(member)
            if data is None:
                continue
            if member.name.endswith(".d.ts"):
                declarations[parts[2]].append(data.read().decode())
            elif member.name.endswith(".js"):
                javascript[parts[2]].append(data.read().decode())
    for folder in sorted(javascript):
        yield _Module("\n".join(javascript[folder]), "\n".join(declarations[folder]))


def _build(archive: Path, target: Path) -> None:
    scratch = target.with_suffix(".part")
    scratch.unlink(missing_ok=True)
    database = sqlite3.connect(scratch)
    database.execute("CREATE TABLE schema (kind TEXT, type TEXT, data BLOB, PRIMARY KEY (kind, type))")
    for module in _modules(archive):
        row = (module.kind, module.type_name, module.schema().SerializeToString())
        database.execute("INSERT INTO schema VALUES (?, ?, ?)", row)
    database.commit()
    database.close()
    scratch.replace(target)


class Schemas:
    """The schemas of one provider; the first use builds them if they are not cached."""

    def __init__(self, provider: str) -> None:
        """Find the bindings.

        Raises:
            SchemaError: they are not installed.
        """
        self._archive = _bindings(provider)

    @functools.cached_property
    def _database(self) -> str:
        digest = hashlib.sha256()
        for source in (Path(__file__), Path(facts.__file__)):
            digest.update(source.read_bytes())
        _CACHE.mkdir(parents=True, exist_ok=True)
        name = self._archive.name.removesuffix(".jsii.tgz").replace("@", "-")
        target = _CACHE / f"{name}-{digest.hexdigest()[:12]}.sqlite"
        if not target.exists():
            with (_CACHE / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # of parallel plans, one builds
                if not target.exists():
                    _build(self._archive, target)
        return f"{target.as_uri()}?mode=ro"

    def _query(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self._database, uri=True)) as database:
            return database.execute(sql, parameters).fetchall()

    def resources(self) -> dict[str, bytes]:
        """The serialized schemas of all resource types, by type."""
        return dict(self._query("SELECT type, data FROM schema WHERE kind = 'resource'"))

    @functools.cache  # noqa: B019 -- as long as the process
    def block(self, kind: Kind, type_name: str) -> pb.Schema.Block:
        """The schema of one type.

        Raises:
            KeyError: there is no such type.
        """
        rows = self._query("SELECT data FROM schema WHERE kind = ? AND type = ?", kind, type_name)
        if not rows:
            raise KeyError(type_name)
        return pb.Schema.FromString(rows[0][0]).block
