"""Everything that comes from outside as text, checked once at the edge with pydantic."""
