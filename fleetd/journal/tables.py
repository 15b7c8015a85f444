"""The tables. Migrations only add: a release reads what the one before it wrote, and the other way round."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

head = Table(
    "journal_head",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("term", Integer, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("term", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("rollout", String, nullable=False),
    Column("host", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", Text, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Index("rollouts_by_number", "number"),
)

rollout_hosts = Table(
    "rollout_hosts",
    metadata,
    Column("rollout", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("wave", String, nullable=False),
    Column("document", Text, nullable=False),
)

hosts = Table(
    "hosts",
    metadata,
    Column("name", String, primary_key=True),
    Column("document", Text, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("key", String, primary_key=True),
    Column("document", Text, nullable=False),
)
