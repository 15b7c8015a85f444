# What fleetd wants to know of the flake output that deploy-rs reads, as plain data. No profile is built for it.
deploy:
let
  attempt = value: let tried = builtins.tryEval value; in if tried.success then tried.value else null;
  common = attrs: {
    sshUser = attrs.sshUser or null;
    user = attrs.user or null;
    sshOpts = attrs.sshOpts or [ ];
    remoteBuild = attrs.remoteBuild or null;
    sudo = attrs.sudo or null;
    interactiveSudo = attrs.interactiveSudo or null;
  };
  profile = attrs: common attrs // {
    profilePath = attrs.profilePath or null;
    system = attempt (attrs.path.system or null);
  };
  node = attrs: common attrs // {
    hostname = attrs.hostname;
    profiles = builtins.mapAttrs (_: profile) (attrs.profiles or { });
  };
in
common deploy // { nodes = builtins.mapAttrs (_: node) (deploy.nodes or { }); }
