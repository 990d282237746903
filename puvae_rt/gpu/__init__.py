"""What a GPU pipeline is made of: engines, buffers, and the plan of one shape of call."""
