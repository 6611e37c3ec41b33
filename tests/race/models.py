"""The one table of the race: rows that say who wrote them last."""

from __future__ import annotations

from django.db import models


class Item(models.Model):
    """A row. `driver` makes the table."""

    id = models.BigIntegerField(primary_key=True)
    place = models.IntegerField(db_index=True)
    version = (
        models.BigIntegerField()
    )  # how often the row was written, more or less: what is summed
    stamp = models.BigIntegerField()  # of the write that made it what it is

    class Meta:
        app_label = "race"

    def __str__(self) -> str:
        return f"{self.id}: {self.stamp}"
