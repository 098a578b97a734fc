"""Removal of whole channels from a Keras model, which becomes a smaller plain one.

graph         runs values of any kind through a Keras graph, nested models opened
rule          what a rule is; mixing, passing, shaping and merging hold one per kind of layer
kinds         which kind takes which rule
trace         follows every channel from where it is made to where it is used
group         which channels must be removed together
statistics    what flows through the network on calibration data
importance    what is lost as channels go; taylor weighs them by labels instead
cost          what channels cost on a device
distribution  how many channels go where
choice        what a plan's rows mean for groups
correction    lets what is left take over from what goes
removal       builds the smaller model
prune         all of it
"""
