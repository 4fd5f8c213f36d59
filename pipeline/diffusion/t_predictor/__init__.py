"""The t-predictor: which t an image has, learnt from nothing but which domain it is of (Zhuang et al. 2024).

Domain generalisation has no source at t = 0 and target at t = 1. A network predicts t, in one to three dimensions,
such that images of a domain lie together and those of different domains a margin apart; Terra learns every image at
its own t, and new domains are made at the points of a grid in between and a little beyond.

loss      the contrastive loss and the Gaussian regulariser
model     backbone and head
train     the `t_predictor` stage
times     times.csv, the t of every image; imports no torch
grid      at which t new domains are made; imports no torch
"""
