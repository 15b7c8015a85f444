"""Health checks: three answers, bounded, and without effect on a host."""
