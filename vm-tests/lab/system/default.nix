# A system with the contract of a NixOS toplevel, without nixpkgs: plain derivations and a shell.
# Everything a test can ask for is in the attribute set `options` (see __init__.py, which names them all).
{ optionsJson }:
let
  options = builtins.fromJSON optionsJson;
  tools = ./tools;
  units = options.units;
  unitFiles = builtins.mapAttrs
    (name: unit: builtins.toFile name (builtins.replaceStrings [ "@tools@" ] [ "${tools}" ] unit.text)) units;
  wanted = builtins.filter (name: units.${name}.wanted) (builtins.attrNames units);
  faults = options.faults;
  shell = "/bin/sh";
  copyUnits = builtins.concatStringsSep "\n"
    (map (name: "ln -s ${unitFiles.${name}} $out/etc/systemd/system/${name}") (builtins.attrNames units));
  writeFaults = builtins.concatStringsSep "\n"
    (map (name: "printf %s '${faults.${name}}' > $out/faults/${name}") (builtins.attrNames faults));
  kernel = derivation {
    name = "linux-${options.kernelVersion}";
    system = options.system;
    builder = shell;
    args = [ "-c" "PATH=/usr/bin:/bin; mkdir $out; printf '%s' '${options.kernelVersion}' > $out/bzImage; printf '%s' '${options.kernelVersion}' > $out/initrd; mkdir $out/modules" ];
  };
in derivation {
  name = "nixos-system-${options.hostName}-${options.label}";
  system = options.system;
  builder = shell;
  args = [ "-c" ''
    set -eu
    PATH=/usr/bin:/bin
    mkdir -p $out/bin $out/sw/bin $out/etc/systemd/system $out/faults $out/specialisation
    printf '%s' '${options.label}' > $out/nixos-version
    printf '%s' '${options.system}' > $out/system
    printf '%s' '${options.systemdVersion}' > $out/systemd-version
    printf '%s' '${options.initInterface}' > $out/init-interface-version
    printf '%s' '${builtins.toJSON options.inhibitors}' > $out/switch-inhibitors
    printf '%s' '${options.kernelParams}' > $out/kernel-params
    printf '%s' '${options.hostName}' > $out/host-name
    ln -s ${kernel}/bzImage $out/kernel
    ln -s ${kernel}/initrd $out/initrd
    ln -s ${kernel}/modules $out/kernel-modules
    ${copyUnits}
    ${writeFaults}
    printf '%s' '${builtins.concatStringsSep "\n" wanted}' > $out/wanted-units
    echo >> $out/wanted-units
    for tool in ${builtins.concatStringsSep " " options.tools}; do ln -s /usr/bin/$tool $out/sw/bin/$tool; done
    cat > $out/bin/switch-to-configuration <<END
    #!/bin/bash
    TOPLEVEL=$out exec /bin/bash ${tools}/switch-to-configuration.sh "\$@"
    END
    cat > $out/activate <<END
    #!/bin/bash
    TOPLEVEL=$out exec /bin/bash ${tools}/activate.sh
    END
    cat > $out/boot-loader <<END
    #!/bin/bash
    exec /bin/bash ${tools}/boot-loader.sh ${options.bootKind} ${toString options.bootLimit} "\$1"
    END
    printf '#!/bin/sh\nexec /usr/lib/systemd/systemd\n' > $out/init
    chmod +x $out/bin/switch-to-configuration $out/activate $out/boot-loader $out/init
  '' ];
}
