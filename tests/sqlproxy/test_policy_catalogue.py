"""The policy's lists against PostgreSQL's own catalogue and grammar: whatever is new there needs a decision here."""

from collections.abc import Iterator

import psycopg
import pytest
from pglast import ast

from callmeback.sqlproxy import functions, grammar, policy, relations
from callmeback.sqlproxy.walk import REFUSED_NODES

Connection = psycopg.Connection[tuple[str, ...]]

# Functions that nothing but PostgreSQL calls: behind operators, types, indexes, aggregates, conversions, triggers. They
# need no decision one by one, for they are on no list.
FUNCTIONS = """
WITH plumbing (id) AS (
    SELECT unnest(ARRAY[oprcode, oprrest, oprjoin])::oid FROM pg_operator
    UNION SELECT unnest(ARRAY[typinput, typoutput, typreceive, typsend, typmodin, typmodout, typanalyze])::oid
    FROM pg_type
    UNION SELECT unnest(ARRAY[typsubscript])::oid FROM pg_type
    UNION SELECT amproc::oid FROM pg_amproc
    UNION SELECT amhandler::oid FROM pg_am
    UNION SELECT unnest(ARRAY[
        aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn
    ])::oid FROM pg_aggregate
    UNION SELECT prosupport::oid FROM pg_proc
    UNION SELECT unnest(ARRAY[rngcanonical, rngsubdiff])::oid FROM pg_range
    UNION SELECT conproc::oid FROM pg_conversion
    UNION SELECT unnest(ARRAY[prsstart, prstoken, prsend, prsheadline, prslextype])::oid FROM pg_ts_parser
    UNION SELECT unnest(ARRAY[tmplinit, tmpllexize])::oid FROM pg_ts_template
    UNION SELECT unnest(ARRAY[lanplcallfoid, laninline, lanvalidator]) FROM pg_language
    UNION SELECT oid FROM pg_proc
    WHERE prorettype IN (
        'trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype, 'language_handler'::regtype,
        'index_am_handler'::regtype, 'table_am_handler'::regtype, 'fdw_handler'::regtype, 'tsm_handler'::regtype,
        'cstring'::regtype
    )
    OR 'internal'::regtype = ANY (proargtypes)
    OR 'cstring'::regtype = ANY (proargtypes)
)
SELECT proname, bool_and(oid IN (SELECT id FROM plumbing))::text
FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace
GROUP BY proname
"""
# Decided by their argument, not by a list.
BY_ARGUMENT = {functions.CURRENT_SETTING}
# Not functions of pg_catalog: keywords, types in the form of a function, and one of information_schema.
OTHER_NAMES = {
    "current_catalog", "current_role", "user", "inet", "json", "jsonb", "regtype", "tsquery", "tsvector", "uuid",
    "_pg_expandarray",
}  # fmt: skip
OF_EXTENSIONS_AND_OLD_MAJORS = {"connectby", "xpath_table", "pg_logdir_ls", "pg_start_backup", "pg_stop_backup", "xid8"}
NEWEST_MAJOR = 18


@pytest.fixture
def catalogue(shared_database_url: str) -> Iterator[Connection]:
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        yield connection


def functions_of(catalogue: Connection) -> dict[str, bool]:
    """Every function of pg_catalog, and whether it is plumbing only."""
    return {name: plumbing == "true" for name, plumbing in catalogue.execute(FUNCTIONS)}


def test_every_function_is_allowed_or_refused_with_a_reason(catalogue: Connection):
    undecided = {
        name
        for name, plumbing in functions_of(catalogue).items()
        if not plumbing and name not in functions.CALLABLE and functions.refusal_of(name) is None
    }

    assert undecided == BY_ARGUMENT


def test_no_function_is_on_both_lists():
    refused = {name for group in functions.REFUSED.values() for name in group.names.split()}

    assert not functions.CALLABLE & refused
    assert {name for name in functions.CALLABLE if functions._PATTERNS.match(name)} == set()
    for groups in (functions.ALLOWED.values(), (group.names for group in functions.REFUSED.values())):
        names = [name for group in groups for name in group.split()]
        assert len(names) == len(set(names))


def test_listed_functions_exist(catalogue: Connection):
    existing = functions_of(catalogue).keys()
    missing = functions.CALLABLE - existing
    refused = functions._NAMES.keys() - existing

    # The lists are complete for the newest PostgreSQL; an older one lacks some.
    assert missing >= OTHER_NAMES
    if catalogue.info.server_version // 10_000 == NEWEST_MAJOR:
        assert (missing, refused) == (OTHER_NAMES, OF_EXTENSIONS_AND_OLD_MAJORS)


def test_no_function_that_an_operator_or_a_cast_reaches_is_refused_for_harm(catalogue: Connection):
    rows = catalogue.execute(
        "SELECT p.proname FROM pg_operator AS o JOIN pg_proc AS p ON p.oid = o.oprcode"
        " UNION SELECT p.proname FROM pg_cast AS c JOIN pg_proc AS p ON p.oid = c.castfunc"
    )
    refused = {rule for (name,) in rows if (rule := (functions.refusal_of(name) or (None,))[0])}

    assert refused <= {"xml", "insides"}


def test_no_allowed_function_is_reserved_for_some_roles(catalogue: Connection):
    rows = catalogue.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proacl IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0 AND privilege_type = 'EXECUTE')"
    )

    assert not functions.CALLABLE & {name for (name,) in rows}


def test_functions_reserved_for_some_roles_are_refused_with_a_reason(catalogue: Connection):
    rows = catalogue.execute(
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
        " AND (proacl IS NOT NULL OR provolatile = 'v') AND prokind = 'f'"
        " AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'language_handler'::regtype)"
        " AND NOT 'internal'::regtype = ANY (proargtypes) AND NOT 'cstring'::regtype = ANY (proargtypes)"
    )
    silent = {
        name for (name,) in rows if name not in functions.CALLABLE and functions.refusal_of(name) is None
    } - BY_ARGUMENT

    assert {name for name in silent if not name.endswith(("_validator", "send", "out", "_am_handler"))} == set()


def test_every_relation_of_the_catalogue_is_readable_or_refused_with_a_reason(catalogue: Connection):
    rows = catalogue.execute(
        "SELECT relname FROM pg_class"
        " WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')"
    )
    existing = {name for (name,) in rows}
    known = relations.CATALOGUE | relations._REASONS.keys()

    assert {name for name in existing if not name.startswith(relations.STATISTICS_PREFIX)} <= known
    assert not relations.CATALOGUE & relations._REASONS.keys()
    assert all(name.startswith(relations.SYSTEM_PREFIX) for name in existing)
    if catalogue.info.server_version // 10_000 == NEWEST_MAJOR:
        assert known <= existing


def test_readable_relations_hold_nothing_of_rows_roles_or_sessions(catalogue: Connection):
    """What only some roles may read is never on the list."""
    for name in sorted(relations.CATALOGUE):
        [readable] = catalogue.execute("SELECT has_table_privilege('public', %s, 'SELECT')", (f"pg_catalog.{name}",))
        assert readable == (True,), name


def test_readable_settings_exist_and_hold_no_secret(catalogue: Connection):
    rows = dict(catalogue.execute("SELECT lower(name), context FROM pg_settings").fetchall())
    # "SESSION AUTHORIZATION" and the two of the database are told by SHOW without being listed on every major.
    assert functions.READABLE_SETTINGS - rows.keys() <= {
        "is_superuser",
        "session_authorization",
        "lc_collate",
        "lc_ctype",
    }
    assert all(name == name.lower() for name in functions.READABLE_SETTINGS)


# The grammar


def fields_of(kind: str) -> dict[str, str]:
    """The fields of a node in the parser, with their types."""
    return {name: slot.c_type for name, slot in getattr(ast, kind).__slots__.items()}


PARSED = sorted(grammar.KINDS.keys() - {"Target", "List", "A_Const", "MergeSupportFunc"})


@pytest.mark.parametrize("kind", PARSED)
def test_the_grammar_holds_real_fields_of_the_right_sort(kind: str):
    parsed = fields_of(kind)
    for name, sort in grammar.KINDS[kind].items():
        holds_nodes = parsed.get(name) in ("Node*", "List*", "Expr*")
        if sort == grammar.NODES:
            assert holds_nodes, name
        elif sort != grammar.VALUE:
            assert parsed[name] == f"{'RangeVar' if sort == 'Target' else sort}*", name
        elif name not in grammar.LOCATIONS:
            # Passed over: aliases in a locking clause, and a name that its own check reads.
            assert name in parsed and (not holds_nodes or name in ("lockedRels", "method")), name


def test_the_target_of_a_change_has_the_fields_of_a_table():
    assert grammar.KINDS["Target"] == grammar.KINDS["RangeVar"]


def test_every_statement_has_a_decision():
    statements = {name for name in dir(ast) if name.endswith("Stmt")}
    # Parts of other statements, or of PL/pgSQL, which never stand alone in a text.
    never_alone = {"RawStmt", "PLAssignStmt", "ReturnStmt", "SetOperationStmt", "ReplicaIdentityStmt"}
    judged = grammar.QUERIES | {"ExplainStmt", "VariableShowStmt"}
    undecided = {name for name in statements - judged if grammar.refusal_of(name)[0] == "statement"}

    assert undecided == never_alone
    assert grammar.REFUSED_STATEMENTS.keys() <= statements


def test_nodes_with_a_rule_of_their_own_are_in_no_grammar():
    assert not REFUSED_NODES.keys() & grammar.KINDS.keys()
    assert all(hasattr(ast, kind) for kind in REFUSED_NODES)


def test_an_unknown_node_is_refused(monkeypatch: pytest.MonkeyPatch):
    for kind in ("CaseExpr", "Alias", "A_Const", "Float"):
        kept = {name: shape for name, shape in grammar.KINDS.items() if name != kind}
        monkeypatch.setattr(grammar, "KINDS", kept)
        found = policy.judge("select case when true then 1.5 end as x from a as b", session=False)
        assert (found.rule, found.sqlstate) == ("node", "42501"), kind


def test_an_unknown_field_is_refused(monkeypatch: pytest.MonkeyPatch):
    narrower = {name: sort for name, sort in grammar.KINDS["SelectStmt"].items() if name != "havingClause"}
    monkeypatch.setattr(grammar, "KINDS", {**grammar.KINDS, "SelectStmt": narrower})

    assert policy.judge("select 1 having true", session=False).rule == "node"
    assert policy.judge("select 1", session=False).rule is None
