"""`manage.py smartcache`: what it says of wrong arguments."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize("part", ["install_triggers", "remove_triggers", "relay"])
def test_other_databases_than_postgresql_are_refused(part: str) -> None:
    with pytest.raises(CommandError, match=r"'default' is of sqlite: .* for PostgreSQL"):
        call_command("smartcache", part)


def test_a_part_has_to_be_named() -> None:
    with pytest.raises(CommandError, match="PART"):
        call_command("smartcache")
