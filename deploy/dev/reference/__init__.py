"""The generated pages of docs/reference and docs/schemas, rendered from what they document."""
