"""Motions of other skeletons, from files, put onto bodies of ours."""
