"""The t-predictor: a network that predicts an image's t, trained on nothing but domains (Zhuang et al. 2024).

Domain generalisation has no source at t = 0 and no target at t = 1. A network predicts t, in one to three
dimensions, so that images of one domain lie together and those of different domains a margin apart. Terra
then learns every image at its own t, and new domains are made at the points of a grid between the source
domains and a little beyond.

    loss      the contrastive loss and the Gaussian regulariser
    model     backbone and head
    train     the stage `t_predictor`
    times     times.csv, the t of every image; imports no torch
    t_grid    the points at which new domains are made; imports no torch
"""
