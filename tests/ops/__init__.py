"""A package, so that its test files may have the same names as those of other folders."""
