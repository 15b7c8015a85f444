{
  outputs = { self }:
    let
      revision = import ./revision.nix;
      # As deploy-rs' activate.nixos: a tree of links to the toplevel, with two scripts beside them.
      wrapped = toplevel: derivation {
        name = "activatable-${toplevel.name}";
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-euc" ''
          PATH=/usr/bin:/bin
          mkdir $out
          for entry in ${toplevel}/*; do ln -s $entry $out/; done
          for script in deploy-rs-activate activate-rs; do
            printf '#!/bin/sh\nexit 9\n' > $out/$script
            chmod +x $out/$script
          done
        '' ];
      };
    in {
      deploy = {
        sshUser = "root";
        sshOpts = [ "-p" "22" ];
        magicRollback = true;
        nodes = builtins.mapAttrs (name: address: {
          hostname = address;
          fastConnection = true;
          profilesOrder = [ "system" ];
          profiles = {
            system = { user = "root"; path = wrapped (import ./toplevel.nix name); };
          } // (revision.profiles or { });
        }) revision.hosts;
      };
    };
}
