"""The page about the zoo is current."""

import importlib.util
from pathlib import Path

from skipway import models

ROOT = Path(__file__).resolve().parent.parent


def test_the_table_is_what_the_script_writes():
    spec = importlib.util.spec_from_file_location("make_zoo_table", ROOT / "scripts" / "make_zoo_table.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.PAGE.read_text()
    assert text == script.page(), "run python scripts/make_zoo_table.py"
    assert all(f"| `{name}` |" in text for name in models.list_models())
    assert {models.card(n).source for n in models.list_models()} == set(models.SOURCES)
