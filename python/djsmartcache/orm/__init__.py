"""What the database has to do with the cache: dependencies of reads, tags of writes.

`dependencies` is what the rest of the package uses; `patch.install` ties the rest to Django.
"""
