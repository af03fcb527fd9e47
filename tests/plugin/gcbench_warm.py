"""Imported by the template that measuring workers are forked from: they have what the default suites load, compiled."""

import trimesh

from gcbench.bench.metrics import DEFAULT_SUITES, SUITES

_BALL = trimesh.creation.icosphere(1)
for _name in DEFAULT_SUITES:
    _suite = SUITES.create(_name)
    _suite.measure(_suite.reference(_BALL, seed=0, threads=1), _BALL)
