"""What the provider bindings do not tell about resource types.

Facts about the real providers, read off their documentation and behaviour: which arguments they fill in
themselves, and which changes they cannot make in place.
"""

import re
from collections.abc import Mapping
from typing import Final

from tf.gen import tfplugin_pb2 as pb

_COMPUTED: Final = frozenset({"id", "project", "region", "zone"})
_COMPUTED_PHRASES: Final = re.compile(
    r"if (it is |this is |this field is )?(not (provided|specified|set)|unspecified|left blank|blank|omitted)"
    r"|assigned automatically|automatically (assign|generat|determin|choos|select)"
    r"|chosen by|will be (generated|assigned)",
    re.IGNORECASE,
)
_REPLACE: Final = frozenset({"name", "project", "location", "region", "zone", "account_id"})
_REPLACE_PHRASES: Final = re.compile(
    r"forces? (a new|re-?creation|replacement|the .{0,40} to be re-?created)|"
    r"(changing|updating) this.{0,40}(re-?creat|replac)|cannot be (changed|updated|modified)|immutable|"
    r"can't modify",
    re.IGNORECASE,
)
_KUBERNETES_REPLACE: Final = frozenset({"metadata.name", "metadata.namespace", "metadata.generate_name"})
_REPLACE_IN: Final[Mapping[str, frozenset[str]]] = {}


def is_computed(type_name: str, path: tuple[str, ...], documentation: str) -> bool:
    """Whether the provider fills in an optional argument that is not configured."""
    return (len(path) == 1 and path[0] in _COMPUTED) or bool(_COMPUTED_PHRASES.search(documentation))


def is_computed_block(type_name: str, path: tuple[str, ...], block: pb.Schema.NestedBlock) -> bool:
    """Whether the provider fills in a nested block that is not configured."""
    return block.max_items == 1 and any(
        each.computed and not each.optional for each in block.block.attributes
    )


def forces_replacement(type_name: str, path: tuple[str, ...], documentation: str) -> bool:
    """Whether a change of this argument needs a new resource."""
    dotted = ".".join(path)
    if type_name in _REPLACE_IN:
        return dotted in _REPLACE_IN[type_name]
    if type_name.startswith("kubernetes_"):
        return dotted in _KUBERNETES_REPLACE
    return dotted in _REPLACE or bool(_REPLACE_PHRASES.search(documentation))
