# What the fleet of flake.nix runs. A test edits this file (or writes its own) and so makes a revision.
{
  hosts = [ "web1" "web2" "web3" "web4" "web5" "web6" ];
  label = "v1";
  web = { status = 200; text = "greeting v1"; };
}
