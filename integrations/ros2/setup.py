"""The ROS 2 package around puvae_rt.ros.node, which pip installs: its entry point, launch file and index entry."""

from setuptools import setup

setup(
    name="puvae_ros",
    version="0.2.0",
    packages=["puvae_ros"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/puvae_ros"]),
        ("share/puvae_ros", ["package.xml"]),
        ("share/puvae_ros/launch", ["launch/puvae.launch.py"]),
    ],
    install_requires=["puvae-rt>=0.2"],
    entry_points={"console_scripts": ["puvae_node = puvae_rt.ros.node:main"]},
)
