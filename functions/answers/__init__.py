"""What the HTTP API answers: one model for each JSON document, and for its OpenAPI schema."""
