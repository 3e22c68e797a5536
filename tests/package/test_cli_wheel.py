"""The command `firstpull` as its users get it: a wheel, where nothing of this repository is."""
