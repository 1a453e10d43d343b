"""A camera angle as the config has it."""


def angle(**settings):
    """One seen from the front by an ordinary lens, but for what is given."""
    usual = {"azimuth": 0.0, "elevation": 5.0, "focal_length": 50.0, "sensor_width": 36.0, "margin": 0.1}
    return usual | {"resolution": [320, 240], "framing": "each"} | settings
