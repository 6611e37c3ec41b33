"""A small shop: every kind of relation and key that dependencies have to be found through."""

from __future__ import annotations

import uuid

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Category(models.Model):
    name = models.CharField(max_length=100)
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    name = models.SlugField(max_length=100, unique=True)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    name = models.CharField(max_length=100)
    category = models.ForeignKey(Category, models.SET_NULL, null=True, related_name="products")
    stock = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    listed = models.BooleanField(default=True)
    since = models.DateField(null=True)
    details = models.JSONField(default=dict)
    tags = models.ManyToManyField(Tag, related_name="products")
    notes = GenericRelation("Note")

    def __str__(self) -> str:
        return self.name


class CheapProduct(Product):
    """A proxy: another class for the same rows."""

    class Meta:
        proxy = True


class Review(models.Model):
    product = models.ForeignKey(Product, models.CASCADE, related_name="reviews")
    text = models.TextField()

    def __str__(self) -> str:
        return self.text


class Membership(models.Model):
    """A through model of its own."""

    club = models.ForeignKey("Club", models.CASCADE)
    person = models.ForeignKey("Person", models.CASCADE)
    since = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.person_id} in {self.club_id}"


class Person(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Club(models.Model):
    name = models.CharField(max_length=100)
    members = models.ManyToManyField(Person, through=Membership, related_name="clubs")

    def __str__(self) -> str:
        return self.name


class Place(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Restaurant(Place):
    """Multi-table inheritance: a row here and one in the table of places."""

    seats = models.IntegerField(default=0)


class Ticket(models.Model):
    """A primary key that Python makes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    subject = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.subject


class Country(models.Model):
    """A primary key of text."""

    code = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Note(models.Model):
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.BigIntegerField()
    target = GenericForeignKey()
    text = models.TextField()

    def __str__(self) -> str:
        return self.text


class Stock(models.Model):
    """A primary key of two columns."""

    pk = models.CompositePrimaryKey("place_id", "product_id")
    place = models.ForeignKey(Place, models.CASCADE)
    product = models.ForeignKey(Product, models.CASCADE)
    count = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.count}"


class ListedProduct(models.Model):
    """A database view: nothing tells when its rows change."""

    name = models.CharField(max_length=100)

    class Meta:
        managed = False
        db_table = "testapp_listedproduct"

    def __str__(self) -> str:
        return self.name


class LegacyMembership(models.Model):
    """The table of memberships, by another application that takes a column for decimals."""

    club = models.ForeignKey(Club, models.DO_NOTHING, related_name="+")
    person = models.ForeignKey(Person, models.DO_NOTHING, related_name="+")
    since = models.DecimalField(max_digits=10, decimal_places=0)

    class Meta:
        managed = False
        db_table = "testapp_membership"

    def __str__(self) -> str:
        return f"{self.since}"
