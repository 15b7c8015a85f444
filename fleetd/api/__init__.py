"""The HTTP API: routes over ``Control`` and ``History``, who may call them, and problem+json for everything else."""
