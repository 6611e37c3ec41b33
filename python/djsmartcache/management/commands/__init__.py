"""Each module is one command, as Django finds them."""
