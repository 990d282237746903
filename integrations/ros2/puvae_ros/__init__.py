"""The ROS 2 package of puvae_rt; its node is puvae_rt.ros.node."""
