"""Nets: built, fed, trained, saved and judged against simple baselines."""
