"""Bytes in, model out: the sources a host can be read from, and the one reader of them all."""
