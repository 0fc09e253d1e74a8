"""Measures what an introduction costs, beside the least that it could cost.

``python -m benchmarks`` runs all, ``python -m benchmarks NAME`` one. What each measures, and
against which limit, stands at the top of its module.
"""
