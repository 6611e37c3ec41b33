"""An app of ordinary models for the tests."""
