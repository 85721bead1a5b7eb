"""Writing migration files for tests."""

from pathlib import Path

from callmeback.pg import migration_files
from callmeback.pg.migration_files import Files


class Folder:
    """A folder like `callmeback/sql/`, below `root`."""

    def __init__(self, root: Path) -> None:
        self.path = root / "sql"
        (self.path / "migrations").mkdir(parents=True)

    def write(self, file: str, text: str) -> Path:
        """`file` is a migration's name, or a folder and a name of the repeatable set."""
        path = self.path / (file if "/" in file else f"migrations/{file}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")

        return path

    def read(self) -> Files:
        return migration_files.read(self.path)
