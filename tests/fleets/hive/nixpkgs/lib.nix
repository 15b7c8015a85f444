rec {
  mkOption = option: option // { _type = "option"; };
  mkBefore = value: value;
  types = {
    nullOr = of: "null or ${of}";
    listOf = of: "list of ${of}";
    attrsOf = of: "attrs of ${of}";
    str = "str";
    bool = "bool";
    anything = "anything";
    ints.unsigned = "unsigned";
  };
}
