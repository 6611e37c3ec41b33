"""The pages. Pages are cached as a whole; the edit form is not, since its form carries a token of
its own."""

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render

from atlas import atlas
from atlas.forms import CityForm
from atlas.models import City, Continent, Country
from djsmartcache import smart_cached


@smart_cached
def home(request: HttpRequest) -> HttpResponse:
    continents = Continent.objects.prefetch_related("countries")
    return render(request, "atlas/home.html", {"continents": continents})


@smart_cached
def country(request: HttpRequest, iso: str) -> HttpResponse:
    try:
        found = atlas.country(iso.upper())
    except Country.DoesNotExist:
        raise Http404(f"no country {iso}") from None
    context = {
        "country": found,
        "cities": atlas.largest_cities(found.iso),
        "neighbours": atlas.neighbours(found.iso),
    }
    return render(request, "atlas/country.html", context)


@smart_cached
def city(request: HttpRequest, geonameid: int) -> HttpResponse:
    try:
        found = atlas.city(geonameid)
    except City.DoesNotExist:
        raise Http404(f"no place {geonameid}") from None
    return render(
        request, "atlas/city.html", {"city": found, "nearby": atlas.nearby(geonameid, limit=6)}
    )


@smart_cached
def nearby(request: HttpRequest, geonameid: int) -> HttpResponse:
    try:
        context = {
            "city": atlas.city(geonameid),
            "nearby": atlas.nearby(geonameid, km=100, limit=40),
        }
    except City.DoesNotExist:
        raise Http404(f"no place {geonameid}") from None
    return render(request, "atlas/nearby.html", context)


@smart_cached(ttl=60)
def search(request: HttpRequest) -> HttpResponse:
    words = request.GET.get("q", "").strip()
    cities = atlas.search(words) if words else []
    return render(request, "atlas/search.html", {"words": words, "cities": cities})


@smart_cached
def statistics(request: HttpRequest) -> HttpResponse:
    return render(request, "atlas/statistics.html", atlas.statistics())


@smart_cached
def api_country(request: HttpRequest, iso: str) -> HttpResponse:
    found = Country.objects.filter(iso=iso.upper()).select_related("continent").first()
    if found is None:
        return JsonResponse({"error": f"no country {iso}"}, status=404)
    return JsonResponse(
        {
            "iso": found.iso,
            "name": found.name,
            "continent": found.continent.name,
            "capital": found.capital,
            "population": found.population,
            "largest": [
                {"id": c.pk, "name": c.name, "population": c.population}
                for c in atlas.largest_cities(found.iso, 5)
            ],
        }
    )


@smart_cached
def api_city(request: HttpRequest, geonameid: int) -> HttpResponse:
    found = City.objects.filter(pk=geonameid).first()
    if found is None:
        return JsonResponse({"error": f"no place {geonameid}"}, status=404)
    return JsonResponse(
        {
            "id": found.pk,
            "name": found.name,
            "country": found.country_id,
            "population": found.population,
            "labels": [label.name for label in found.labels.all()],
        }
    )


def edit(request: HttpRequest, geonameid: int) -> HttpResponse:
    found = get_object_or_404(City, pk=geonameid)
    form = CityForm(request.POST or None, instance=found)
    if form.is_valid():
        form.save()
        return redirect(found)
    return render(request, "atlas/edit.html", {"city": found, "form": form})
