"""What other tools' fleets say of their hosts, as ``fleetd/nix/views`` puts it: checked, since nobody else may have."""

from __future__ import annotations

from pydantic import Field, RootModel

from fleetd.schema.problems import Strict


class ColmenaNode(Strict):
    """``deployment`` of a node; its keys by name only."""

    targetHost: str | None  # the names are colmena's
    targetPort: int | None = Field(ge=0)
    targetUser: str | None
    tags: list[str]
    buildOnTarget: bool
    privilegeEscalationCommand: list[str]
    sshOptions: list[str]
    keys: list[str]
    system: str | None


class ColmenaNodes(RootModel[dict[str, ColmenaNode]]):
    """A whole hive."""


class DeploySettings(Strict):
    """What may stand at every level; deeper wins, and ``sshOpts`` of all levels count."""

    sshUser: str | None  # the names are deploy-rs'
    user: str | None
    sshOpts: list[str]
    remoteBuild: bool | None
    sudo: str | None
    interactiveSudo: bool | None


class DeployProfile(DeploySettings):
    """One profile of a node."""

    profilePath: str | None
    system: str | None


class DeployNode(DeploySettings):
    """One node."""

    hostname: str
    profiles: dict[str, DeployProfile]


class DeployOutput(DeploySettings):
    """The whole output."""

    nodes: dict[str, DeployNode]
