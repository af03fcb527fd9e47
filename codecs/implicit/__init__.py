"""Codecs that fit a small network to the signed distance field of each mesh, and mesh the decoded field on a grid."""
