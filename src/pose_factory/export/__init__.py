"""The labelled dataset in the forms that people train on, and motions for other programs (docs/export.md)."""
