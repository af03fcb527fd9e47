"""Codecs as tools, outside of a run: mesh files to stream files and back.

`stream_file` is the format of the file, `encoding` finds a rate and encodes, `decoding` decodes stream files and the
streams of runs, `mesh_file` writes meshes.
"""
