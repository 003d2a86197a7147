"""This folder is a package, so its test files may have the same names as those of others."""
