"""What an editor may change."""

from django import forms

from atlas.models import City


class CityForm(forms.ModelForm):
    class Meta:
        model = City
        fields = ["name", "population", "timezone", "labels"]
        widgets = {"labels": forms.CheckboxSelectMultiple}
