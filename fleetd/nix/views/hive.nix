# A colmena hive that is a file: either evaluated already (colmena.lib.makeHive), or raw, as `colmena` itself reads it.
# A raw one is evaluated here by nixpkgs alone: the units and scripts that colmena adds for keys are not part of it.
{ file }:
let
  given = import file;
  raw = if builtins.isFunction given || given ? __functor then given { } else given;
  reserved = [ "meta" "network" "defaults" ];
  names = builtins.filter (name: !(builtins.elem name reserved)) (builtins.attrNames raw);
  meta = raw.meta or raw.network or { };

  initialised = nixpkgs:
    if builtins.isPath nixpkgs || builtins.isString nixpkgs || (builtins.isAttrs nixpkgs && nixpkgs ? outPath)
    then initialised (import nixpkgs)
    else if builtins.isFunction nixpkgs then nixpkgs { overlays = [ ]; }
    else nixpkgs;
  nixpkgsOf = name: initialised (meta.nodeNixpkgs.${name} or meta.nixpkgs or <nixpkgs>);

  # The options that colmena gives to a node; what is known here of a key is that there is one.
  deploymentOptions = { name, lib, ... }:
    let
      option = type: default: lib.mkOption { inherit type default; };
      inherit (lib.types) nullOr str bool listOf attrsOf anything ints;
    in {
      options.deployment = {
        targetHost = option (nullOr str) name;
        targetPort = option (nullOr ints.unsigned) null;
        targetUser = option (nullOr str) "root";
        tags = option (listOf str) [ ];
        buildOnTarget = option bool false;
        allowLocalDeployment = option bool false;
        replaceUnknownProfiles = option bool true;
        privilegeEscalationCommand = option (listOf str) [ "sudo" "-H" "--" ];
        sshOptions = option (listOf str) [ ];
        keys = option (attrsOf anything) { };
      };
    };

  evaluate = name:
    let
      nixpkgs = nixpkgsOf name;
      own = raw.${name};
      packages = { lib, ... }: {
        nixpkgs.overlays = lib.mkBefore (nixpkgs.overlays or [ ]);
        nixpkgs.config = lib.mkBefore (nixpkgs.config or { });
      };
    in
    import (nixpkgs.path + "/nixos/lib/eval-config.nix") {
      inherit (nixpkgs) system;
      modules = [ packages deploymentOptions (raw.defaults or { }) ] ++ (if builtins.isList own then own else [ own ]);
      specialArgs = { inherit name nodes; } // (meta.specialArgs or { }) // (meta.nodeSpecialArgs.${name} or { });
    };

  nodes = builtins.listToAttrs (map (name: { inherit name; value = evaluate name; }) names);
  hive =
    if raw ? __schema then raw
    else {
      inherit nodes;
      deploymentConfig = builtins.mapAttrs (_: node: node.config.deployment) nodes;
      toplevel = builtins.mapAttrs (_: node: node.config.system.build.toplevel) nodes;
    };
in
{ description = import ./colmena.nix hive; inherit (hive) toplevel; }
