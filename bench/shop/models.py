"""What is cached in the benchmarks that need a model."""

from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=60)
    sku = models.CharField(max_length=20)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    stock = models.IntegerField()
    active = models.BooleanField(default=True)
    created = models.DateTimeField()

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.name
