"""Books and what belongs to them: every kind of relation, key and `on_delete` that Django has."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F

DB_CASCADE: Any = getattr(models, "DB_CASCADE", models.CASCADE)
DB_SET_NULL: Any = getattr(models, "DB_SET_NULL", models.SET_NULL)
"""Since Django 6.1 the database itself may cascade; before it Python does it here too."""


class Publisher(models.Model):
    name = models.CharField(max_length=50)
    city = models.CharField(max_length=50)
    founded = models.IntegerField()
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="children")

    def __str__(self) -> str:
        return self.name


class Author(models.Model):
    name = models.CharField(max_length=50)
    country = models.CharField(max_length=2)
    born = models.DateField(null=True)
    friends = models.ManyToManyField("self")
    remarks = GenericRelation("Remark")

    def __str__(self) -> str:
        return self.name


class Series(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Genre(models.Model):
    name = models.SlugField(max_length=50, unique=True)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    isbn = models.CharField(max_length=20, unique=True)
    title = models.CharField(max_length=50)
    publisher = models.ForeignKey(Publisher, models.CASCADE, null=True, related_name="books")
    editor = models.ForeignKey(Author, models.SET_NULL, null=True, related_name="edited")
    series = models.ForeignKey(Series, models.SET_DEFAULT, default=1, related_name="books")
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    pages = models.IntegerField(default=0)
    twice = models.GeneratedField(
        expression=F("pages") * 2, output_field=models.IntegerField(), db_persist=True
    )
    rating = models.IntegerField(null=True)
    published = models.DateField(null=True)
    in_print = models.BooleanField(default=True)
    data = models.JSONField(default=dict)
    genres = models.ManyToManyField(Genre, related_name="books")
    contributors = models.ManyToManyField(
        Author, through="Contribution", related_name="contributed"
    )
    remarks = GenericRelation("Remark")

    def __str__(self) -> str:
        return self.title


class Bestseller(Book):
    """A proxy: another class for the same rows."""

    class Meta:
        proxy = True


class Contribution(models.Model):
    """A through model of its own."""

    book = models.ForeignKey(Book, models.CASCADE)
    author = models.ForeignKey(Author, models.CASCADE)
    role = models.CharField(max_length=20, default="author")

    def __str__(self) -> str:
        return self.role


class Chapter(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="chapters")
    title = models.CharField(max_length=50)
    number = models.IntegerField()

    def __str__(self) -> str:
        return self.title


class Cover(models.Model):
    book = models.OneToOneField(Book, models.CASCADE, related_name="cover")
    color = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.color


class Critic(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


def nobody() -> Critic:
    return Critic.objects.get_or_create(name="nobody")[0]


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, null=True, related_name="reviews")
    critic = models.ForeignKey(Critic, models.SET(nobody), related_name="reviews")
    stars = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.stars}"


class Loan(models.Model):
    book = models.ForeignKey(Book, models.PROTECT, related_name="loans")
    reader = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.reader


class Shelf(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Copy(models.Model):
    book = models.ForeignKey(Book, models.RESTRICT, related_name="copies")
    shelf = models.ForeignKey(Shelf, models.CASCADE, related_name="copies")

    def __str__(self) -> str:
        return f"{self.book_id}"


class Remark(models.Model):
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.BigIntegerField()
    target = GenericForeignKey()
    text = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.text


class Medium(models.Model):
    """The parent of multi-table inheritance."""

    name = models.CharField(max_length=50)
    year = models.IntegerField()

    def __str__(self) -> str:
        return self.name


class Film(Medium):
    minutes = models.IntegerField()


class Ticket(models.Model):
    """A primary key that Python makes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    subject = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.subject


class Country(models.Model):
    """A primary key of text."""

    code = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Holding(models.Model):
    """A primary key of two columns."""

    pk = models.CompositePrimaryKey("shelf_id", "genre_id")
    shelf = models.ForeignKey(Shelf, models.CASCADE)
    genre = models.ForeignKey(Genre, models.CASCADE)
    count = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.count}"


class Vendor(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Offer(models.Model):
    vendor = models.ForeignKey(Vendor, DB_CASCADE, related_name="offers")
    price = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.price}"


class Discount(models.Model):
    offer = models.ForeignKey(Offer, DB_CASCADE, related_name="discounts")
    percent = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.percent}"


class Quote(models.Model):
    vendor = models.ForeignKey(Vendor, DB_SET_NULL, null=True, related_name="quotes")
    text = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.text
