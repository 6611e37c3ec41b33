"""The write matrix: every way to write against every shape of query.

`models` has the tables, `rows` what is in them, `shapes` the queries, `writes` the writes, and
`running` crosses them. `tests/orm/test_matrix.py` demands that no cell is stale; `bench/matrix.py`
asks the same of another cache.
"""
