"""A ROS 2 node: a core without ROS (`core`, `pictures`) and the node on it (`node`, the extra [ros])."""
