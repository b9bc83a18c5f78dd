"""Frozen networks whose activations carry content and style.

`registry` knows each network's layers by name, `extractor` runs one and hands out taps, `weights` fills it.
A new network is one entry in the registry and one file under conf/backbone.
"""
