"""Training images made of cut-out objects on backgrounds, and the proof on real images that they help.

In: cut-outs, backgrounds, the `synthesize:` section of params.yaml. Out: images with exact labels, which only
ever train.
"""


class SynthesisError(ValueError):
    """No images can be made, or nothing can be proven; the message says what was found, expected, and what to do."""
