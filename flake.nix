{
  description = "fleetd rolls NixOS fleets forward in waves, and back by itself";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forEach = make: lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: make nixpkgs.legacyPackages.${system});
      # Without the tests: an edit of one rebuilds nothing.
      src = lib.fileset.toSource {
        root = ./.;
        fileset = lib.fileset.unions [ ./fleetd ./pyproject.toml ./README.md ./LICENSE ];
      };
      packagesOf = pkgs: {
        fleetd = pkgs.callPackage ./nixos-modules/package.nix { inherit src; };
        fleetd-host = pkgs.callPackage ./nixos-modules/helper.nix { inherit src; };
      };
      withPackages = module: {
        imports = [ module ];
        nixpkgs.overlays = [ self.overlays.default ];
      };
    in
    {
      overlays.default = final: _: packagesOf final;

      packages = forEach (pkgs: let packages = packagesOf pkgs; in packages // { default = packages.fleetd; });

      nixosModules = {
        controller = withPackages ./nixos-modules/controller;
        target = withPackages ./nixos-modules/target;
      };

      devShells = forEach (pkgs: {
        # The tools of `make test-unit`; Python's own packages come from constraints.txt into .venv.
        default = pkgs.mkShell { packages = [ pkgs.python3 pkgs.nix pkgs.git pkgs.gnumake pkgs.openssh pkgs.shellcheck ]; };
      });

      checks = forEach (pkgs: packagesOf pkgs // {
        rollout = pkgs.testers.runNixOSTest (import ./vm-tests/nixos/rollout.nix { inherit (self) nixosModules; });
      });
    };
}
