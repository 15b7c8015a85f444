"""The durable list of facts, and the read models that the API shows: SQLite, one owner, one writer."""
