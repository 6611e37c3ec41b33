"""A folder of the embedded store that cannot be used: the store is down, and nothing else is."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from djsmartcache import cache_get, cache_set, invalidate_tags, logs, process, smart_cached
from tests.children import Child
from tests.testapp.models import Product
from tests.waiting import until


@pytest.fixture
def folder(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(logs, "_logged", {})
    settings.SMARTCACHE_REDIS_URL = None
    settings.SMARTCACHE_DIR = str(tmp_path / "store")
    process.close()
    yield tmp_path / "store"
    process.close()


def counted() -> tuple[list[int], Any]:
    calls: list[int] = []

    @smart_cached(key="product:{pk}", tags=["shop"])
    def name_of(pk: int) -> str:
        calls.append(pk)
        return Product.objects.get(pk=pk).name

    return calls, name_of


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("obstacle", ["a file", "open to others", "of another user"])
def test_calls_compute_and_writes_succeed_until_the_folder_can_be_used(
    folder: Path, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    if obstacle == "a file":
        folder.write_text("in the way")
    else:
        folder.mkdir()
        folder.chmod(0o777 if obstacle == "open to others" else 0o700)
        if obstacle == "of another user":
            if os.geteuid() != 0:
                pytest.skip("only root can give a folder away")
            os.chown(folder, 12345, 12345)
    calls, name_of = counted()
    lamp = Product.objects.create(name="lamp")
    with caplog.at_level(logging.WARNING, "djsmartcache"):
        for name in ("lamp", "torch"):
            lamp.name = name
            lamp.save()
            assert [name_of(lamp.pk) for _ in range(3)] == [name] * 3
        assert not cache_set("k", 1)
        assert cache_get("k") is None
        invalidate_tags("shop")
    assert len(calls) == 6
    (record,) = caplog.records
    assert str(folder) in record.getMessage()

    if obstacle == "a file":
        folder.unlink()
    else:
        os.chown(folder, os.geteuid(), os.getegid())
        folder.chmod(0o700)
    until(lambda: process.cache().available)
    calls.clear()
    assert [name_of(lamp.pk) for _ in range(3)] == ["torch"] * 3
    assert len(calls) == 1
    assert cache_set("k", 1)


def test_changes_made_meanwhile_are_told_once_the_folder_can_be_used(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    values = {"SMARTCACHE_DIR": str(folder)}
    environment = {**os.environ, "SMARTCACHE_TEST_SETTINGS": repr(values)}
    reader, writer = (Child("tests.caller", environment) for _ in range(2))
    try:
        assert [child.hear() for child in (reader, writer)] == ["ready", "ready"]
        assert reader.ask("set", "k", "old") == "True"
        os.chown(folder, 12345, 12345)  # the reader has its files open; the writer cannot
        assert writer.ask("delete", "k") == "0"
        assert reader.ask("get", "k") == "old"
        os.chown(folder, os.geteuid(), os.getegid())
        until(lambda: reader.ask("get", "k") == "None")  # without another call of the writer
    finally:
        reader.close()
        writer.close()
