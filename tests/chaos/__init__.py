"""Every crash, every interleaving, odd answers, old data: `make chaos`."""
