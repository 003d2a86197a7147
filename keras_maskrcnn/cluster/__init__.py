"""Predicts and prepares many images on a cluster, by Apache Beam (extra `beam`).

`answers` and `attempts` need no Beam. docs/cluster.md and examples/beam show how they are used.
"""
