"""What no file of ours may hold: SQL outside its files, work left for later, unexplained exceptions, machine places."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sources import ROOT, calls, files, lines, modules, none, python_files, short, text_of, texts, tree_of

# Literals that begin like a statement and are none, each with the reason.
NO_STATEMENTS: dict[str, str] = {}

_OBJECT = (
    r"(?:table|index|view|function|procedure|role|user|database|schema|trigger|policy|type|domain|extension|sequence|"
    r"materialized|publication|subscription|system|tablespace)"
)
# In any case where the words can't be prose.
_STATEMENT = re.compile(
    rf"""\s*(?:--[^\n]*\n\s*)*(?:
      select\s+(?:[\w.*"()%,\s]+\sfrom\s+[\w."]+\s*(?:;|\Z|as\s|where\s|join\s|order\s|limit\s|\n)|\d+\s*;?\s*\Z|\w+\s*\()
    | insert\s+into\s+\w | update\s+(?:only\s+)?[\w."]+\s+(?:as\s+\w+\s+)?set\s | delete\s+from\s+\w
    | merge\s+into\s+\w | with\s+(?:recursive\s+)?\w+\s*(?:\([\w,\s]*\)\s*)?as\s+(?:not\s+materialized\s+)?\(
    | create\s+(?:or\s+replace\s+|unique\s+|temp\w*\s+|unlogged\s+)*{_OBJECT}\s+(?:if\s+not\s+exists\s+)?[\w"%{{]
    | (?:alter|drop)\s+{_OBJECT}\s+(?:if\s+exists\s+)?[\w"%{{]+ | truncate\s+(?:table\s+)?\w+\s*(?:,|;|cascade|\Z)
    | (?:grant|revoke)\s+[\w,\s()]+\son\s | copy\s+[\w."(]+.*\s(?:to|from)\s+(?:stdin|stdout|program|')
    | set\s+(?:local\s+|session\s+)?[a-z_.]+\s*(?:=|\sto\s)\s*\S | lock\s+table\s | comment\s+on\s+{_OBJECT}
    | do\s+\$ | explain\s+(?:\(|analyze\b|select\b) | refresh\s+materialized\s | values\s*\(
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# In upper case a keyword and a second word are enough, also for a piece of a statement.
_PIECE = re.compile(
    r"\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|GRANT|REVOKE|TRUNCATE|COPY|VACUUM|ANALYZE|REINDEX|EXPLAIN|"
    r"BEGIN|COMMIT|ROLLBACK|START|SAVEPOINT|SET|RESET|SHOW|LISTEN|NOTIFY|DECLARE|FETCH|PREPARE|EXECUTE|DEALLOCATE|"
    r"DISCARD|CHECKPOINT|WHERE|AND|ORDER BY|GROUP BY|LIMIT|RETURNING|FROM|LEFT JOIN|INNER JOIN|ON CONFLICT)"
    r"\s+[A-Za-z_\"'(*$%{]"
)


def looks_like_sql(text: str) -> bool:
    """Whether a literal begins as a statement or as a piece of one."""
    return bool(_STATEMENT.match(text) or _PIECE.match(text))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "select id from users where id = %s",
        "  INSERT INTO users VALUES (1)",
        "update users set name = 'x'",
        "delete from calls",
        "WITH live AS (SELECT 1) SELECT * FROM live",
        "CREATE DATABASE {}",
        "drop table if exists users",
        "SET LOCAL lock_timeout = '4s'",
        "BEGIN READ ONLY",
        " WHERE user_id = ",
        "ORDER BY created_at",
        "-- a comment\nSELECT now()",
        "select pg_sleep(1)",
    ],
)
def test_sql_is_recognised(text: str):
    assert looks_like_sql(text)


@pytest.mark.parametrize(
    "text",
    [
        "Select a persona from the list of cards",
        "Update your budget",
        "Delete this persona?",
        "Create the roles of a cluster",
        "Set by an operator",
        "With a key, the real vendor is used",
        "Call me",
        "BEGIN",
        "Show the last calls",
        "Drop a connection after so many seconds",
        "Grant the role of admin",
    ],
)
def test_prose_is_no_sql(text: str):
    assert not looks_like_sql(text)


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is no docstring; the fixed parts of an f-string one by one."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree_of(path))
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            if isinstance(node.value, str):
                yield node.lineno, node.value
            elif isinstance(node.value, bytes):
                yield node.lineno, node.value.decode("latin-1")


def test_sql_stands_in_sql_files():
    none(
        f"{short(path)}:{line} {literal.strip()[:60]!r}"
        for path in modules()
        for line, literal in literals(path)
        if looks_like_sql(literal) and not literal.strip().startswith(tuple(NO_STATEMENTS))
    )


def test_exceptions_for_literals_are_still_needed():
    present = [literal.strip() for path in modules() for _, literal in literals(path) if looks_like_sql(literal)]

    none(known for known in NO_STATEMENTS if not any(text.startswith(known) for text in present))


# Put together here, so that this file passes its own rules.
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")


def test_nothing_is_left_for_later():
    none(f"{place} {line.strip()[:80]}" for place, line in lines(texts()) if UNFINISHED.search(line))


_LINT = "no" + "qa"
_TYPE = "type: ig" + "nore"
SUPPRESSION = re.compile(
    rf"(?:#|--|//|/\*)\s*(?P<check>{_LINT}\b|{_TYPE}|pragma: no \w+|no{'sec'}\b|eslint-disable[\w-]*)"
    r"(?P<rules>:\s*[A-Z]+[0-9]*(?:,\s*[A-Z]+[0-9]*)*|\[[\w,\s-]+\])?(?P<reason>.*)"
)


def suppression_problem(line: str) -> str | None:
    """What is wrong with a suppressed check in this line, if there is one: it names no rule, or gives no reason."""
    match = SUPPRESSION.search(line)
    if match is None:
        return None
    if match["rules"] is None and match["check"] in (_LINT, _TYPE):
        return "names no rule"

    return None if len(re.findall(r"[A-Za-z']{2,}", match["reason"])) >= 2 else "gives no reason"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"x = 1  # {_LINT}", "names no rule"),
        (f"x = 1  # {_LINT}: E501", "gives no reason"),
        (f"x = 1  # {_LINT}: E501, PLW0603 - a table reads better on one line", None),
        (f"x = y  # {_TYPE}", "names no rule"),
        (f"x = y  # {_TYPE}[arg-type]", "gives no reason"),
        (f"x = y  # {_TYPE}[arg-type]  # the library has no types", None),
        (f"SELECT 1 -- {_LINT}: LT01", "gives no reason"),
        ("x = 1", None),
    ],
)
def test_a_suppression_is_judged(line: str, problem: str | None):
    assert suppression_problem(line) == problem


def test_suppressed_checks_carry_their_reason():
    code = [path for path in texts() if path.suffix in (".py", ".sql", ".js", ".ts")]

    none(f"{place} {problem}" for place, line in lines(code) if (problem := suppression_problem(line)))


def test_skipped_tests_carry_their_reason():
    none(
        f"{short(path)}:{call.lineno} {name}"
        for path in python_files()
        for call, name in calls(tree_of(path))
        if name.endswith((".skip", ".skipif", ".xfail")) and name.startswith("pytest.")
        if not call.args[: 1 if name == "pytest.skip" else 0] and "reason" not in {word.arg for word in call.keywords}
    )


MACHINE_PATH = re.compile(r"(?<![\w.:/~}>)-])/(?:home|root|Users|work|workspaces?|mnt)/\w")
REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|npmmirror|jsr|crates|rubygems|docker|ghcr|quay)\.(?:org|com|io|dev)\b"
    rf"|(?<![\w-])--(?:extra-)?index-{'url'}|--trusted-{'host'}|--find-{'links'}"
)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cd " + "/" + "home/somebody/project", True),
        ("pip install --index-" + "url https://mirror.example/simple", True),
        ("https://files.python" + "hosted.org/packages/x.whl", True),
        ("pip-compile --no-emit-index-" + "url", False),
        ("~/.callmeback and /var/lib/callmeback", False),
        ("POST /api/auth/register", False),
    ],
)
def test_a_place_of_one_machine_is_recognised(line: str, found: bool):
    assert bool(MACHINE_PATH.search(line) or REGISTRY.search(line)) is found


def test_no_file_names_a_place_of_one_machine():
    none(
        f"{place} {match.group(0)}"
        for place, line in lines(texts())
        if (match := MACHINE_PATH.search(line) or REGISTRY.search(line))
    )


@pytest.mark.parametrize("name", ["build.txt", "runtime.txt", "test.txt"])
def test_lock_files_pin_by_hash_and_name_no_address(name: str):
    text = text_of(ROOT / "requirements" / name)
    entries = [entry for entry in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text)) if entry.strip()]
    pinned = re.compile(r"[a-z0-9][a-z0-9._-]*(?:\[[a-z0-9,-]+\])?==\S+", re.IGNORECASE)

    assert entries
    none(entry.splitlines()[0] for entry in entries if not pinned.match(entry) or "--hash=sha256:" not in entry)
    assert "://" not in text


@pytest.mark.parametrize("lock", [path for path in files() if path.name == "package-lock.json"], ids=short)
def test_npm_locks_pin_by_hash_and_name_no_registry(lock: Path):
    wanted = json.loads(text_of(lock.with_name("package.json")))
    packages = json.loads(text_of(lock))["packages"]
    direct = {**wanted.get("dependencies", {}), **wanted.get("devDependencies", {})}

    none(f"{name} {version} is no exact version" for name, version in direct.items() if not version[0].isdigit())
    none(name for name, entry in packages.items() if name and ("integrity" not in entry or "resolved" in entry))
