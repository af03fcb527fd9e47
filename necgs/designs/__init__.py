"""Designs: how features become volumes."""
