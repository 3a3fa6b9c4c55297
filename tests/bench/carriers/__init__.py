"""A mock model server that writes a forbidden text into any carrier of an answer. For speed there is upstream.c."""
