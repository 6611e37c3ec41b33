"""The race test as a tool: processes that read, write, are killed and lose their store.

`python -m tests.race --help`, or `make race MINUTES=30`. One run is made of:

- `worker`: processes which read through an adapter (`adapters/`: this package, other caches, none)
  and write rows, with delays and deaths at the moments that matter (`seams`); at the level
  `session` they hand each other tickets (`tickets`) and read in blocks
- `driver`: starts them beside a private PostgreSQL and Redis, kills them, breaks the store
  or delays its messages (`faults`), and lets everything come to rest
- `commits`: what the database has committed, in its order, out of its own log
- `checker`: holds every read against these commits
"""
