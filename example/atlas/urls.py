"""Where each page is."""

from django.urls import path

from atlas import views

urlpatterns = [
    path("", views.home, name="home"),
    path("country/<str:iso>/", views.country, name="country"),
    path("city/<int:geonameid>/", views.city, name="city"),
    path("city/<int:geonameid>/nearby/", views.nearby, name="nearby"),
    path("city/<int:geonameid>/edit/", views.edit, name="edit"),
    path("search/", views.search, name="search"),
    path("statistics/", views.statistics, name="statistics"),
    path("api/countries/<str:iso>/", views.api_country, name="api-country"),
    path("api/cities/<int:geonameid>/", views.api_city, name="api-city"),
]
