"""What the release before stored, worked on and handed back."""
