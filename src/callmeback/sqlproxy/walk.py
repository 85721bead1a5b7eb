"""One walk over the whole tree of a statement: what it touches, and the first thing in it that is refused.

The walk keeps its own stack, so that no depth of a tree can exhaust Python's.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from callmeback.sqlproxy import functions, grammar, relations

Node = Mapping[str, Any]
Scope = frozenset[str]
Stack = list[tuple[str, Node, Scope]]

# Nodes with a rule of their own. Any other node that the grammar doesn't hold is refused as `node`.
REFUSED_NODES: Final = {
    "IntoClause": ("into", "a table would be made; the schema changes by migrations only"),
    "CurrentOfExpr": ("cursor", "cursors outlive the statement; results stream by themselves"),
    "XmlExpr": ("xml", functions.REFUSED["xml"].reason),
    "XmlSerialize": ("xml", functions.REFUSED["xml"].reason),
    "RangeTableFunc": ("xml", functions.REFUSED["xml"].reason),
}
# The queries of a WITH are put on the stack with the names that each of them sees.
WITH: Final = "WithClause"
_PASSED_OVER: Final = (grammar.VALUE, WITH)
# `x.f` calls f(x) where x has no column f. A column may bear these names, and the functions do no harm.
HARMLESS_AS_ATTRIBUTE: Final = frozenset({"xml", "insides"})
SAMPLING: Final = frozenset({"bernoulli", "system"})
_OWN_SCHEMAS_OF_THE_SERVER: Final = (None, relations.CATALOGUE_SCHEMA)


class Refusal(Exception):
    """A statement may not run: the word of the rule, a sentence, and the byte where it was found (or None)."""

    def __init__(self, rule: str, message: str, offset: int | None = None) -> None:
        self.rule = rule
        self.message = message
        self.offset = offset
        super().__init__(message)


class Findings:
    """What a walk has seen: `calls` are the functions that the key was granted, `targets` are byte offsets."""

    def __init__(self, calls: frozenset[str]) -> None:
        self.calls = calls
        self.changes = False
        self.locks = False
        self.calls_own = False
        self.tables: dict[str, None] = {}
        self.functions: dict[str, None] = {}
        self.targets: set[int] = set()

    @property
    def writes(self) -> bool:
        """A function of the application's may change rows, so calling one counts as writing."""
        return self.changes or self.locks or self.calls_own


def walk(kind: str, node: Node, calls: frozenset[str]) -> Findings:
    """See everything below one node, in the order of the text; raises Refusal."""
    found = Findings(calls)
    stack: Stack = [(kind, node, frozenset())]
    while stack:
        kind, node, scope = stack.pop()
        fields = grammar.KINDS.get(kind)
        if fields is None:
            raise _unknown(kind, node)
        below: Stack = []
        if kind in grammar.QUERIES:
            found.changes |= kind in grammar.CHANGES
            scope = _enter(node, scope, below)
        elif kind in _CHECKS:
            _CHECKS[kind](node, scope, found)
        for field, value in node.items():
            sort = fields.get(field)
            if sort == grammar.NODES:
                _put(value, scope, below)
            elif sort is None:
                raise Refusal("node", f"{kind} has a part that the policy doesn't know: {field}", _offset(node))
            elif sort not in _PASSED_OVER:
                below.append((sort, value, scope))
        stack += reversed(below)

    return found


def _put(value: Any, scope: Scope, below: Stack) -> None:
    """Add nodes that have their kind in front; a list may hold nothing in a place."""
    for wrapped in value if isinstance(value, list) else (value,):
        for kind, node in wrapped.items():
            below.append((kind, node, scope))


def _enter(node: Node, scope: Scope, below: Stack) -> Scope:
    """Add the queries of a WITH; answers the names that the rest of the statement sees.

    Without RECURSIVE a query sees only the names before its own (PostgreSQL manual, 7.8).
    """
    clause = node.get("withClause")
    if clause is None:
        return scope
    if not clause.keys() <= grammar.KINDS[WITH].keys():
        raise Refusal("node", "WITH has a part that the policy doesn't know", _offset(clause))
    queries = [query["CommonTableExpr"] for query in clause.get("ctes", ())]
    everything = scope.union(query.get("ctename", "") for query in queries)
    for query in queries:
        below.append(("CommonTableExpr", query, everything if clause.get("recursive") else scope))
        scope |= {query.get("ctename", "")}

    return everything


def _unknown(kind: str, node: Node) -> Refusal:
    rule, reason = REFUSED_NODES.get(kind, ("node", f"{kind} is not a part of SQL that the policy knows"))

    return Refusal(rule, reason, _offset(node))


def _offset(node: Node) -> int | None:
    offset = node.get("location", 0)

    return offset if isinstance(offset, int) and offset >= 0 else None


def names_of(parts: list[Node]) -> list[str]:
    """The words of a dotted name; what isn't a word (a star, a subscript) is left out."""
    return [part["String"].get("sval", "") for part in parts if "String" in part]


def _check_relation(node: Node, scope: Scope, found: Findings) -> None:
    schema, name = node.get("schemaname"), node.get("relname", "")
    reason = relations.refusal_of(schema, name)
    if reason is not None:
        raise Refusal("relation", reason, _offset(node))
    if schema is not None or name not in scope:
        found.tables[f"{schema}.{name}" if schema else name] = None


def _check_target(node: Node, scope: Scope, found: Findings) -> None:
    """The target of a change is always a table, also where a query of a WITH has its name."""
    _check_relation(node, frozenset(), found)
    if "schemaname" not in node:
        offset = _offset(node)
        if not offset:
            raise Refusal("node", "the table that is written to could not be found in the text")
        found.targets.add(offset)


def _check_function(node: Node, scope: Scope, found: Findings) -> None:
    words = names_of(node.get("funcname", []))
    if not words:
        raise Refusal("node", "a function without a name", _offset(node))
    name, schema = words[-1], words[-2] if len(words) > 1 else None
    refused = functions.refusal_of(name)
    if refused is None and schema in _OWN_SCHEMAS_OF_THE_SERVER and name == functions.CURRENT_SETTING:
        refused = _refusal_of_setting(node)
    elif refused is None and not _is_callable(schema, name, found):
        refused = functions.UNLISTED, functions.UNLISTED_REASON
    if refused is not None:
        rule, reason = refused
        raise Refusal(rule, f"function {name} may not be called: {reason}", _offset(node))
    found.functions[name] = None


def _is_callable(schema: str | None, name: str, found: Findings) -> bool:
    """PostgreSQL looks in pg_catalog first; anywhere else only what the key was granted."""
    is_own = name in found.calls and (schema is None or not schema.startswith(relations.SYSTEM_PREFIX))
    found.calls_own |= is_own
    if schema == relations.INFORMATION_SCHEMA:
        return name.startswith("_pg_") and name in functions.CALLABLE

    return is_own or (schema in _OWN_SCHEMAS_OF_THE_SERVER and name in functions.CALLABLE)


def _refusal_of_setting(node: Node) -> tuple[str, str] | None:
    """current_setting may be asked for settings from the list, by a constant."""
    arguments = node.get("args", [])
    constant = arguments[0].get("A_Const", {}).get("sval", {}) if arguments else {}
    if constant.get("sval", "").lower() in functions.READABLE_SETTINGS:
        return None

    return "settings", "only some settings are readable, named by a constant"


def _check_column(node: Node, scope: Scope, found: Findings) -> None:
    _check_attributes(names_of(node.get("fields", []))[1:], node, found)


def _check_indirection(node: Node, scope: Scope, found: Findings) -> None:
    _check_attributes(names_of(node.get("indirection", [])), node, found)


def _check_attributes(names: list[str], node: Node, found: Findings) -> None:
    """`(x).f` and `x.f` may call f(x): PostgreSQL's manual, 8.16.5, says so for rows, and it works for any value."""
    for name in names:
        refused = functions.refusal_of(name)
        if refused is None and name == functions.CURRENT_SETTING:
            refused = "settings", functions.REFUSED["settings"].reason
        if refused is not None and refused[0] not in HARMLESS_AS_ATTRIBUTE:
            raise Refusal(refused[0], f"function {name} may not be called: {refused[1]}", _offset(node))
        if name in found.calls:
            found.calls_own = True
            found.functions[name] = None


def _check_sample(node: Node, scope: Scope, found: Findings) -> None:
    words = names_of(node.get("method", []))
    if words[-1:] and words[-1] in SAMPLING and words[:-1] in ([], [relations.CATALOGUE_SCHEMA]):
        return
    raise Refusal(functions.UNLISTED, f"function {'.'.join(words)} may not sample a table", _offset(node))


def _check_locking(node: Node, scope: Scope, found: Findings) -> None:
    found.locks = True


_CHECKS: Final[dict[str, Callable[[Node, Scope, Findings], None]]] = {
    "RangeVar": _check_relation,
    "Target": _check_target,
    "FuncCall": _check_function,
    "ColumnRef": _check_column,
    "A_Indirection": _check_indirection,
    "RangeTableSample": _check_sample,
    "LockingClause": _check_locking,
}
