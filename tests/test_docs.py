"""The documents against the code: what exists is documented, what is documented exists, and links lead somewhere."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import click
import msgspec
import psycopg
import pytest
from litestar import Litestar
from tests.sources import ROOT, calls, files, functions, modules, none, python_files, short, text_of, tree_of

import callmeback
from callmeback import errors, settings
from callmeback.__main__ import app as command_line
from callmeback.ops import doctor
from callmeback.pg import lexer, statements
from callmeback.pg.errors import RULES
from callmeback.sqlproxy import problems as proxy_problems
from callmeback.web import problems
from callmeback.web.app import create_app

REFERENCE = ROOT / "docs/reference"
DECISIONS = ROOT / "docs/decisions"
DECISION_LINES_MAX = 60
DECISION_PARTS = ("## Context", "## Decision", "## Consequences", "## Rejected")

# Faults of the specification (its review has a row for each). What waits for a later release, by its subject.
FAULTS = {"m": 17, "c": 12, "s": 16, "d": 13}
LATER = {
}  # fmt: skip
# Faults that a sentence in docs/differences.md answers, since no test can.
SAID = {"d08"}


def rows(path: Path, heading: str | None = None) -> Iterator[list[str]]:
    """The cells of every table row of a document, below one heading or anywhere."""
    inside = heading is None
    for line in text_of(path).splitlines():
        if line.startswith("#") and heading is not None:
            inside = line.lstrip("# ").strip() == heading
        if inside and line.startswith("|") and not set(line) <= set("|-: "):
            yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def quoted(path: Path, pattern: str) -> set[str]:
    """What stands between backticks in the first cell of a table's rows and matches `pattern` as a whole."""
    return {word for cells in rows(path) for word in re.findall(r"`([^`]+)`", cells[0]) if re.fullmatch(pattern, word)}


def differences(documented: Set[str], existing: Set[str]) -> list[str]:
    missing = [f"{name} is not documented" for name in sorted(existing - documented)]

    return missing + [f"{name} is documented and doesn't exist" for name in sorted(documented - existing)]


# Settings


def test_every_setting_is_documented():
    fields = {settings.variable(field.name) for field in msgspec.structs.fields(settings.Settings)}

    none(differences(quoted(REFERENCE / "settings.md", r"[A-Z][A-Z0-9_]+"), fields))


def test_documented_defaults_are_the_code_s():
    defaults = {
        settings.variable(field.name): field.default
        for field in msgspec.structs.fields(settings.Settings)
        if isinstance(field.default, str | int | float)
    }
    written = {
        cells[0].strip("`"): cells[1].strip("`")
        for cells in rows(REFERENCE / "settings.md")
        if cells[1].startswith("`") and "HOST" not in cells[1] and "~" not in cells[1]
    }

    assert written == {
        name: {True: "yes", False: "no"}[default]
        if isinstance(default, bool)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
        for name, default in defaults.items()
    }


def test_documented_regions_are_the_code_s():
    [cell] = [cells[1] for cells in rows(REFERENCE / "settings.md") if "ALLOWED_REGIONS" in cells[0]]

    assert tuple(cell.split()) == settings.DEFAULT_REGIONS


def test_settings_are_read_in_one_place():
    """PATH is no setting, nor what systemd tells a service; the simulator as a program has the vendor's variables."""
    reads = re.compile(r"os\.(?:environ(?:\.get\(|\[)|getenv\()(?!\"(?:PATH|NOTIFY_SOCKET)\")")

    none(
        f"{short(path)} reads the environment"
        for path in modules()
        if path.name != "settings.py"
        and reads.search(text_of(path))
        and path.parts[-2:] != ("simulator", "__main__.py")
    )


# Command line


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, groups too."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            inner = command.get_command(context, child)
            assert inner is not None, child
            yield from commands(inner, f"{name} {child}")


@cache
def sections() -> dict[str, str]:
    """The text of docs/reference/cli.md by command: a heading is the command between backticks."""
    parts = re.split(r"^#+ `(callmeback[^`]*)`$", text_of(REFERENCE / "cli.md"), flags=re.MULTILINE)

    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_is_documented():
    none(differences(set(sections()), {name for name, _ in commands(command_line, "callmeback")}))


def test_every_option_and_argument_is_documented():
    problems = []
    for name, command in commands(command_line, "callmeback"):
        written = set(re.findall(r"(--[a-z][a-z-]*)", sections().get(name, "")))
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        existing = {spelling for option in options for spelling in (*option.opts, *option.secondary_opts)}
        problems += [f"{name}: {line}" for line in differences(written, {o for o in existing if o.startswith("--")})]
        for argument in command.params:
            if isinstance(argument, click.Argument) and argument.human_readable_name not in sections().get(name, ""):
                problems.append(f"{name}: {argument.human_readable_name} is not documented")

    none(problems)


def test_every_command_says_what_it_does():
    none(name for name, command in commands(command_line, "callmeback") if not command.help)


def test_every_check_of_the_doctor_is_documented():
    section = sections()["callmeback doctor"]
    written: dict[str, list[str]] = {}
    area = ""
    for line in section.splitlines():
        if match := re.match(r"\| area `(\w+)` \|", line):
            area = match[1]
            written[area] = []
        elif area and line.startswith("| "):
            written[area].append(line.split("|")[1].strip())

    assert written == {area: [check.name for check in checks] for area, checks in doctor.AREAS.items()}


# HTTP


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    """The web entrance with every vendor simulated, not started: its pools would be opened at its start."""
    return create_app(
        settings.Settings(
            home=tmp_path_factory.mktemp("home"),
            database_url="postgresql://callmeback_owner@127.0.0.1:1/callmeback",
            jwt_secret="j" * settings.MIN_SECRET_LENGTH,
            role_secret="r" * settings.MIN_SECRET_LENGTH,
        )
    )


def routes(application: Litestar) -> set[str]:
    """`GET /path/{id}` for each route, `WS /path` for each socket; what the framework adds by itself is left out."""
    found = set()
    for route in application.routes:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        methods = getattr(route, "methods", {"WS"}) if hasattr(route, "route_handler_map") else {"WS"}
        if type(route).__name__ == "ASGIRoute":
            methods = {"GET"}
        found |= {f"{method} {path}" for method in methods if method not in ("OPTIONS", "HEAD")}

    return found


def documented_routes(name: str) -> set[str]:
    return quoted(REFERENCE / name, r"(?:GET|POST|PUT|PATCH|DELETE|WS) /\S*")


def test_every_route_is_documented(application: Litestar):
    existing = {route for route in routes(application) if " /simulator" not in route}

    none(differences(documented_routes("http.md"), existing))


def test_every_simulator_route_is_documented(application: Litestar):
    existing = {route for route in routes(application) if " /simulator" in route}

    none(differences(documented_routes("simulator.md"), existing))


@cache
def error_classes() -> set[type[errors.CallMeBackError]]:
    """Every domain error of the package, those that are defined beside their use included."""
    for module in pkgutil.walk_packages(callmeback.__path__, "callmeback."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, waiting = set(), [errors.CallMeBackError]
    while waiting:
        kind = waiting.pop()
        found.add(kind)
        waiting += kind.__subclasses__()

    return {kind for kind in found if kind.__module__.startswith("callmeback")}


def status_of(kind: type[errors.CallMeBackError]) -> str:
    """The status that an error is answered with; a dash where only commands meet it."""
    status = problems.status_of(kind.__new__(kind))
    if status == 500:
        # Of the SQL proxy's own; where both know an error, a test of theirs compares them.
        status = proxy_problems.STATUSES.get(kind, status)

    return "–" if status == 500 and kind is not errors.CallMeBackError else str(status)


def test_every_error_code_is_documented_with_its_status():
    written = {f"{cells[0].strip('`')} {cells[1]}" for cells in rows(REFERENCE / "errors.md", "Codes")} - {
        "code status"
    }

    none(differences(written, {f"{kind.code} {status_of(kind)}" for kind in error_classes()}))


def test_every_sqlstate_of_ours_is_documented_and_understood():
    raised = {state for path in files() if path.suffix == ".sql" for state in re.findall(r"'(CM\d{3})'", text_of(path))}

    none(differences(quoted(REFERENCE / "errors.md", r"CM\d{3}"), set(RULES)))
    none(f"{state} is raised and has no class" for state in sorted(raised - set(RULES)))


# Metrics


@cache
def metrics() -> frozenset[str]:
    """Names of the metrics that are made anywhere in the package, without the suffix that the format adds."""
    kinds = (
        "Counter",
        "Gauge",
        "Histogram",
        "Summary",
        "Info",
        "GaugeMetricFamily",
        "CounterMetricFamily",
        "HistogramMetricFamily",
    )

    return frozenset(
        call.args[0].value
        for path in modules()
        for call, name in calls(tree_of(path))
        if name.rpartition(".")[2] in kinds and call.args and isinstance(call.args[0], ast.Constant)
        if isinstance(call.args[0].value, str) and call.args[0].value.startswith("callmeback_")
    )


def test_every_metric_is_documented():
    none(differences(quoted(REFERENCE / "metrics.md", r"callmeback_\w+"), metrics()))


# The documents themselves


def documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def anchors(path: Path) -> set[str]:
    """Fragments of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#+ +(.+?) *$", outside_of_code(text_of(path)), re.MULTILINE)

    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def outside_of_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def test_links_lead_somewhere():
    problems = []
    for path in documents():
        for target in re.findall(r"\]\(([^)\s]+)\)", outside_of_code(text_of(path))):
            if re.match(r"[a-z]+:", target):
                continue
            place, _, fragment = target.partition("#")
            to = (path.parent / place).resolve() if place else path
            if not to.exists():
                problems.append(f"{short(path)}: {target} doesn't exist")
            elif fragment and to.suffix == ".md" and fragment not in anchors(to):
                problems.append(f"{short(path)}: {target} has no such heading")

    none(problems)


def test_images_are_shown():
    shown = {target for path in documents() for target in re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", text_of(path))}
    names = {Path(target).name for target in shown}

    none(short(path) for path in files() if path.is_relative_to(ROOT / "docs/images") and path.name not in names)


def test_paths_in_documents_exist():
    """A path of the tree between backticks is there; one with a placeholder or a star is a pattern.

    What benchmarks install into `bench/out` is there after they ran.
    """
    pattern = re.compile(r"`((?:src|tests|docs|bench(?!/out)|requirements|deploy)/[\w./-]+)`")

    none(
        f"{short(path)}: {named}"
        for path in documents()
        for named in pattern.findall(text_of(path))
        if not (ROOT / named).exists()
    )


def test_sql_in_documents_is_understood_by_the_server(shared_database_url: str):
    problems = []
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        for path in documents():
            for block in re.findall(r"^ *```sql\n(.*?)^ *```$", text_of(path), re.MULTILINE | re.DOTALL):
                problems += [f"{short(path)}: {problem}" for problem in refusals(connection, block, short(path))]

    none(problems)


def refusals(connection: psycopg.Connection, block: str, place: str) -> Iterator[str]:
    """What the server says against the statements of a block, named ones with their parameters included."""
    named = [statement.native for statement in statements.parse(block, place)] if "-- name:" in block else []
    for native in named or [piece.text.encode() for piece in lexer.pieces(block)]:
        answer = connection.pgconn.prepare(b"", native)
        if answer.status != psycopg.pq.ExecStatus.COMMAND_OK:
            yield f"{answer.error_message.decode().strip()} in {native.decode()[:60]!r}"


def test_decisions_are_numbered_and_short():
    records = sorted(DECISIONS.glob("*.md"))
    numbers = [int(path.name[:4]) for path in records]

    assert numbers == list(range(1, len(records) + 1))
    none(
        f"{short(path)} has {count} lines"
        for path in records
        if (count := text_of(path).count("\n")) > DECISION_LINES_MAX
    )
    none(f"{short(path)} lacks {part}" for path in records for part in DECISION_PARTS if part not in text_of(path))


def test_the_changelog_has_what_is_not_released():
    assert "\n## Unreleased\n" in text_of(ROOT / "CHANGELOG.md")


# Faults of the specification


def fault_ids() -> list[str]:
    return [f"{letter}{number:02}" for letter, count in FAULTS.items() for number in range(1, count + 1)]


def faults_in_tests() -> set[str]:
    """Ids in the names of tests: `test_m03_…`, `test_m01_m02_…`."""
    names = {node.name for path in python_files() if path.name.startswith("test_") for node in functions(path)}

    return {
        found for name in names if name.startswith("test_") for found in re.findall(r"(?<=_)([mcsd]\d\d)(?=_|$)", name)
    }


def test_every_fault_has_its_sentence():
    written = [cells[0] for cells in rows(ROOT / "docs/differences.md") if re.fullmatch(r"[mcsd]\d\d", cells[0])]

    assert sorted(written) == sorted(fault_ids())


def test_every_fault_of_now_has_its_test():
    none(sorted(set(fault_ids()) - faults_in_tests() - set(LATER) - SAID))


def test_faults_of_later_say_so():
    text = {cells[0]: cells[2] for cells in rows(ROOT / "docs/differences.md") if len(cells) == 3}

    none(fault for fault in LATER if "later" not in text[fault].lower())


def test_no_fault_is_put_off_that_has_its_test():
    none(sorted((set(LATER) | SAID) & faults_in_tests()))


def test_fault_ids_in_names_exist():
    none(sorted(faults_in_tests() - set(fault_ids())))
