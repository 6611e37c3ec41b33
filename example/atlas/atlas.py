"""What the pages ask of the world. Every answer is cached, and dropped when what it was made from
changes."""

from math import asin, cos, radians, sin, sqrt

from django.db.models import Count, QuerySet, Sum

from atlas.models import City, Continent, Country, Label
from djsmartcache import smart_cached

EARTH_RADIUS_KM = 6371.0
KM_PER_DEGREE = 111.2


@smart_cached
def country(iso: str) -> Country:
    return Country.objects.select_related("continent").get(iso=iso)


@smart_cached
def largest_cities(iso: str, limit: int = 20) -> QuerySet[City]:
    return City.objects.filter(country=iso)[:limit]


@smart_cached
def neighbours(iso: str) -> QuerySet[Country]:
    return Country.objects.filter(neighbours=iso)


@smart_cached(key="city:{geonameid}", ttl=600)
def city(geonameid: int) -> City:
    return City.objects.select_related("country").prefetch_related("labels").get(pk=geonameid)


def distance_km(a: City, b: City) -> float:
    """Great-circle distance by the haversine formula."""
    phi_a, phi_b = radians(a.latitude), radians(b.latitude)
    d_phi, d_lambda = phi_b - phi_a, radians(b.longitude - a.longitude)
    h = sin(d_phi / 2) ** 2 + cos(phi_a) * cos(phi_b) * sin(d_lambda / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(h))


@smart_cached(ttl=3600, tags=["nearby"])
def nearby(geonameid: int, km: int = 50, limit: int = 15) -> list[tuple[float, City]]:
    """The closest places within a box of about ``km``, nearest first."""
    here = City.objects.get(pk=geonameid)
    d_lat = km / KM_PER_DEGREE
    d_lon = d_lat / max(cos(radians(here.latitude)), 0.05)
    box = City.objects.filter(
        latitude__range=(here.latitude - d_lat, here.latitude + d_lat),
        longitude__range=(here.longitude - d_lon, here.longitude + d_lon),
    ).exclude(pk=geonameid)
    return sorted(((distance_km(here, c), c) for c in box), key=lambda pair: pair[0])[:limit]


@smart_cached(ttl=300)
def search(words: str, limit: int = 50) -> QuerySet[City]:
    return City.objects.select_related("country").filter(name__icontains=words)[:limit]


@smart_cached
def statistics() -> dict:
    """Totals for the statistics page: the slowest queries of the site."""
    per_continent = Continent.objects.annotate(
        places=Count("countries__cities"), people=Sum("countries__cities__population")
    ).values_list("name", "places", "people")
    return {
        "countries": Country.objects.count(),
        "places": City.objects.count(),
        "continents": sorted(per_continent, key=lambda row: -(row[2] or 0)),
        "labels": list(
            Label.objects.annotate(places=Count("cities")).values_list("name", "places")
        ),
        "largest": list(City.objects.select_related("country")[:10]),
    }
