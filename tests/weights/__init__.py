"""A package: other folders have test files of the same names."""
