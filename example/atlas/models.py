"""The world: continents, countries, places, and labels that editors give to places."""

from django.db import models
from django.urls import reverse


class Continent(models.Model):
    code = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=40)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Country(models.Model):
    iso = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=80)
    continent = models.ForeignKey(Continent, on_delete=models.PROTECT, related_name="countries")
    capital = models.CharField(max_length=80, blank=True)
    area_km2 = models.FloatField()
    population = models.BigIntegerField()
    currency = models.CharField(max_length=40, blank=True)
    languages = models.CharField(max_length=200, blank=True)
    neighbours = models.ManyToManyField("self", blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("country", args=[self.iso])


class Label(models.Model):
    name = models.CharField(max_length=40, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class City(models.Model):
    geonameid = models.IntegerField(primary_key=True)
    name = models.CharField(max_length=200, db_index=True)
    country = models.ForeignKey(Country, on_delete=models.PROTECT, related_name="cities")
    region = models.CharField(max_length=20, blank=True)
    latitude = models.FloatField(db_index=True)
    longitude = models.FloatField()
    population = models.BigIntegerField()
    timezone = models.CharField(max_length=40)
    labels = models.ManyToManyField(Label, related_name="cities", blank=True)

    class Meta:
        ordering = ["-population", "name"]
        indexes = [models.Index(fields=["country", "-population"], name="city_country_population")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("city", args=[self.geonameid])
