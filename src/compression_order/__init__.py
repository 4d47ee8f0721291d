"""Shared code of the compression-order harness: what more than one stage script needs."""
