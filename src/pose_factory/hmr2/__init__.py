"""HMR2 (Goel et al. 2023, "Humans in 4D: Reconstructing and Tracking Humans with Transformers"): a person's body from
one crop of an image, with the weights that its authors publish.

network: the neural network. checkpoint, body: what it needs from files of others, read without trusting them
(unpickle). crops: from a box in an image to the network's input, and from its camera back. models: where the files
come from.
"""
