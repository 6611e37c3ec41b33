"""Code in the documents does what they say."""

from __future__ import annotations

import re
import unittest
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import TestCase

from tests.stores import store
from tests.testapp.models import Product

__all__ = ["store"]

ROOT = Path(__file__).parents[1]
TEXT = {".cpp", ".h", ".lua", ".md", ".py", ".pyi"}
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def code_of(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def run(document: Path) -> dict[str, Any]:
    """Execute all code of a document in a row; give its names. Models are those of the tests."""
    names: dict[str, Any] = {
        "INSTALLED_APPS": list(django_settings.INSTALLED_APPS),
        "Product": Product,
        "__name__": f"documents.{document.stem}",
    }
    for code in code_of(document):
        exec(compile(code, str(document), "exec"), names)
    return names


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_of_documents_runs(document: Path) -> None:
    names = run(document)
    suite = unittest.TestSuite()
    for made in names.values():
        own = isinstance(made, type) and made.__module__ == names["__name__"]
        if own and issubclass(made, TestCase):
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(made))
    result = suite.run(unittest.TestResult())
    assert not result.errors + result.failures, result
    assert result.testsRun == document.read_text().count("\n    def test_")


def test_every_invariant_that_is_cited_is_defined() -> None:
    rules = (ROOT / "docs" / "design" / "protocol.md").read_text()
    defined = re.findall(r"^- \*\*(I\d+) ", rules, re.MULTILINE)
    assert len(set(defined)) == len(defined)
    folders = ("docs", "include", "python", "spec", "src", "tests")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*.*") if p.suffix in TEXT]
    cited = {name for file in files for name in re.findall(r"\bI\d+\b", file.read_text())}
    assert cited
    assert cited <= set(defined)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("store")
def test_the_quick_start_keeps_its_promise() -> None:
    names = run(ROOT / "README.md")
    assert "djsmartcache" in names["INSTALLED_APPS"]
    product_card = names["product_card"]
    product, other = Product.objects.create(name="lamp"), Product.objects.create(name="desk")
    before = product_card.stats()
    for _ in range(2):
        assert (product_card(product.pk).stock, product_card(other.pk).stock) == (0, 0)
    product.stock = 50
    product.save()
    assert (product_card(product.pk).stock, product_card(other.pk).stock) == (50, 0)
    after = product_card.stats()
    assert after["misses"] - before["misses"] == 3
    assert after["hits"] - before["hits"] == 3
