let revision = import ./revision.nix; in
{
  meta = {
    nixpkgs = import ./nixpkgs { };
    specialArgs = { inherit revision; };
  };

  defaults = { name, revision, ... }: {
    deployment.targetHost = revision.hosts.${name};
    networking.hostName = name;
    nixpkgs.hostPlatform.system = "x86_64-linux";
  };

  web1 = { name, ... }: { deployment.tags = [ "web" name ]; };
  web2 = [
    { deployment.tags = [ "web" ]; }
    ({ nodes, ... }: { lab.peers = builtins.attrNames nodes; })
  ];
}
