"""The pages, cached and fresh after an edit: `python manage.py test` beside this folder."""

from django.http import HttpResponse
from django.test import TestCase
from django.urls import reverse

from atlas.models import City, Continent, Country, Label

PARIS, VERSAILLES, BERLIN = 1, 2, 3
PLACES = [
    (PARIS, "Paris", "FR", 48.85, 2.35, 2_100_000),
    (VERSAILLES, "Versailles", "FR", 48.80, 2.13, 85_000),
    (BERLIN, "Berlin", "DE", 52.52, 13.41, 3_400_000),
]
OF_PARIS = [
    "/country/FR/",
    "/city/1/",
    "/city/1/nearby/",
    "/city/2/",
    "/city/2/nearby/",
    "/search/?q=ris",
    "/statistics/",
    "/api/countries/FR/",
    "/api/cities/1/",
]
# Of places nearby, only ranges tell: an edit of any place may be of one of them.
OF_ALL = ["/city/3/", "/city/3/nearby/"]
OF_OTHERS = ["/", "/country/DE/", "/api/countries/DE/", "/api/cities/3/"]


class PagesTest(TestCase):
    def setUp(self) -> None:
        europe = Continent.objects.create(code="EU", name="Europe")
        for iso, name in (("FR", "France"), ("DE", "Germany")):
            Country.objects.create(
                iso=iso, name=name, continent=europe, area_km2=1, population=60_000_000
            )
        Country.objects.get(iso="FR").neighbours.add("DE")
        for pk, name, iso, latitude, longitude, population in PLACES:
            City.objects.create(
                pk=pk,
                name=name,
                country_id=iso,
                latitude=latitude,
                longitude=longitude,
                population=population,
                timezone="Europe/Paris",
            )
        self.capital = Label.objects.create(name="capital")

    def read(self, path: str) -> tuple[str, str]:
        """The page, and where it came from."""
        response = self.client.get(path)
        assert response.status_code == 200, path
        return response.content.decode(), response["Cache-Status"].removeprefix("djsmartcache; ")

    def edit(self, pk: int, **changes: object) -> HttpResponse:
        path = reverse("edit", args=[pk])
        form = self.client.get(path).context["form"]
        return self.client.post(path, {**form.initial, **changes})

    def test_each_page_is_made_once(self) -> None:
        for path in OF_PARIS + OF_ALL + OF_OTHERS:
            with self.subTest(path):
                made, source = self.read(path)
                assert source == "fwd=miss; stored"
                again, source = self.read(path)
                assert (again, source) == (made, 'hit; detail="local"')

    def test_an_edit_is_seen_on_every_page_that_shows_it_and_leaves_the_others(self) -> None:
        for path in OF_PARIS + OF_OTHERS:
            self.client.get(path)
        self.edit(
            VERSAILLES
        )  # a writer learns from its first write by which columns places are read
        before = {path: self.read(path)[0] for path in OF_PARIS + OF_OTHERS}
        response = self.edit(PARIS, name="Ris-Lutetia", population=1_234_567)
        self.assertRedirects(response, "/city/1/", fetch_redirect_response=False)
        for path in OF_PARIS:
            with self.subTest(path):
                page, source = self.read(path)
                assert source == "fwd=miss; stored"
                assert "Paris" in before[path]
                assert "Ris-Lutetia" in page
                assert ">Paris<" not in page
        for path in OF_OTHERS:
            with self.subTest(path):
                assert self.read(path) == (before[path], 'hit; detail="local"')

    def test_a_label_given_by_an_editor_is_seen(self) -> None:
        assert "capital" not in self.read("/api/cities/1/")[0]
        assert "capital: 0" in self.read("/statistics/")[0]
        self.edit(PARIS, labels=[self.capital.pk])
        assert "capital" in self.read("/api/cities/1/")[0]
        assert "capital: 1" in self.read("/statistics/")[0]
        assert ">capital<" in self.read("/city/1/")[0]

    def test_the_form_is_never_cached(self) -> None:
        response = self.client.get("/city/1/edit/")
        assert "hit" not in self.client.get("/city/1/edit/").get("Cache-Status", "")
        self.assertContains(response, "csrfmiddlewaretoken")

    def test_what_is_not_there_is_not_found(self) -> None:
        for path in ("/country/XX/", "/city/9/", "/api/countries/XX/", "/api/cities/9/"):
            assert self.client.get(path).status_code == 404, path
        City.objects.create(
            pk=9, name="New", country_id="FR", latitude=0, longitude=0, population=1, timezone="UTC"
        )
        assert "New" in self.read("/city/9/")[0]
