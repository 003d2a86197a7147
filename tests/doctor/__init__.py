"""A package, so that tests elsewhere can import its `faults`."""
