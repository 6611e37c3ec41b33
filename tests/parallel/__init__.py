"""A project whose tests run in several processes, each with a copy of the database."""
