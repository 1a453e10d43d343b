"""Whether the labels of one view lie on the person in its picture."""

from collections.abc import Mapping

from pose_factory.errors import PoseFactoryError


def check_view(
    view: str, measured: Mapping[str, float | None], tolerance_px: float, min_inside_silhouette: float
) -> None:
    """Raise PoseFactoryError, naming `view`, when what was measured of its labels breaks a limit.

    `measured` has, where it was measured, `reprojection_max_px`: the largest distance in pixels from the renderer's own
    projection, and `inside_silhouette`: the fraction 0..1 of labels inside the silhouette (None: no joint to look at).
    """
    drift = measured.get("reprojection_max_px", 0.0)
    if not drift <= tolerance_px:  # catches NaN too
        raise PoseFactoryError(
            f"The labels of view '{view}' and Blender's own projection differ by {drift:.3g} px, more than the "
            f"{tolerance_px:g} px of validation.ground_truth.reprojection_px: the camera is not as camera.json says."
        )
    inside = measured.get("inside_silhouette")
    if inside is not None and not inside >= min_inside_silhouette:
        raise PoseFactoryError(
            f"Only {inside:.1%} of the labels of view '{view}' lie inside the body's silhouette, less than the "
            f"{min_inside_silhouette:.1%} of validation.ground_truth.inside_silhouette: is this rig the skin's?"
        )
