# The controller and `fleetctl`.
{ lib, python3Packages, src }:
python3Packages.buildPythonApplication {
  pname = "fleetd";
  version = (fromTOML (builtins.readFile ../pyproject.toml)).project.version;
  inherit src;
  pyproject = true;
  build-system = [ python3Packages.setuptools ];
  dependencies = with python3Packages; [
    aiohttp
    asyncssh
    cryptography
    prometheus-client
    pydantic
    rich
    ruamel-yaml
    sqlalchemy
    structlog
    tenacity
    typer
    uvloop
    zstandard
  ];
  # pyproject.toml names what the tests ran with; nixpkgs decides what is there.
  pythonRelaxDeps = true;
  # The tests that matter need real hosts: vm-tests/nixos, and `make test` in a checkout.
  doCheck = false;
  pythonImportsCheck = [ "fleetd.daemon" "fleetd.cli.main" ];
  meta = {
    description = "Rolls NixOS fleets forward in waves, and back by itself";
    license = lib.licenses.mit;
    mainProgram = "fleetctl";
    platforms = lib.platforms.linux;
  };
}
