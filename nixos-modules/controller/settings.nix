# The daemon's configuration as options: every key of fleetd/config.py, under the same name and with the same default.
# tests/nixos_modules compares the two, so that they cannot drift apart. It needs nothing of nixpkgs but `lib`.
{ lib }:
let
  inherit (lib) mkOption types;
  duration = default: description: mkOption {
    type = types.strMatching "[0-9]+(ms|s|m|h|d)([0-9]+(ms|s|m|h|d))*";
    inherit default description;
  };
  optional = type: description: mkOption { type = types.nullOr type; default = null; inherit description; };
  webhook = {
    provider = mkOption {
      type = types.enum [ "gitlab" "github" "gitea" "forgejo" "bearer" "standard" ];
      description = "Who sends.";
    };
    auth = optional (types.enum [ "signature" "token" ]) ''
      How deliveries prove themselves; null takes the provider's strongest way.
    '';
    secrets = mkOption {
      type = types.nonEmptyListOf types.str;
      description = ''
        Files with the secret, several while it is rotated. Never a path in the store: use `services.fleetd.credentials`
        and write `/run/credentials/fleetd.service/NAME`.
      '';
    };
    refs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "refs/heads/main" ];
      description = "Refs that are deployed; needed with a forge.";
    };
    policy = mkOption { type = types.str; default = "default"; description = "The policy of its rollouts."; };
    on = mkOption { type = types.str; default = ""; description = "Its hosts, as a selector; empty is every host."; };
    supersede = mkOption {
      type = types.bool;
      default = false;
      description = "Whether a delivery ends an earlier rollout of the same hosts.";
    };
  };
in
{
  fleet = {
    source = mkOption {
      type = types.enum [ "file" "flake" "colmena" "deploy-rs" ];
      default = "file";
      description = ''
        Where the fleet is described: a file, the output `fleet` of the flake in `ref`, or what colmena or deploy-rs
        read.
      '';
    };
    path = optional types.str ''
      The fleet file (TOML, JSON or YAML); a relative path is relative to the configuration file. For colmena and
      deploy-rs it only adds to their hosts. Null is `fleet.toml` for `source = "file"`, and none for the others.
    '';
    ref = optional types.str ''
      The flake whose `nixosConfigurations`, `colmenaHive` or `deploy` are deployed; for colmena also a file (*.nix).
    '';
    allow = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "git+ssh://git@git.example.org/infra" ];
      description = "Flake references, without parameters, that a request may name; empty allows every one.";
    };
    leave_out = mkOption {
      type = types.listOf (types.enum [ "keys" "profiles" "ssh-options" ]);
      default = [ ];
      description = "What of a colmena or deploy-rs fleet something other than fleetd sees to.";
    };
    allowed_signers = optional types.str "File of public keys (ssh-keygen(1), ALLOWED SIGNERS) that must have signed a commit.";
  };
  evaluation.memory = mkOption {
    type = types.str;
    default = "auto";
    example = "8GiB";
    description = "Memory for evaluating hosts, as MiB or GiB; auto is half of what is free when the daemon starts.";
  };
  observe.interval = mkOption {
    type = types.str;
    default = "5m";
    description = "How often each host that is in no rollout is looked at, as far as ten looks a second allow it.";
  };
  server.listen = mkOption {
    type = types.nonEmptyListOf types.str;
    default = [ "unix:/run/fleetd/fleetd.sock" ];
    example = [ "unix:/run/fleetd/fleetd.sock" "127.0.0.1:9780" ];
    description = "Where the API listens. TCP wants a bearer token; root and the group `fleetd` need none at the socket.";
  };
  state.directory = mkOption {
    type = types.str;
    default = "/var/lib/fleetd";
    description = "The journal, API tokens and garbage collector roots. Back it up.";
  };
  state.keep = duration "90d" "How long rollouts that have ended stay in the journal; what hosts are known to run stays.";
  ssh = {
    identity = mkOption { type = types.str; description = "The private key that logs in on hosts, without passphrase."; };
    known_hosts = optional types.str "Host keys, in OpenSSH's format, of hosts without `host_key`.";
    connect_timeout = duration "10s" "For a connection.";
    login_timeout = duration "30s" "For a login; restarts of dbus make logins take 25 s.";
    order_timeout = duration "20s" "For the answer to an order.";
  };
  signing.nix_key = optional types.str "A private key that signs pushed paths, for deploy users that Nix does not trust.";
  signing.order_key = optional types.str "An ed25519 private key (OpenSSH) that signs orders, for hosts that obey only signed ones.";
  push = {
    bandwidth = optional (types.strMatching "[1-9][0-9]*(\\.[0-9]+)? ?[KMG]B/s") ''
      The most that is sent to all hosts together, such as `20MB/s`.
    '';
    cache = optional types.str ''
      A binary cache, as `nix copy --to` takes it: closures of hosts with `substitute` go there first, once.
    '';
  };
  webhooks = mkOption {
    type = types.attrsOf (types.submodule { options = webhook; });
    default = { };
    description = "Webhooks by name: `POST /v1/hooks/NAME`.";
  };
  log.format = mkOption { type = types.enum [ "console" "json" ]; default = "console"; description = "For people or machines."; };
}
