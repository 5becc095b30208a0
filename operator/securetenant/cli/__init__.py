"""The command line: securetenant run | render | plan | validate | version."""
