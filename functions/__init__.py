"""The doors: one module per kind of trigger. They decode, call firstpull, and encode."""
