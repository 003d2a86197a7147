"""The networks of Figure 4 and the RoI operations, as Keras layers."""
