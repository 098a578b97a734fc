"""Removal of whole channels from a Keras model, which becomes a smaller plain one.

rule          the interface of rules: how a layer couples channels
mixing        rules for layers that sum over channels
passing       rules for layers that treat each channel alone
shaping       rules for layers that move values
merging       rules for layers that join tensors
kinds         the rule of each kind of layer
trace         follows every channel from where it is made to where it is read
group         groups of channels that must be removed together
statistics    moments of the activations on calibration data
importance    the loss of removing channels, by reconstruction or magnitude
taylor        the importance of channels by labels
cost          the cost of channels on a device
distribution  how many channels each group loses
choice        what the rows of a plan mean for groups
correction    adjusts the weights left to compensate for removed channels
removal       builds the smaller model
plan_removal  plans the removal as a whole, and carries it out
batch_norm    estimates the statistics of batch normalisation again
"""
