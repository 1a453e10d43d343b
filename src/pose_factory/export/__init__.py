"""The labelled dataset in the forms that people train on (docs/export.md)."""
