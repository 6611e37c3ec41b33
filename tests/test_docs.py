"""Code in the documents does what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from tests.stores import store
from tests.testapp.models import Product

__all__ = ["store"]

ROOT = Path(__file__).parents[1]
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
    run(document)


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
