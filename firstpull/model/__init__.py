"""Values and the rules that hold for one of them; ports to the world."""
