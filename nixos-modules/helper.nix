# The helper alone, for hosts that have it installed.
{ bash, lib, stdenvNoCC, src }:
stdenvNoCC.mkDerivation {
  pname = "fleetd-host";
  version = (fromTOML (builtins.readFile ../pyproject.toml)).project.version;
  inherit src;
  buildInputs = [ bash ];
  dontConfigure = true;
  dontBuild = true;
  installPhase = ''
    runHook preInstall
    install -Dm755 fleetd/host/helper/fleetd-host $out/bin/fleetd-host
    runHook postInstall
  '';
  meta = {
    description = "Speaks for one host of a fleet";
    license = lib.licenses.mit;
    mainProgram = "fleetd-host";
    platforms = lib.platforms.linux;
  };
}
