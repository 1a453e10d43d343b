"""Where the sun stands in the course of a day, and what colour its light has."""

import math

LATITUDE, DECLINATION = 45.0, 23.44
"""Degrees: a summer day halfway between equator and pole, from sunrise before 5 to sunset after 19."""


def position(hour: float) -> tuple[float, float]:
    """Elevation above the horizon and azimuth from south, counter-clockwise seen from above, so that the morning's is
    positive, both in degrees, at a solar `hour` (12 is noon).

    Meeus, Astronomical Algorithms, chapter 13.
    """
    latitude, declination, angle = map(math.radians, (LATITUDE, DECLINATION, 15 * (hour - 12)))
    up = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(angle)
    west = math.atan2(
        math.sin(angle), math.cos(angle) * math.sin(latitude) - math.tan(declination) * math.cos(latitude)
    )
    return math.degrees(math.asin(up)), -math.degrees(west)


def tint(elevation: float) -> tuple[float, float, float]:
    """Linear RGB of sunlight at `elevation` degrees, white from the zenith, its largest channel 1.

    Optical depths of clear air of turbidity 2 at 650, 550 and 450 nm (Preetham et al. 1999, appendix), over the air
    mass of Kasten and Young (1989).
    """
    mass = 1 / (math.sin(math.radians(elevation)) + 0.50572 * (elevation + 6.07995) ** -1.6364)
    red, green, blue = (math.exp(-depth * (mass - 1)) for depth in (0.13, 0.20, 0.36))
    return 1.0, green / red, blue / red
