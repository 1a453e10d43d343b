"""Who is who from image to image, as PHALP decides it (Rajasegaran et al. 2022, "Tracking People by Predicting 3D
Appearance, Location and Pose"): every live track is forecast into the next image, its forecast compared with each
person found there, and the pairs that cost least together are matched.

Pure functions on arrays in `forecast` and `cost`; `associator` keeps the tracks. The published implementation is
reproduced (tests/data/phalp_reference.npz), except where it has defects, which the tests name.
"""
